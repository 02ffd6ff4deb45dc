"""Chunks of any size in, frames of one size out. No sample is lost, doubled or waited for longer than needed."""

from __future__ import annotations

import numpy as np

from duologue.sound import Audio


class Framer:
    """Cuts a stream of samples into frames of `frame_samples`; the rest waits for the next push."""

    def __init__(self, frame_samples: int) -> None:
        if frame_samples < 1:
            raise ValueError(f"a frame needs at least one sample, not {frame_samples}")
        self.frame_samples = frame_samples
        self._rest: Audio = np.zeros(0, np.float32)

    @property
    def left_over(self) -> int:
        """Samples that wait for the rest of their frame."""
        return len(self._rest)

    def push(self, chunk: Audio) -> Audio:
        """Take [n] samples, give all whole frames: [F, frame_samples], F possibly 0."""
        joined = np.concatenate((self._rest, chunk)) if len(self._rest) else np.asarray(chunk, np.float32)
        whole = len(joined) // self.frame_samples * self.frame_samples
        self._rest = joined[whole:].copy()
        return joined[:whole].reshape(-1, self.frame_samples)

    def flush(self) -> Audio:
        """The last, unfinished frame filled up with silence: [1, frame_samples], or [0, frame_samples] if none."""
        missing = -len(self._rest) % self.frame_samples
        return self.push(np.zeros(missing, np.float32))
