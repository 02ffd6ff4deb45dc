"""When somebody makes sound: stretches of time in whole milliseconds, from labels, from sound or from units.

Seconds come in, seconds go into reports; between them time is counted in whole milliseconds, so that "more than
200 ms" means the same wherever in a recording it is asked.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from duologue.dialogue import Dialogue, Speaker
from duologue.sound import Audio
from duologue.sound.frames import Framer
from duologue.sound.vad import VAD_HZ, WINDOW_SAMPLES, Vad, silero
from duologue.sound.wav import checked, resample

SPEAKERS: tuple[Speaker, Speaker] = ("user", "assistant")
"""The two channels in order: left, right."""


def whole_ms(seconds: float) -> int:
    """The nearest millisecond, halves up. Raises ValueError for NaN and infinity."""
    if not math.isfinite(seconds):
        raise ValueError(f"a time must be a number of seconds, not {seconds}")
    return math.floor(seconds * 1000 + 0.5)


# ---------------------------------------------------------------- stretches


@dataclass(frozen=True, order=True)
class Span:
    """A stretch of time: from `start_ms` until just before `end_ms`."""

    start_ms: int
    end_ms: int

    def __post_init__(self) -> None:
        if self.end_ms < self.start_ms:
            raise ValueError(f"a stretch cannot end ({self.end_ms} ms) before it starts ({self.start_ms} ms)")

    @property
    def length_ms(self) -> int:
        return self.end_ms - self.start_ms

    @classmethod
    def of_seconds(cls, start_s: float, end_s: float) -> Self:
        return cls(whole_ms(start_s), whole_ms(end_s))

    def contains(self, other: Span) -> bool:
        return self.start_ms <= other.start_ms and other.end_ms <= self.end_ms

    def overlaps(self, other: Span) -> bool:
        """Do the two share more than nothing? A stretch of no length counts as the moment it stands at."""
        if not other.length_ms:
            return self.start_ms <= other.start_ms < self.end_ms
        return self.start_ms < other.end_ms and other.start_ms < self.end_ms


def joined(spans: Iterable[Span], across_ms: int = 0) -> tuple[Span, ...]:
    """In order, empty ones dropped, those joined that overlap, touch, or lie at most `across_ms` apart."""
    out: list[Span] = []
    for span in sorted(s for s in spans if s.length_ms):
        if out and span.start_ms - out[-1].end_ms <= across_ms:
            out[-1] = Span(out[-1].start_ms, max(out[-1].end_ms, span.end_ms))
        else:
            out.append(span)
    return tuple(out)


def shared(left: Iterable[Span], right: Iterable[Span]) -> tuple[Span, ...]:
    """Where both are, as maximal stretches."""
    a, b, out = list(reversed(joined(left))), list(reversed(joined(right))), []
    while a and b:
        start_ms, end_ms = max(a[-1].start_ms, b[-1].start_ms), min(a[-1].end_ms, b[-1].end_ms)
        if start_ms < end_ms:
            out.append(Span(start_ms, end_ms))
        (a if a[-1].end_ms <= b[-1].end_ms else b).pop()
    return tuple(out)


def outside(spans: Iterable[Span], duration_ms: int) -> tuple[Span, ...]:
    """What `spans` leave free of [0, duration_ms]."""
    whole = joined(spans)
    starts = [0, *(s.end_ms for s in whole)]
    ends = [*(s.start_ms for s in whole), duration_ms]
    return tuple(Span(start, end) for start, end in zip(starts, ends, strict=True) if start < end)


# ---------------------------------------------------------------- from sound and units


def of_frames(active: NDArray[np.bool_], frame_hz: float) -> tuple[Span, ...]:
    """Stretches of active frames: [T] booleans at `frame_hz`."""
    edges = np.flatnonzero(np.diff(active.astype(np.int8), prepend=0, append=0))
    at_ms = [whole_ms(edge / frame_hz) for edge in edges.tolist()]
    return tuple(Span(start, end) for start, end in zip(at_ms[::2], at_ms[1::2], strict=True))


def of_sound(audio: Audio, vad: Vad | None = None, threshold: float = 0.5) -> tuple[Span, ...]:
    """Stretches of speech in [N] samples at 16 kHz: windows of 32 ms whose probability reaches `threshold`, with
    no hangover before or after them. The default VAD is Silero's."""
    vad = vad or silero()
    state, active = vad.start(), []
    framer = Framer(WINDOW_SAMPLES)
    for window in (*framer.push(audio), *framer.flush()):
        probability, state = vad.probability(window, state)
        active.append(probability >= threshold)
    end_ms = math.ceil(1000 * len(audio) / VAD_HZ)
    spans = of_frames(np.array(active, dtype=np.bool_), VAD_HZ / WINDOW_SAMPLES)
    return tuple(Span(s.start_ms, min(s.end_ms, end_ms)) for s in spans)


# ---------------------------------------------------------------- two speakers


@dataclass(frozen=True)
class Tracks:
    """When each of two speakers makes sound in a recording of `duration_ms`. Stretches may be given in any order
    and touching; they are kept in order and apart. Raises ValueError for speech outside the recording."""

    user: tuple[Span, ...]
    assistant: tuple[Span, ...]
    duration_ms: int

    def __post_init__(self) -> None:
        for speaker in SPEAKERS:
            spans = joined(self.of(speaker))
            if spans and (spans[0].start_ms < 0 or spans[-1].end_ms > self.duration_ms):
                raise ValueError(
                    f"the {speaker} speaks from {spans[0].start_ms} to {spans[-1].end_ms} ms, outside the "
                    f"recording of {self.duration_ms} ms; give its whole duration, and times from its beginning"
                )
            object.__setattr__(self, speaker, spans)

    def of(self, speaker: Speaker) -> tuple[Span, ...]:
        return self.user if speaker == "user" else self.assistant

    @classmethod
    def of_dialogue(cls, dialogue: Dialogue, duration_s: float | None = None) -> Self:
        """From utterances with times; without a duration the recording ends with the last of them."""
        user, assistant = (
            tuple(Span.of_seconds(u.start_s, u.end_s) for u in dialogue.of(speaker)) for speaker in SPEAKERS
        )
        return cls(user, assistant, whole_ms(dialogue.duration_s if duration_s is None else duration_s))

    @classmethod
    def of_sound(cls, sound: NDArray[np.float32], hz: int, vad: Vad | None = None, threshold: float = 0.5) -> Self:
        """From a recording [N, 2] at `hz`, user left, assistant right, the same VAD and threshold on both.
        Raises ValueError for another shape, SoundError for samples that are no numbers."""
        if sound.ndim != 2 or sound.shape[1] != 2:
            raise ValueError(f"two speakers need a sound of shape [N, 2], not {list(sound.shape)}")
        sides = (resample(checked(sound[:, side], SPEAKERS[side]), hz, VAD_HZ) for side in (0, 1))
        user, assistant = (of_sound(side, vad, threshold) for side in sides)
        last_ms = max((s.end_ms for s in (*user, *assistant)), default=0)
        return cls(user, assistant, max(last_ms, whole_ms(len(sound) / hz)))

    @classmethod
    def of_units(cls, user: NDArray[np.bool_], assistant: NDArray[np.bool_], frame_hz: float) -> Self:
        """From two channels of units, [T] booleans each: is the frame's unit not silence?"""
        if len(user) != len(assistant):
            raise ValueError(
                f"two channels of one recording have one length, not {len(user)} and {len(assistant)} frames"
            )
        return cls(of_frames(user, frame_hz), of_frames(assistant, frame_hz), whole_ms(len(user) / frame_hz))
