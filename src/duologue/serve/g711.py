"""G.711, the sound of telephones: 8 kHz, 8 bits a sample, logarithmic. ITU-T G.711 as tables."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from duologue.sound import Audio

G711_HZ = 8_000


def _mu_law_levels() -> NDArray[np.int32]:
    """The sample of 16 bits that each of the 256 codes of the mu-law means."""
    code = ~np.arange(256) & 0xFF
    magnitude = (((code & 0x0F) << 3) + 0x84 << (code >> 4 & 7)) - 0x84
    return np.where(code & 0x80, -magnitude, magnitude).astype(np.int32)


def _a_law_levels() -> NDArray[np.int32]:
    """The sample of 16 bits that each of the 256 codes of the A-law means."""
    code = np.arange(256) ^ 0x55
    exponent, mantissa = code >> 4 & 7, (code & 0x0F) << 4
    magnitude = np.where(exponent == 0, mantissa + 8, mantissa + 0x108 << np.maximum(exponent - 1, 0))
    return np.where(code & 0x80, magnitude, -magnitude).astype(np.int32)


def _nearest_codes(levels: NDArray[np.int32]) -> NDArray[np.uint8]:
    """For every sample of 16 bits, from -32768 up, the code whose level is nearest."""
    order = np.argsort(levels, kind="stable")
    samples = np.arange(-32768, 32768)
    middles = (levels[order][1:] + levels[order][:-1]) / 2
    return order[np.searchsorted(middles, samples)].astype(np.uint8)


LEVELS = {"audio/pcmu": _mu_law_levels(), "audio/pcma": _a_law_levels()}
_CODES = {law: _nearest_codes(levels) for law, levels in LEVELS.items()}


def decode(codes: bytes, law: str) -> Audio:
    """Codes of 8 bits to samples [N] at 8 kHz; `law` is "audio/pcmu" or "audio/pcma"."""
    return (LEVELS[law][np.frombuffer(codes, np.uint8)] / 32768).astype(np.float32)


def encode(audio: Audio, law: str) -> bytes:
    """Samples [N] in [-1, 1] at 8 kHz to codes of 8 bits."""
    samples = np.clip(np.round(audio * 32768), -32768, 32767).astype(np.int32)
    return _CODES[law][samples + 32768].tobytes()
