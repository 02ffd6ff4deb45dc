"""Questions spoken aloud by a program's voice, for tests that need real speech and no recording."""

from __future__ import annotations

import shutil
from functools import lru_cache

import numpy as np

from conftest import need
from duologue.engines.tts import Flite
from duologue.session import HEARD_HZ, Audio
from duologue.sound.wav import resample


@lru_cache
def spoken(text: str, voice: str = "rms") -> Audio:
    """[N] at 16 kHz, with half a second of faint noise around it."""
    need(shutil.which("flite") is not None, "flite")
    engine = Flite(voice)
    sound = resample(np.concatenate(list(engine.speak(text))), engine.hz, HEARD_HZ)
    hush = np.random.default_rng(0).normal(0, 3e-4, len(sound) + HEARD_HZ).astype(np.float32)
    hush[HEARD_HZ // 2 : HEARD_HZ // 2 + len(sound)] += sound
    return hush
