"""How much of what was sent has come out of the client's loudspeaker, as far as a clock can tell."""

from __future__ import annotations

from collections.abc import Callable


class Playout:
    """The client plays what it gets at once, at the speed of time; when it has nothing left, it waits."""

    def __init__(self, hz: int, now: Callable[[], float]) -> None:
        self._hz, self._now = hz, now
        self._sent_samples = 0
        self._ends_at_s = 0.0

    def begin(self, from_samples: int = 0) -> None:
        """A reply begins, or goes on after `from_samples` of it were played; what was in hand is dropped."""
        self._sent_samples, self._ends_at_s = from_samples, self._now()

    def send(self, samples: int) -> None:
        self._sent_samples += samples
        self._ends_at_s = max(self._ends_at_s, self._now()) + samples / self._hz

    @property
    def ahead_s(self) -> float:
        """How much the client has in hand."""
        return max(0.0, self._ends_at_s - self._now())

    @property
    def played_samples(self) -> int:
        return max(0, self._sent_samples - round(self.ahead_s * self._hz))
