"""The Realtime protocol of one session: what each of the client's events does, and what is said about it.

Everything that happens is put into the outbox in the moment in which it happens; the client sees that order.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from duologue.serve.ahead import Ahead, in_this_loop
from duologue.serve.configuration import Configuration
from duologue.serve.conversation import Conversation, Item, Question, new_id, question
from duologue.serve.events import (
    Append,
    Clear,
    ClientEvent,
    Commit,
    EventError,
    ItemCreate,
    ItemDelete,
    ItemRetrieve,
    ItemTruncate,
    ResponseCancel,
    ResponseCreate,
    SessionUpdate,
    read_event,
)
from duologue.serve.fields import ReferenceFields, ResponseFields
from duologue.serve.house import House
from duologue.serve.items import read_item
from duologue.serve.listening import Ear
from duologue.serve.outbox import Outbox
from duologue.serve.response import Asked
from duologue.serve.talking import Talker
from duologue.serve.transcripts import Transcripts
from duologue.session import HEARD_HZ, Audio, Event
from duologue.turns import TurnSession


class Realtime:
    """One session. `ahead` is the caller's own system; events go to `outbox`."""

    def __init__(self, house: House, ahead: Ahead, configuration: Configuration, outbox: Outbox) -> None:
        self._house, self._limits, self._put = house, house.limits, outbox.put
        self._id, self._expires_at = new_id("sess"), int(time.time() + house.limits.session_s)
        self._configuration = configuration
        self._session = TurnSession(ahead, house.vad, configuration.turn_settings(house.config.settings))
        self._conversation = Conversation(house.limits)
        self._transcripts = Transcripts(self._conversation, ahead, outbox.put)
        self._talker = Talker(self._session, self._conversation, outbox, house, self._transcripts, self._freed)
        self._ear = Ear(self._session, house, configuration.input_format.type, self._noticed)
        self._user_item_id = new_id("item")
        self._unanswered: int | None = None
        ahead.woke = in_this_loop(self._talker.wake)
        self._configure(configuration)
        self._put({"type": "session.created", "session": self._shown()})

    # ------------------------------------------------ a life

    @property
    def replying(self) -> bool:
        return self._talker.response is not None

    async def talk(self) -> None:
        """Say the replies, for ever."""
        await self._talker.run()

    async def close(self) -> None:
        self._session.close()
        await self._transcripts.close()

    async def hear(self, sound: bytes) -> None:
        """Sound comes in events. Raises EventError."""
        raise EventError("invalid_message", "A binary message; events are JSON in text messages.")

    async def handle(self, text: str) -> None:
        """One message of the client. Raises EventError when it cannot be used; nothing of it was used then."""
        event = read_event(text)
        try:
            await self._handle(event)
        except EventError as error:
            error.event_id = event.event_id
            raise

    async def _handle(self, event: ClientEvent) -> None:
        match event:
            case Append(audio=audio):
                self._talker.note_played()
                await self._ear.append(audio)
            case Commit():
                self._commit()
            case Clear():
                self._ear.clear()
                self._put({"type": "input_audio_buffer.cleared"})
            case SessionUpdate(session=fields):
                self._configure(self._configuration.updated(fields, self._limits))
                self._put({"type": "session.updated", "session": self._shown()})
            case ItemCreate():
                await self._create_item(event)
            case ItemRetrieve(item_id=item_id):
                item = self._conversation.find(item_id, "retrieve")
                self._put({"type": "conversation.item.retrieved", "item": item.to_json()})
            case ItemDelete(item_id=item_id):
                self._conversation.delete(item_id)
                self._put({"type": "conversation.item.deleted", "item_id": item_id})
            case ItemTruncate():
                self._truncate(event)
            case ResponseCreate(response=fields):
                await self._create_response(fields)
            case ResponseCancel(response_id=response_id):
                self._cancel(response_id)

    # ------------------------------------------------ the session

    def _configure(self, configuration: Configuration) -> None:
        self._configuration = configuration
        self._session.settings = configuration.turn_settings(self._house.config.settings)
        self._transcripts.wanted = configuration.transcription is not None
        self._ear.use_format(configuration.input_format.type)
        self._ear.detect(configuration.turn_detection is not None)

    def _shown(self) -> dict[str, Any]:
        return self._configuration.to_json(self._id, self._expires_at)

    # ------------------------------------------------ the user's sound

    def _noticed(self, events: Iterable[Event]) -> None:
        """Turn detection has noticed something."""
        for event in events:
            match event.kind:
                case "speech_started":
                    self._user_item_id = new_id("item")
                    self._tell_speech("started", "start", event, event.data["start_s"])
                case "speech_stopped":
                    self._tell_speech("stopped", "end", event, event.data["end_s"])
                case "turn":
                    self._turn_over(event)
                case _:
                    self._talker.on(event)

    def _tell_speech(self, what: str, edge: str, event: Event, at_s: float) -> None:
        self._put(
            {
                "type": f"input_audio_buffer.speech_{what}",
                "item_id": self._user_item_id,
                f"audio_{edge}_ms": self._ear.position_ms(at_s),
            }
        )

    def _turn_over(self, event: Event) -> None:
        turn, detection = self._session.last_turn, self._configuration.turn_detection
        assert turn is not None
        assert turn.audio is not None
        own_samples = round((event.data["end_s"] - event.data["start_s"]) * HEARD_HZ)
        self._add_user_sound(self._user_item_id, turn.audio[-own_samples:])
        if detection is not None and detection.create_response and not self._ear.ended_by_client:
            self._answer_turn(turn.id)

    def _answer_turn(self, turn_id: int) -> None:
        """Answer what the user has said; after the reply in hand, where that may not be interrupted."""
        if self.replying:
            self._unanswered = turn_id
        else:
            self._answer(self._conversation.question(), self._asked(None), turn_id, spoken=True)

    def _freed(self) -> None:
        """A reply has ended. Somebody may have spoken while it could not be interrupted."""
        turn_id, self._unanswered = self._unanswered, None
        if turn_id is not None:
            self._answer_turn(turn_id)

    def _commit(self) -> None:
        if self._ear.detecting:
            self._ear.end_utterance()
        else:
            self._add_user_sound(new_id("item"), self._ear.commit())

    def _add_user_sound(self, item_id: str, audio: Audio) -> None:
        item = Item(item_id, "message", "user", content=({"type": "input_audio", "transcript": None},), audio=audio)
        before = self._conversation.last_id
        self._put({"type": "input_audio_buffer.committed", "item_id": item_id, "previous_item_id": before})
        self._add(item)
        self._transcripts.expect(item_id, len(audio) / HEARD_HZ)

    # ------------------------------------------------ items

    async def _create_item(self, event: ItemCreate) -> None:
        item = await read_item(event.item, self._configuration.input_format.type)
        self._conversation.admit(item)
        self._add(item, event.previous_item_id)

    def _add(self, item: Item, after: str | None = None) -> None:
        before = self._conversation.add(item, after)
        shown = {"previous_item_id": before, "item": item.to_json()}
        self._put({"type": "conversation.item.added"} | shown)
        self._put({"type": "conversation.item.done"} | shown)

    def _truncate(self, event: ItemTruncate) -> None:
        item = self._conversation.find(event.item_id, "truncate")
        if item.role != "assistant" or event.content_index != 0:
            name = "item_id" if item.role != "assistant" else "content_index"
            raise EventError("invalid_value", "Only the one part of an assistant's message can be truncated.", name)
        cut, end_ms = item.truncated(event.audio_end_ms)
        self._conversation.put(cut)
        shown = {"item_id": item.id, "content_index": 0, "audio_end_ms": end_ms}
        self._put({"type": "conversation.item.truncated"} | shown)

    # ------------------------------------------------ responses

    async def _create_response(self, fields: ResponseFields | None) -> None:
        asked, answered = self._asked(fields), await self._question(fields)
        if self._talker.response is not None:
            raise EventError(
                "conversation_already_has_active_response",
                f"Conversation already has an active response in progress: {self._talker.response.id}. "
                "Wait until it is done, or cancel it.",
            )
        self._answer(answered, asked, self._session.new_turn_id(), spoken=False)

    async def _question(self, fields: ResponseFields | None) -> Question:
        if fields is None or fields.input is None:
            return self._conversation.question()
        return question([await self._input_item(item) for item in fields.input])

    async def _input_item(self, fields: Any) -> Item:
        if isinstance(fields, ReferenceFields):
            return self._conversation.find(fields.id, "retrieve")
        return await read_item(fields, self._configuration.input_format.type)

    def _asked(self, fields: ResponseFields | None) -> Asked:
        settings = self._configuration.for_response(fields, self._limits)
        if fields is None:
            return Asked(settings)
        return Asked(settings, fields.metadata, fields.conversation != "none")

    def _answer(self, answered: Question, asked: Asked, turn_id: int, spoken: bool) -> None:
        heard_s = 0.0 if answered.audio is None else len(answered.audio) / HEARD_HZ
        whole = replace(asked, history=answered.history, heard_s=heard_s)
        self._talker.answer(answered, whole, turn_id, spoken)

    def _cancel(self, response_id: str | None) -> None:
        response = self._talker.response
        if response is None or response_id not in (None, response.id):
            raise EventError("response_cancel_not_active", "Cancellation failed: no active response found.")
        self._talker.cancel()
