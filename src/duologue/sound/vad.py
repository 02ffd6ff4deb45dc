"""Does somebody speak? One probability for every window of 32 ms.

Two answers behind one call: Silero's network, and a rule about energy that needs no model. A `Vad` is shared by
all callers; what it remembers of one caller's sound is a state that the caller holds.
"""

from __future__ import annotations

import math
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from duologue.sound import Audio

WINDOW_SAMPLES = 512
WINDOW_MS = 32
VAD_HZ = 16_000


class Vad(Protocol):
    """`start()` makes the state of one caller; `probability(window, state)` takes a window [512] at 16 kHz and
    gives the probability that it holds speech, and the next state."""

    def start(self) -> Any: ...
    def probability(self, window: Audio, state: Any) -> tuple[float, Any]: ...


class SileroVad:
    """Silero VAD (https://github.com/snakers4/silero-vad, MIT) from its wheel, run by onnxruntime."""

    _CONTEXT_SAMPLES = 64

    def __init__(self) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._network = onnxruntime.InferenceSession(
            str(_silero_weights()), options, providers=["CPUExecutionProvider"]
        )
        self._rate = np.array(VAD_HZ, np.int64)

    def start(self) -> tuple[Audio, Audio]:
        return np.zeros((2, 1, 128), np.float32), np.zeros(self._CONTEXT_SAMPLES, np.float32)

    def probability(self, window: Audio, state: tuple[Audio, Audio]) -> tuple[float, tuple[Audio, Audio]]:
        memory, context = state
        sound = np.concatenate((context, window))[None]
        speech, memory = self._network.run(None, {"input": sound, "state": memory, "sr": self._rate})
        return float(speech[0, 0]), (memory, window[-self._CONTEXT_SAMPLES :])


def _silero_weights() -> Path:
    """The ONNX file inside the wheel, found without importing the package (which would import torch)."""
    package = find_spec("silero_vad")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("silero-vad is not installed; pip install silero-vad")
    return Path(package.origin).parent / "data" / "silero_vad.onnx"


@lru_cache(maxsize=1)
def silero() -> SileroVad:
    """The one network that all callers share."""
    return SileroVad()


class EnergyVad:
    """Speech is what rises above the background: the level in dB against a floor that follows the quietest sound,
    at once downwards and by `rise_db` a window upwards. Half probability at `margin_db` above the floor."""

    def __init__(self, margin_db: float = 12.0, rise_db: float = 0.05, least_db: float = -55.0) -> None:
        self.margin_db, self.rise_db, self.least_db = margin_db, rise_db, least_db

    def start(self) -> float:
        return self.least_db

    def probability(self, window: Audio, floor_db: float) -> tuple[float, float]:
        level_db = 10 * math.log10(float(np.mean(np.square(window, dtype=np.float64))) + 1e-12)
        floor_db = max(self.least_db, min(level_db, floor_db + self.rise_db))
        return 1 / (1 + math.exp(-(level_db - floor_db - self.margin_db) / 2)), floor_db
