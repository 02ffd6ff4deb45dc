"""The server's side of a reply: pulled from the session at the loudspeaker's pace, told to the client in order."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from duologue.dialogue import Message, ToolCall
from duologue.serve.configuration import Configuration
from duologue.serve.conversation import Conversation, Question
from duologue.serve.house import House
from duologue.serve.outbox import Outbox
from duologue.serve.playout import Playout
from duologue.serve.response import Asked, Response, Status
from duologue.serve.transcripts import Transcripts
from duologue.session import Audio, Event, Turn
from duologue.turns import TurnSession


class Talker:
    """Says the replies of one session, one at a time. `freed()` is called whenever one has ended."""

    def __init__(
        self,
        session: TurnSession,
        conversation: Conversation,
        outbox: Outbox,
        house: House,
        transcripts: Transcripts,
        freed: Callable[[], None],
    ) -> None:
        self.response: Response | None = None
        """The response that is being made."""
        self._session, self._conversation, self._outbox = session, conversation, outbox
        self._metrics, self._lead_s = house.metrics, house.config.lead_ms / 1000
        self._transcripts, self._freed = transcripts, freed
        self._playout = Playout(session.said_hz, time.monotonic)
        self._woken = asyncio.Event()
        self._question = Question(())
        self._wrote = False
        self._error: str | None = None
        self._asked_at_s: float | None = None
        self._asked_by = "request"

    # ------------------------------------------------ from outside

    def wake(self) -> None:
        """There is something to say, perhaps."""
        self._woken.set()

    def answer(self, question: Question, asked: Asked, turn: int, spoken: bool) -> None:
        """Reply to `question`. `turn` is the session's number for it; `spoken` says that the end of speech asks."""
        self._on_all(self._session.respond(_turn(turn, question, asked.configuration)))
        self.response = Response(self._outbox.put, self._conversation, asked, turn, self._session.said_hz)
        self._question, self._wrote, self._error = question, False, None
        self._asked_at_s, self._asked_by = time.monotonic(), "speech" if spoken else "request"
        self._transcripts.asked(question.item_ids)
        self._playout.begin()
        self.wake()

    def cancel(self) -> None:
        """The client wants no more of the reply."""
        self.note_played()
        self._on_all(self._session.cancel())

    def note_played(self) -> None:
        """Tell the session how much of its reply has been played by now."""
        if self.response is not None:
            self._session.played(self.response.turn, self._playout.played_samples)

    # ------------------------------------------------ the pace

    async def run(self) -> None:
        """Say whatever there is to say, for ever."""
        while True:
            self._woken.clear()
            if self._session.replying:
                await self._outbox.room_for_sound()
                await self._rest(self._step())
            else:
                await self._woken.wait()

    def _step(self) -> bool:
        """One frame; whether it had sound of the reply in it."""
        started_s = time.perf_counter()
        said = self._session.say()
        sounds = said.turn is not None
        self._on_all(event for event in said.events if event.kind != "done")
        if sounds:
            self._sound(said.audio)
        self._on_all(event for event in said.events if event.kind == "done")
        self._metrics.step_seconds.observe(time.perf_counter() - started_s)
        self._metrics.step_budget_seconds.observe(self._session.frame_s)
        return sounds

    async def _rest(self, sounds: bool) -> None:
        """Until the next frame may leave; until a part is ready, at most a frame, when there is none."""
        if not sounds and self._session.replying:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), self._session.frame_s)
        else:
            paced = self.response is not None and not self.response.is_text
            too_far_s = self._playout.ahead_s + self._session.frame_s - self._lead_s
            await asyncio.sleep(max(0.0, too_far_s) if paced else 0)

    def _sound(self, audio: Audio) -> None:
        response = self.response
        if response is None:
            return
        if response.is_text:
            self._session.played(*self._session.sent)
            return
        self._observe_pace()
        self._playout.send(len(audio))
        response.say_audio(audio)
        self.note_played()
        most = response.asked.configuration.max_output_tokens
        if most != "inf" and response.output_tokens >= most:
            self._session.cancel()
            self._finish("incomplete", "max_output_tokens")

    def _observe_pace(self) -> None:
        if self._asked_at_s is not None:
            first_s, self._asked_at_s = time.monotonic() - self._asked_at_s, None
            self._metrics.first_audio_seconds.labels(self._asked_by).observe(first_s)
        elif self._playout.ahead_s == 0:
            self._metrics.late_steps.inc()

    # ------------------------------------------------ what happens

    def _on_all(self, events: Iterable[Event]) -> None:
        for event in events:
            self.on(event)

    def on(self, event: Event) -> None:
        """Something happened in the reply. What belongs to no open response is stale, and passed over."""
        response = self.response
        if response is None:
            return
        if event.kind == "resumed":
            self._resume(response, event)
        elif event.data.get("turn") == response.turn:
            self._on_reply(response, event.kind, event.data)

    def _on_reply(self, response: Response, kind: str, data: dict[str, Any]) -> None:
        if kind == "heard":
            self._transcripts.understood(self._question.item_ids, data["text"])
        elif kind == "wrote" and response.is_text:
            self._wrote = True
            response.say_text(data["text"])
        elif kind == "said" and not (response.is_text and self._wrote):
            response.say_text(data["text"], data["samples"], data["words"])
        elif kind == "tool_call":
            self._call(response, ToolCall(data["call_id"], data["name"], data["arguments"]))
        elif kind == "tool_result":
            result = {"call_id": data["call_id"], "output": data["output"]}
            memory = Message("tool", data["output"], call_id=data["call_id"])
            response.tell({"tool_result": result}, memory)
        elif kind == "failed":
            self._error = data["message"]
        elif kind == "stopped":
            self._stop(response, data)
        elif kind == "done":
            self._finish("failed" if self._error else "completed", error=self._error, latency=data["latency"])

    def _call(self, response: Response, call: ToolCall) -> None:
        if any(call.name == tool.name for tool in response.asked.configuration.offered_tools or ()):
            response.call(call)
        else:
            shown = {"call_id": call.call_id, "name": call.name, "arguments": call.arguments}
            response.tell({"tool_call": shown}, Message("assistant", tool_calls=(call,)))

    def _stop(self, response: Response, data: dict[str, Any]) -> None:
        """The reply gives way. What the client was not sent yet is taken back; what was heard is kept."""
        started_s = time.perf_counter()
        self._metrics.output_dropped_ms.inc(self._outbox.drop_audio(response.id))
        item = response.item
        self._finish("cancelled", "turn_detected" if data["reason"] == "speech" else "client_cancelled")
        if item is not None and item.spoken is not None and (kept := self._conversation.get(item.id)):
            self._conversation.put(replace(kept, heard=data["heard_text"]))
        self._metrics.stop_seconds.observe(time.perf_counter() - started_s)

    def _resume(self, response: Response, event: Event) -> None:
        """It was no interruption: the response that was to answer it says the rest of the stopped reply."""
        self._transcripts.understood(self._question.item_ids, event.data["heard"])
        for item_id in self._question.item_ids:
            if aside := self._conversation.get(item_id):
                self._conversation.put(replace(aside, aside=True))
        response.go_on(event.data["turn"])
        self._playout.begin(event.data["from_samples"])
        if event.data["text"]:
            response.say_text(event.data["text"])

    def _finish(
        self,
        status: Status,
        reason: str | None = None,
        error: str | None = None,
        latency: dict[str, Any] | None = None,
    ) -> None:
        response, self.response = self.response, None
        if response is not None:
            response.finish(status, reason, error, latency)
            if status != "cancelled":
                self._conversation.forget_sound(self._question.item_ids)
            self._freed()


def _turn(turn: int, question: Question, settings: Configuration) -> Turn:
    return Turn(
        turn,
        question.history,
        audio=question.audio,
        text=question.text,
        tools=settings.offered_tools,
        instructions=settings.instructions or None,
        voice=settings.own_voice,
    )
