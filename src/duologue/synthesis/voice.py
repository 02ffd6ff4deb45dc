"""Who says it: the voices, which of them are for testing only, and speaking with one of them.

A voice is named as the command line names it, `flite:rms` or `espeak:en-gb+f3`. Each belongs to one split, and
`voices` is the only way to a list of them, so a test voice cannot come into training.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np

from duologue.desk.questions import Split
from duologue.desk.rules import Language
from duologue.engines import EngineError
from duologue.engines.tts import TTS, Espeak, Flite
from duologue.session import HEARD_HZ, Audio
from duologue.sound.wav import resample

FRAME_SAMPLES = HEARD_HZ // 100
QUIET_DB = -40.0
"""Below a clip's loudest 10 ms, frames this much softer at its ends are not speech."""

# ---------------------------------------------------------------- the list


@dataclass(frozen=True)
class Voice:
    name: str
    language: Language
    split: Split


_ACCENTS: dict[Language, tuple[str, ...]] = {
    "en": ("en-us", "en-gb", "en-gb-scotland", "en-029", "en-gb-x-rp", "en-us-nyc"),
    "zh": ("cmn",),
}
_TRAIN_TIMBRES = ("", "+m1", "+m2", "+m3", "+m4", "+m5", "+m6", "+m8", "+f1", "+f2", "+f3", "+f4")
_TEST_TIMBRES = ("+f5", "+m7", "+klatt4")
"""In no accent are they for training."""


def _espeak(language: Language) -> Iterator[Voice]:
    accents = _ACCENTS[language]
    for accent, timbre in product(accents, _TRAIN_TIMBRES):
        yield Voice(f"espeak:{accent}{timbre}", language, "train")
    for timbre in _TEST_TIMBRES:
        yield Voice(f"espeak:{accents[0]}{timbre}", language, "test")


VOICES: tuple[Voice, ...] = (
    *(Voice(f"flite:{name}", "en", "train") for name in ("slt", "rms", "kal16")),
    Voice("flite:awb", "en", "test"),
    *_espeak("en"),
    *_espeak("zh"),
)


def voices(split: Split, language: Language, named: Sequence[str] | None = None) -> tuple[str, ...]:
    """Names of the split's voices for a language; of those `named`, where they are.

    Raises ValueError for a name that is no voice or belongs to the other split.
    """
    split_of = {voice.name: voice.split for voice in VOICES}
    there = tuple(v.name for v in VOICES if (v.split, v.language) == (split, language))
    for name in named or ():
        if split_of.get(name) != split:
            why = f"is for {split_of[name]} only" if name in split_of else "is no voice"
            raise ValueError(f"{name} {why}; for {split} there are {', '.join(there)}")
    chosen = tuple(name for name in there if named is None or name in named)
    if not chosen:
        raise ValueError(f"no voice for {language!r} was named; name one of {', '.join(there)}")
    return chosen


# ---------------------------------------------------------------- speaking


@dataclass(frozen=True)
class Manner:
    """How somebody speaks throughout a recording.

    pitch             what the sound is sped up by after it is made: higher, brighter and faster above 1
    words_per_minute  of espeak-ng, before that; flite has its own pace
    """

    voice: str
    pitch: float = 1.0
    words_per_minute: int = 165


def speak(manner: Manner, text: str) -> Audio:
    """[N] at 16 kHz, whole tens of milliseconds, from the first 10 ms of speech to the last. Raises EngineError."""
    engine = _engine(manner.voice, manner.words_per_minute)
    sound = np.concatenate([np.zeros(0, np.float32), *engine.speak(text)])
    spoken = trimmed(resample(sound, round(engine.hz * manner.pitch), HEARD_HZ))
    if not len(spoken):
        raise EngineError(f"the voice {manner.voice} made no sound of {text!r}; give words that it can say")
    return spoken


@lru_cache
def _engine(voice: str, words_per_minute: int) -> TTS:
    kind, _, which = voice.partition(":")
    if kind == "flite":
        return Flite(which)
    if kind == "espeak":
        return Espeak(which, words_per_minute)
    raise EngineError(f"{voice!r} names no voice; write flite:NAME or espeak:NAME")


def trimmed(sound: Audio) -> Audio:
    """The sound [N] from its first frame that is not quiet to its last; nothing of a silent one."""
    frames = np.pad(sound, (0, -len(sound) % FRAME_SAMPLES)).reshape(-1, FRAME_SAMPLES)
    power = np.square(frames, dtype=np.float64).mean(axis=1)
    loud = np.flatnonzero(power > power.max(initial=0.0) * 10 ** (QUIET_DB / 10))
    return frames[loud[0] : loud[-1] + 1].reshape(-1) if len(loud) else frames[:0].reshape(-1)
