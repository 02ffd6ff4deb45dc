"""What was sent of a reply's sound, and which of its words a listener had heard at any sample of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from duologue.floor import Piece, heard_characters


@dataclass
class Spoken:
    """The sound of one assistant item, counted in samples at `hz`, and the text that lies on it."""

    hz: int
    samples: int = 0
    _begun: list[tuple[int, str]] = field(default_factory=lambda: [(0, "")])
    """The sample at which each text begins; sound may come before the first."""

    def begin(self, text: str) -> None:
        """The sound of `text` begins with the next samples."""
        self._begun.append((self.samples, text))

    def send(self, samples: int) -> None:
        self.samples += samples

    @property
    def duration_ms(self) -> int:
        return self.samples * 1000 // self.hz

    @property
    def text(self) -> str:
        return "".join(text for _, text in self._begun)

    def heard_text(self, played_ms: int) -> str:
        """The words that end before `played_ms`."""
        length = heard_characters(self._pieces(), played_ms * self.hz // 1000, self.hz)
        return self.text[:length]

    def _pieces(self) -> list[Piece]:
        ends = [start for start, _ in self._begun[1:]] + [self.samples]
        return [Piece(text, end - start) for (start, text), end in zip(self._begun, ends, strict=True)]
