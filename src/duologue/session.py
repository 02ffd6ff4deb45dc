"""The contract of a live conversation: one frame of sound in, one frame of sound out.

A `Session` knows no clock, no thread and no network. Whoever has those (`duologue talk` with a file, the server
with a socket) calls `step` once per frame; the same frames in always give the same frames out.

A system that speaks only when it is its turn does not write a session. It writes `reply`, a generator of
`Part`s, and `turns.TurnSession` makes a session of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from duologue.dialogue import Message, Tool, ToolCall
from duologue.sound import Audio as Audio

HEARD_HZ = 16_000
"""Rate at which every session hears."""


# ---------------------------------------------------------------- a frame


@dataclass(frozen=True)
class Event:
    """Something that happened in a session, `at_s` seconds of heard sound after its start.

    kind            fields in `data`
    speech_started  start_s (onset, pre-roll included)
    speech_stopped  end_s
    turn            turn, start_s, end_s        a user turn is complete; its reply begins
    heard           turn, text                  what the user was understood to say
    wrote           turn, text                  text of the reply as it is written (may be ahead of the sound)
    said            turn, text, samples, words  text whose sound begins in this frame, how long it is, where words lie;
                                                samples is 0 where that is not known: the sound then comes later
    tool_call       turn, call_id, name, arguments
    tool_result     turn, call_id, output
    stopped         turn, reason, heard_text    the reply gave way: "speech", "cancelled"
    resumed         turn, from_samples, text, heard
                                                `heard` was no interruption: the reply goes on where it stopped, with
                                                `text`, announced as said and not heard
    failed          turn, message               an engine failed; the turn is over, the call goes on
    done            turn, latency               all of the reply was said; latency is a `Latency` as a dict
    """

    kind: str
    at_s: float
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Said:
    """What one step gives: exactly one frame of sound (silence is zeros), and what happened in it.

    `turn` is the turn whose reply sounds in the frame; None when there is silence.
    """

    audio: Audio
    events: tuple[Event, ...] = ()
    turn: int | None = None

    @property
    def text(self) -> str:
        """The text whose sound begins in this frame."""
        return "".join(e.data["text"] for e in self.events if e.kind == "said")


class Session(Protocol):
    """A conversation in progress. `heard` frames are [heard_samples] at 16 kHz, `Said.audio` is
    [said_samples] at `said_hz`; both last `frame_s` seconds."""

    @property
    def said_hz(self) -> int: ...
    @property
    def heard_samples(self) -> int: ...
    @property
    def said_samples(self) -> int: ...

    def step(self, heard: Audio) -> Said:
        """Hear one frame and say one frame. Raises ValueError when `heard` is not one frame of finite samples."""
        ...

    def close(self) -> None:
        """Let go of everything the session holds; a generator in flight is closed."""
        ...


# ---------------------------------------------------------------- a turn, for systems that take turns


@dataclass(frozen=True)
class Turn:
    """What the assistant is asked to answer. `audio` is the user's utterance, pauses and pre-roll included
    ([N] at 16 kHz), or None when the user typed. `text` is its transcript where it is already known."""

    id: int
    history: tuple[Message, ...] = ()
    audio: Audio | None = None
    text: str | None = None
    tools: tuple[Tool, ...] | None = None
    """Functions that the *caller* will execute. None: the system's own tools, executed here."""
    instructions: str | None = None
    voice: str | None = None


@dataclass(frozen=True)
class Heard:
    """What the user was understood to say. If a system can tell, this is the first part of its reply: an empty
    text means that nobody spoke, and a back-channel ("mm-hm") lets the interrupted reply go on."""

    text: str


@dataclass(frozen=True)
class Wrote:
    """Text of the reply, as it is written."""

    text: str


@dataclass(frozen=True)
class Word:
    """Where a word lies: characters [start, end) of its piece, and milliseconds of the piece's sound."""

    start: int
    end: int
    start_ms: float
    end_ms: float


@dataclass(frozen=True)
class Speech:
    """A piece of the reply's sound, [N] at the system's `said_hz`. `text` is what is said in it; joined over the
    pieces it is the spoken text, spaces included. A piece may come in several parts: the first one has the text,
    and all but the last say `last=False`."""

    audio: Audio
    text: str = ""
    words: tuple[Word, ...] = ()
    last: bool = True


@dataclass(frozen=True)
class ToolReturned:
    """The result of a tool that the system executed itself."""

    call_id: str
    output: str


@dataclass(frozen=True)
class Failed:
    """An engine failed. The reply ends here; the call goes on."""

    message: str


Part = Heard | Wrote | Speech | ToolCall | ToolReturned | Failed


class TurnTaker(Protocol):
    """A system that answers when it is asked to.

    `reply` yields `None` for "nothing yet: ask again at the next frame", so that waiting never blocks a step.
    Closing the generator cancels everything that it started. A `ToolCall` that the caller has to execute
    (it is in `turn.tools`) ends the reply; the next turn's history then holds the call and its result.
    """

    @property
    def said_hz(self) -> int: ...

    def reply(self, turn: Turn) -> Iterator[Part | None]: ...


@runtime_checkable
class Overhears(Protocol):
    """What a `TurnTaker` may do besides: make use of a turn's sound while the user still speaks."""

    def overhear(self, audio: Audio, history: tuple[Message, ...]) -> None:
        """The next turn is likely to begin with this sound, [N] at 16 kHz; it comes again, and more of it. What its
        `reply` says is the same as if nothing had been overheard, whatever the turn turns out to be. Never raises: what
        is wrong with the sound, the reply tells."""
        ...
