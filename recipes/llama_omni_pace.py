"""How soon LLaMA-Omni speaks, and what decoding costs, for each Ω.

A question is read once; its answer is made anew at each Ω from a copy of what the model remembers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, inf
from statistics import fmean, median

from rich.progress import track

from duologue.session import Audio, Speech, Wrote
from duologue.sound.vad import WINDOW_MS
from duologue.systems.llama_omni_conversation import Conversation
from duologue.systems.llama_omni_turns import Manner, Talking, spoken

Clock = Callable[[], float]
CLOCKS: dict[str, Clock] = {"wall": time.perf_counter, "cpu": time.process_time}


@dataclass(frozen=True)
class Pace:
    """Of the answers that are timed, at one Ω.

    silent          of the answers have no sound
    first_sound_ms  median from the end of the question; `frames` of a session that it lasts
    words_behind    written when the first sound is made, on the average
    text_ms         of decoding, the question being read, on the average: tokens alone; `both_ms`: tokens and units
    """

    omega: float
    answers: int
    silent: int
    first_sound_ms: float | None
    frames: int | None
    words_behind: float | None
    text_ms: float
    both_ms: float

    @property
    def ratio(self) -> float:
        return self.both_ms / self.text_ms


@dataclass(frozen=True)
class Made:
    """One answer at one Ω. `first_sound_s` is None where it has no sound."""

    first_sound_s: float | None
    words_behind: int
    text_s: float
    both_s: float


def paced(
    talking: Talking, asked: Sequence[Audio], omegas: Sequence[float], most: int, clock: Clock = time.perf_counter
) -> list[Pace]:
    """For questions [N] at 16 kHz, one at each Ω; answers of `most` tokens at most. Raises AssertionError where units
    depend on Ω."""
    made = [answered(talking, audio, omegas, most, clock) for audio in track(asked, "times")]
    return [_pace(omega, [each[n] for each in made]) for n, omega in enumerate(omegas)]


def answered(talking: Talking, audio: Audio, omegas: Sequence[float], most: int, clock: Clock) -> list[Made]:
    """One question, at each Ω."""
    talk, began = Conversation(talking.model, talking.memory), clock()
    talk.hear(audio)
    heard_s = clock() - began
    text_s, _ = decoded(talk, inf, most, clock, speak=False)
    found, said = list[Made](), set[tuple[int, ...]]()
    for omega in omegas:
        both_s, units = decoded(talk, omega, most, clock)
        said.add(units)
        sound_s, words = first_sound(talking, talk.fork(), Manner(omega, most), clock)
        found.append(Made(None if sound_s is None else heard_s + sound_s, words, text_s, both_s))
    if len(said) > 1:
        raise AssertionError("the units of an answer depend on Ω: streaming is not exact")
    return found


def decoded(
    asked: Conversation, omega: float, most: int, clock: Clock, speak: bool = True
) -> tuple[float, tuple[int, ...]]:
    """Seconds that an answer takes without its sound, and its units."""
    talk, began = asked.fork(), clock()
    most = min(most, talk.model.config.speech.longest_tokens)
    units = tuple(unit for step in talk.answer(omega, most, speak=speak, thrifty=True) for unit in step.units)
    return clock() - began, units


def first_sound(talking: Talking, asked: Conversation, manner: Manner, clock: Clock) -> tuple[float | None, int]:
    """Seconds until the first sound is made, and the words that are written by then."""
    began, written = clock(), ""
    for part in spoken(talking, asked, manner):
        if isinstance(part, Wrote):
            written += part.text
        if isinstance(part, Speech) and len(part.audio):
            return clock() - began, len(written.split())
    return None, len(written.split())


def _pace(omega: float, made: Sequence[Made]) -> Pace:
    sounding = [(1000 * one.first_sound_s, one.words_behind) for one in made if one.first_sound_s is not None]
    first_ms = median(took for took, _ in sounding) if sounding else None
    return Pace(
        omega=omega,
        answers=len(made),
        silent=len(made) - len(sounding),
        first_sound_ms=first_ms,
        frames=None if first_ms is None else ceil(first_ms / WINDOW_MS),
        words_behind=fmean(words for _, words in sounding) if sounding else None,
        text_ms=1000 * fmean(one.text_s for one in made),
        both_ms=1000 * fmean(one.both_s for one in made),
    )
