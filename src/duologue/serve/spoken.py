"""What was sent of a reply's sound, and which of its words a listener had heard at any sample of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from duologue.floor import Piece, heard_characters
from duologue.session import Word


@dataclass(frozen=True)
class _Begun:
    """A text and the sample at which its sound begins; how long it lasts and where its words lie, if that is known."""

    start: int
    text: str
    samples: int | None = None
    words: tuple[Word, ...] = ()


@dataclass
class Spoken:
    """The sound of one assistant item, counted in samples at `hz`, and the text that lies on it."""

    hz: int
    samples: int = 0
    _begun: list[_Begun] = field(default_factory=lambda: [_Begun(0, "")])
    """The first has no text: sound may come before the first text."""

    def begin(self, text: str, samples: int | None = None, words: tuple[Word, ...] = ()) -> None:
        """The sound of `text` begins with the next samples, and lasts for `samples`."""
        self._begun.append(_Begun(self.samples, text, samples, words))

    def send(self, samples: int) -> None:
        self.samples += samples

    @property
    def duration_ms(self) -> int:
        return self.samples * 1000 // self.hz

    @property
    def text(self) -> str:
        return "".join(begun.text for begun in self._begun)

    def heard_text(self, played_ms: int) -> str:
        """The words that end before `played_ms`."""
        length = heard_characters(self._pieces(), played_ms * self.hz // 1000, self.hz)
        return self.text[:length]

    def _pieces(self) -> list[Piece]:
        """Each text up to the next; the last one as long as it was announced to be, however much of it was sent."""
        *before, last = self._begun
        ends = [begun.start for begun in self._begun[1:]]
        pieces = [Piece(b.text, end - b.start, b.words) for b, end in zip(before, ends, strict=True)]
        sent = self.samples - last.start
        known = last.samples is not None
        return [*pieces, Piece(last.text, max(sent, last.samples or 0), last.words, whole=known)]
