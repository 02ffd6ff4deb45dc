"""One response, from `response.created` to `response.done`, every event in its order.

The order is kept here and nowhere else: an item is opened before anything is said in it, and closed before the next
one; nothing follows `response.done`. Whoever drives a `Response` only says what happens (`speak`, `write`, `call`,
`finish`).

**Private data.** Clients pass over fields that they do not know, so what the protocol has no place for travels as a
field `duologue` of known events:

- `response.output_audio_transcript.delta` (or `output_text.delta`), with an empty delta: `{"tool_call": {call_id,
  name, arguments}}` or `{"tool_result": {call_id, output}}`, a tool that the system called by itself;
- `response.done`: `{"latency": {…}}`, seconds of heard sound at which the steps of the turn were reached.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

from duologue.dialogue import Message, ToolCall
from duologue.serve.configuration import Configuration
from duologue.serve.conversation import Conversation, Item, new_id
from duologue.serve.outbox import AUDIO_DELTA, ServerEvent
from duologue.serve.spoken import Spoken
from duologue.serve.usage import usage
from duologue.serve.wire import Outgoing
from duologue.session import Audio, Word

Status = Literal["completed", "cancelled", "failed", "incomplete"]


class Emit(Protocol):
    """Takes an event, and how much sound is in it."""

    def __call__(self, event: ServerEvent, audio_ms: float = 0.0) -> None: ...


@dataclass(frozen=True)
class Asked:
    """What a response was asked for: its settings, and what the client wants repeated."""

    configuration: Configuration
    metadata: dict[str, str] | None = None
    in_conversation: bool = True
    history: tuple[Message, ...] = ()
    heard_s: float = 0.0


class Response:
    """One response. `turn` is the session's turn whose reply fills it."""

    def __init__(self, emit: Emit, conversation: Conversation, asked: Asked, turn: int, said_hz: int) -> None:
        self.id = new_id("resp")
        self.turn = turn
        self.asked = asked
        self.closed = False
        self._emit, self._conversation, self._said_hz = emit, conversation, said_hz
        self._output: list[Item] = []
        self._open: _OpenMessage | None = None
        self._calls: list[ToolCall] = []
        self._continues = False
        self._emit({"type": "response.created", "response": self._json("in_progress")})

    # ------------------------------------------------ what happens

    @property
    def is_text(self) -> bool:
        return self.asked.configuration.modality == "text"

    @property
    def item(self) -> Item | None:
        """The message being said or written."""
        return self._open.item if self._open else None

    @property
    def output_tokens(self) -> int:
        """Tokens so far, estimated as `usage` does."""
        usage = self._usage()["output_tokens"]
        assert isinstance(usage, int)
        return usage

    def go_on(self, turn: int) -> None:
        """This response says the rest of a reply that was stopped: that of `turn`."""
        self.turn, self._continues = turn, True

    def say_text(self, text: str, samples: int | None = None, words: tuple[Word, ...] = ()) -> None:
        """The sound of `text` begins now; or, in a response of text, `text` is written."""
        message = self._opened()
        timing = {} if self.is_text else {"start_time": round(message.spoken.samples / self._said_hz, 3)}
        message.spoken.begin(text, samples, words)
        self._put(message, {"type": message.text_delta, "delta": text} | timing)

    def say_audio(self, audio: Audio) -> None:
        """[N] samples of the reply."""
        message = self._opened()
        message.spoken.send(len(audio))
        self._put_audio(message, message.outgoing.push(audio), len(audio))

    def tell(self, private: dict[str, Any], memory: Message) -> None:
        """The system called a tool by itself, or got its result."""
        message = self._opened()
        message.item = replace(message.item, own_calls=(*message.item.own_calls, memory))
        self._remember(message.item)
        self._put(message, {"type": message.text_delta, "delta": "", "duologue": private})

    def call(self, call: ToolCall) -> None:
        """The client is to execute a function. The call goes out when the speech before it is complete."""
        call_id = call.call_id if 0 < len(call.call_id) <= 32 else new_id("call")
        self._calls.append(replace(call, call_id=call_id))

    def finish(
        self,
        status: Status,
        reason: str | None = None,
        error: str | None = None,
        latency: dict[str, Any] | None = None,
    ) -> None:
        """Close what is open, then the response."""
        self._close_message("completed" if status == "completed" else "incomplete")
        if status == "completed":
            for call in self._calls:
                self._emit_call(call)
        self.closed = True
        done: ServerEvent = {"type": "response.done", "response": self._json(status, reason, error)}
        self._emit(done | {"duologue": {"latency": latency}} if latency else done)

    # ------------------------------------------------ a message

    def _opened(self) -> _OpenMessage:
        if self._open is None:
            item = Item(new_id("item"), "message", "assistant", "in_progress", continues=self._continues)
            outgoing = Outgoing(self._said_hz, self.asked.configuration.output_format.type)
            item = replace(item, spoken=None if self.is_text else Spoken(self._said_hz))
            self._open = _OpenMessage(item, len(self._output), self.is_text, outgoing, self._said_hz)
            self._announce(item, len(self._output))
            self._put(self._open, {"type": "response.content_part.added", "part": self._open.part("")})
        return self._open

    def _put(self, message: _OpenMessage, event: ServerEvent, audio_ms: float = 0.0) -> None:
        place = {
            "response_id": self.id,
            "item_id": message.item.id,
            "output_index": message.output_index,
            "content_index": 0,
        }
        self._emit(event | place, audio_ms)

    def _put_audio(self, message: _OpenMessage, delta: str, samples: int) -> None:
        if delta:
            self._put(message, {"type": AUDIO_DELTA, "delta": delta}, samples * 1000 / self._said_hz)

    def _close_message(self, status: Literal["completed", "incomplete"]) -> None:
        message, self._open = self._open, None
        if message is None:
            return
        if not message.is_text:
            self._put_audio(message, message.outgoing.flush() if status == "completed" else "", 1)
            self._put(message, {"type": "response.output_audio.done"})
        text = message.spoken.text
        kind, name = ("output_text", "text") if message.is_text else ("output_audio", "transcript")
        self._put(message, {"type": message.text_delta.replace(".delta", ".done"), name: text})
        self._put(message, {"type": "response.content_part.done", "part": message.part(text)})
        self._close_item(self._whole(message, status, {"type": kind, name: text}), message.output_index)

    def _whole(self, message: _OpenMessage, status: Literal["completed", "incomplete"], part: dict[str, Any]) -> Item:
        """The item with its content; one that the client has cut already stays cut."""
        kept = self._conversation.get(message.item.id) or message.item
        item = replace(kept, status=status, content=(part,))
        return item if item.heard is None else item.cut(item.heard)

    # ------------------------------------------------ items

    def _announce(self, item: Item, output_index: int) -> None:
        event = {"response_id": self.id, "output_index": output_index, "item": item.to_json()}
        self._emit({"type": "response.output_item.added"} | event)
        if self.asked.in_conversation:
            before = self._conversation.add(item)
            self._emit({"type": "conversation.item.added", "previous_item_id": before, "item": item.to_json()})

    def _close_item(self, item: Item, output_index: int) -> None:
        self._output.append(item)
        self._remember(item)
        if self.asked.in_conversation and item.id in self._conversation:
            before = self._conversation.before(item.id)
            self._emit({"type": "conversation.item.done", "previous_item_id": before, "item": item.to_json()})
        event = {"response_id": self.id, "output_index": output_index, "item": item.to_json()}
        self._emit({"type": "response.output_item.done"} | event)

    def _remember(self, item: Item) -> None:
        if self.asked.in_conversation:
            self._conversation.put(item)

    def _emit_call(self, call: ToolCall) -> None:
        item = Item(
            new_id("item"),
            "function_call",
            None,
            "in_progress",
            call_id=call.call_id,
            name=call.name,
            arguments="",
        )
        place = {
            "response_id": self.id,
            "item_id": item.id,
            "output_index": len(self._output),
            "call_id": call.call_id,
        }
        self._announce(item, len(self._output))
        self._emit({"type": "response.function_call_arguments.delta"} | place | {"delta": call.arguments})
        whole = {"name": call.name, "arguments": call.arguments}
        self._emit({"type": "response.function_call_arguments.done"} | place | whole)
        self._close_item(replace(item, status="completed", arguments=call.arguments), len(self._output))

    # ------------------------------------------------ the response object

    def _json(
        self, status: Status | Literal["in_progress"], reason: str | None = None, error: str | None = None
    ) -> dict[str, Any]:
        shown: dict[str, Any] = {
            "object": "realtime.response",
            "id": self.id,
            "status": status,
            "status_details": _details(status, reason, error),
            "output": [item.to_json() for item in self._output],
            "conversation_id": self._conversation.id if self.asked.in_conversation else None,
            "output_modalities": [self.asked.configuration.modality],
            "max_output_tokens": self.asked.configuration.max_output_tokens,
            "audio": {"output": self.asked.configuration.output_json()},
            "metadata": self.asked.metadata,
            "usage": None if status == "in_progress" else self._usage(),
        }
        return shown

    def _usage(self) -> dict[str, Any]:
        items = [*self._output, *([self._open.item] if self._open else [])]
        said_s = sum(item.spoken.samples / item.spoken.hz for item in items if item.spoken)
        written = [item.text + item.arguments for item in self._output]
        written.append(self._open.spoken.text if self._open else "")
        return usage([message.text for message in self.asked.history], self.asked.heard_s, written, said_s)


class _OpenMessage:
    """A message that is being said or written."""

    def __init__(self, item: Item, output_index: int, is_text: bool, outgoing: Outgoing, said_hz: int) -> None:
        self.item, self.output_index, self.is_text, self.outgoing = item, output_index, is_text, outgoing
        self.spoken = item.spoken or Spoken(said_hz)
        self.text_delta = f"response.output_{'text' if is_text else 'audio_transcript'}.delta"

    def part(self, text: str) -> dict[str, str]:
        return {"type": "text", "text": text} if self.is_text else {"type": "audio", "transcript": text}


def _details(status: str, reason: str | None, error: str | None) -> dict[str, Any] | None:
    if status == "in_progress":
        return None
    details: dict[str, Any] = {"type": status}
    if reason is not None:
        details["reason"] = reason
    if error is not None:
        details["error"] = {"type": "server_error", "code": "engine_failed", "message": error}
    return details
