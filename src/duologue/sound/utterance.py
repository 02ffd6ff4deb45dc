"""Where an utterance begins and ends.

`Segmenter` decides it from the probabilities of the VAD alone, in windows of 32 ms; `Listener` adds the sound. An
utterance is handed on in one piece, pauses and a pre-roll included: a recogniser hears words, not fragments.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import Literal

import numpy as np

from duologue.sound import Audio
from duologue.sound.vad import WINDOW_MS, Vad


@dataclass(frozen=True)
class UtteranceSettings:
    """A window is speech at p >= `threshold`, quiet below `threshold - 0.15`, neither in between."""

    threshold: float = 0.5
    min_silence_ms: int = 600
    min_speech_ms: int = 200
    max_speech_ms: int = 60_000
    pre_roll_ms: int = 300
    post_roll_ms: int = 100

    @property
    def pre_roll_windows(self) -> int:
        return math.ceil(self.pre_roll_ms / WINDOW_MS)

    @property
    def post_roll_windows(self) -> int:
        return math.ceil(self.post_roll_ms / WINDOW_MS)


@dataclass(frozen=True)
class Segment:
    """One utterance, in windows since the start of the stream; `end` is exclusive."""

    start: int
    onset: int
    last_voiced: int
    end: int
    decided_at: int
    reason: Literal["silence", "max", "flush"]
    continued: bool
    voiced_windows: int
    passed_on: bool


class Segmenter:
    """Probabilities in, one a window; a `Segment` out when an utterance has ended."""

    def __init__(self, settings: UtteranceSettings, first_window: int = 0) -> None:
        self.settings = settings
        self.windows = first_window
        self.start = first_window
        """First window of the open utterance, else the first that the next one may have."""
        self.onset: int | None = None
        """Window that opened the utterance; None while nobody speaks."""
        self.voiced_windows = 0
        self._last_voiced = 0
        self._quiet_since: int | None = None
        self._continued = False
        self._previous_end = first_window

    @property
    def sure_end(self) -> int:
        """Of the open utterance: it holds the windows before this one, however it goes on. Exclusive."""
        return max(self.start, min(self._last_voiced + 1 + self.settings.post_roll_windows, self.windows))

    def push(self, probability: float) -> Segment | None:
        now, self.windows = self.windows, self.windows + 1
        if self.onset is None and probability >= self.settings.threshold:
            self._open(now, start=max(now - self.settings.pre_roll_windows, self._previous_end, 0))
        if self.onset is None:
            self.start = max(now + 1 - self.settings.pre_roll_windows, self._previous_end, 0)
            return None
        return self._follow(now, probability)

    def flush(self) -> Segment | None:
        """The stream has ended: an open utterance ends with it."""
        return None if self.onset is None else self._close(self.windows - 1, "flush")

    def _open(self, now: int, start: int, continued: bool = False) -> None:
        self.onset, self.start, self._continued = now, start, continued
        self.voiced_windows = 0

    def _follow(self, now: int, probability: float) -> Segment | None:
        quiet = probability < self.settings.threshold - 0.15
        if probability >= self.settings.threshold:
            self._quiet_since = None
        if not quiet:
            self.voiced_windows += 1
            self._last_voiced = now
        elif self._quiet_since is None:
            self._quiet_since = now
        if quiet and self._quiet_since is not None:
            silence_ms = (now - self._quiet_since + 1) * WINDOW_MS
            if silence_ms >= self.settings.min_silence_ms:
                return self._close(now, "silence")
        if (now + 1 - self.start) * WINDOW_MS >= self.settings.max_speech_ms:
            return self._close(now, "max")
        return None

    def _close(self, now: int, reason: Literal["silence", "max", "flush"]) -> Segment | None:
        assert self.onset is not None
        end = now + 1 if reason == "max" else self.sure_end
        long_enough = self.voiced_windows * WINDOW_MS >= self.settings.min_speech_ms
        segment = Segment(
            start=self.start,
            onset=self.onset,
            last_voiced=self._last_voiced,
            end=end,
            decided_at=now,
            reason=reason,
            continued=self._continued,
            voiced_windows=self.voiced_windows,
            passed_on=long_enough or (self._continued and self.voiced_windows > 0),
        )
        self._previous_end = self.start = end
        if reason == "max":
            self._open(end, start=end, continued=True)
        else:
            self.onset, self._quiet_since = None, None
        return segment if segment.voiced_windows else None


class Listener:
    """Windows of sound in; utterances with their sound out. Holds the pre-roll and the open utterance, no more."""

    def __init__(self, vad: Vad, settings: UtteranceSettings) -> None:
        self._vad, self._state = vad, vad.start()
        self._segmenter = Segmenter(settings)
        self._held: deque[Audio] = deque()

    @property
    def settings(self) -> UtteranceSettings:
        return self._segmenter.settings

    @settings.setter
    def settings(self, settings: UtteranceSettings) -> None:
        self._segmenter.settings = settings

    @property
    def windows(self) -> int:
        """Windows heard since the start of the stream."""
        return self._segmenter.windows

    @property
    def start(self) -> int | None:
        """First window of the open utterance, pre-roll included; None while nobody speaks."""
        return None if self._segmenter.onset is None else self._segmenter.start

    @property
    def voiced_ms(self) -> int:
        """How much speech the open utterance holds."""
        return 0 if self._segmenter.onset is None else self._segmenter.voiced_windows * WINDOW_MS

    @property
    def sure(self) -> Audio:
        """The sound [N] that the open utterance holds, however it goes on."""
        first = self.windows - len(self._held)
        sound = list(self._held)[self._segmenter.start - first : self._segmenter.sure_end - first]
        return np.concatenate(sound) if sound else np.zeros(0, np.float32)

    def push(self, window: Audio) -> tuple[Segment, Audio] | None:
        """Hear [512] samples at 16 kHz; the utterance [N] that ended with them, if one did."""
        probability, self._state = self._vad.probability(window, self._state)
        self._held.append(window)
        return self._handed_on(self._segmenter.push(probability))

    def flush(self) -> tuple[Segment, Audio] | None:
        """The stream has ended: what was said last."""
        return self._handed_on(self._segmenter.flush())

    def clear(self) -> None:
        """Forget an open utterance and everything held."""
        self._segmenter = Segmenter(self.settings, first_window=self.windows)
        self._held.clear()

    def _handed_on(self, segment: Segment | None) -> tuple[Segment, Audio] | None:
        handed = None
        if segment is not None:
            first = self.windows - len(self._held)
            sound = list(self._held)[segment.start - first : segment.end - first]
            handed = segment, np.concatenate(sound)
        while len(self._held) > self.windows - self._segmenter.start:
            self._held.popleft()
        return handed
