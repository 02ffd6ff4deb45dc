"""Who has the floor, and what was heard.

A reply is sent to the loudspeaker ahead of the moment it sounds, so what was *heard* is known from the player's
count alone. The floor keeps that count for the reply in hand, stops it when the user speaks, resumes it when that
was no interruption, and writes into the history exactly what was heard, with a mark where it was cut.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from duologue.dialogue import Message
from duologue.session import Word

ACK_GRACE_MS = 300
"""How long after a stop the player's last word about what it played still counts."""

BACKCHANNELS = frozenset(
    "mm, mmm, mhm, hmm, uh-huh, uh-hum, mm-hm, mm-hmm, yeah, yep, yes, ok, okay, right, sure, i see, got it, oh, ah, "
    "嗯, 嗯嗯, 对, 对对, 好, 好的, 是, 是的, 哦".split(", ")
)

_WORD = re.compile(r"[\u2e80-\u9fff\uf900-\ufaff\uff00-\uffef]|\w+(?:['’.,:-]\w+)*|[^\w\s]")


CHARACTERS_PER_S = 15
"""Speaking rate that is assumed of a piece while only a part of its sound was made."""

CHINESE_PER_S = 5


@dataclass(frozen=True)
class Piece:
    """A stretch of the reply: its text, its length in samples, its word times where known. `whole` is False while
    more of its sound is to come."""

    text: str
    samples: int
    words: tuple[Word, ...] = ()
    whole: bool = True

    def samples_at(self, hz: int) -> int:
        """The length of all its sound, estimated from the text while it is not all there."""
        if self.whole:
            return self.samples
        chinese = sum("\u2e80" <= character <= "\u9fff" for character in self.text)
        expected_s = chinese / CHINESE_PER_S + (len(self.text) - chinese) / CHARACTERS_PER_S
        return max(self.samples, round(expected_s * hz))


def is_backchannel(text: str, backchannels: Iterable[str] = BACKCHANNELS) -> bool:
    """Is this listening aloud ("mm-hm"), or nothing at all, rather than a turn? Case and marks do not count."""
    said = _bare(text)
    return not said or said in {_bare(word) for word in backchannels}


def _bare(text: str) -> str:
    return " ".join(re.findall(r"[\w-]+", text.lower()))


def heard_characters(pieces: Sequence[Piece], played_samples: int, hz: int) -> int:
    """How many characters of the reply were heard when `played_samples` came out of the loudspeaker.

    Whole pieces count whole. In the piece being played: the words whose end was reached, or, without word times,
    a share of its characters in proportion to its samples, cut back to a whole word (each Chinese character or
    mark is one). Space at the end does not count.
    """
    heard, left = "", played_samples
    for piece in pieces:
        samples = piece.samples_at(hz)
        if left < samples:
            heard += _heard_of(piece, left, hz)
            break
        heard += piece.text
        left -= samples
    return len(heard.rstrip())


def _heard_of(piece: Piece, played_samples: int, hz: int) -> str:
    if piece.words:
        played_ms = played_samples * 1000 / hz
        return piece.text[: max((w.end for w in piece.words if w.end_ms <= played_ms), default=0)]
    length = len(piece.text) * played_samples // piece.samples_at(hz)
    return piece.text[: max((w.end() for w in _WORD.finditer(piece.text) if w.end() <= length), default=0)]


@dataclass
class _Reply:
    turn: int
    pieces: list[Piece] = field(default_factory=list)
    sent_samples: int = 0
    played_samples: int = 0
    complete: bool = False
    stopped_at_ms: float | None = None

    @property
    def text(self) -> str:
        return "".join(piece.text for piece in self.pieces)

    @property
    def over(self) -> bool:
        return self.complete and self.played_samples >= sum(piece.samples for piece in self.pieces)


class Floor:
    """The history, and the reply that has the floor (one at most)."""

    def __init__(self, hz: int, history: Iterable[Message] = (), ack_grace_ms: float = ACK_GRACE_MS) -> None:
        self.hz, self.ack_grace_ms = hz, ack_grace_ms
        self.history = list(history)
        self._reply: _Reply | None = None

    @property
    def turn(self) -> int | None:
        """The turn whose reply is being made or played."""
        return None if self._reply is None else self._reply.turn

    @property
    def heard_text(self) -> str:
        """What was heard so far of the reply in hand."""
        if self._reply is None:
            return ""
        length = heard_characters(self._reply.pieces, self._reply.played_samples, self.hz)
        return self._reply.text[:length]

    @property
    def heard_samples(self) -> int:
        return 0 if self._reply is None else self._reply.played_samples

    # ------------------------------------------------ the assistant's side

    def begin(self, turn: int) -> None:
        """A reply is being made. What came before it is settled."""
        self.settle()
        self._reply = _Reply(turn)

    def make(self, turn: int, piece: Piece) -> None:
        """A piece of the reply was made. One without text is more sound of the piece before."""
        if self._reply is None or turn != self._reply.turn:
            return
        pieces = self._reply.pieces
        if piece.text or not pieces:
            pieces.append(piece)
        else:
            before = pieces[-1]
            pieces[-1] = replace(before, samples=before.samples + piece.samples, whole=piece.whole)

    def sent(self, turn: int, samples: int) -> None:
        """So many samples of the reply, counted from its start, are on their way to the loudspeaker."""
        if self._reply is not None and turn == self._reply.turn:
            self._reply.sent_samples = max(self._reply.sent_samples, samples)

    def complete(self, turn: int) -> None:
        """All of the reply was made and sent."""
        if self._reply is not None and turn == self._reply.turn:
            self._reply.complete = True
            self._settle_if_over()

    def played(self, turn: int, samples: int, at_ms: float) -> None:
        """So many samples of the reply came out of the loudspeaker. Smaller counts, other turns, and what comes
        later than the grace after a stop are ignored; more than was sent counts as all."""
        reply = self._reply
        if reply is None or turn != reply.turn:
            return
        if reply.stopped_at_ms is not None and at_ms > reply.stopped_at_ms + self.ack_grace_ms:
            return
        reply.played_samples = max(reply.played_samples, min(samples, reply.sent_samples))
        if reply.stopped_at_ms is None:
            self._settle_if_over()

    # ------------------------------------------------ the user's side

    def stop(self, at_ms: float) -> int | None:
        """The user takes the floor: the turn whose reply stops, or None if there is none to stop."""
        if self._reply is None or self._reply.stopped_at_ms is not None:
            return None
        self._reply.stopped_at_ms = at_ms
        return self._reply.turn

    def resume(self) -> int:
        """It was no interruption: the reply goes on. The sample from which it does."""
        if self._reply is None:
            raise RuntimeError("there is no reply to resume")
        self._reply.stopped_at_ms = None
        return self._reply.played_samples

    def user_said(self, text: str) -> None:
        """A user turn is over. The reply it cut is settled first."""
        self.settle()
        self.history.append(Message("user", text))

    def record(self, message: Message) -> None:
        """What is in the history whether heard or not: tool calls and their results."""
        self.history.append(message)

    def settle(self) -> None:
        """Write what was heard of the reply into the history, marked as cut unless all of it was."""
        if self._reply is None:
            return
        heard, reply = self.heard_text, self._reply
        self._reply = None
        if heard:
            self.history.append(Message("assistant", heard, interrupted=not reply.over))

    def _settle_if_over(self) -> None:
        if self._reply is not None and self._reply.over:
            self.settle()
