"""Sound made fit for a recogniser that was trained on wide-band speech in quiet rooms."""

from __future__ import annotations

import numpy as np

from duologue.session import Audio

TELEPHONE_HZ = 4000
"""Sound from a telephone or an 8 kHz recording ends here."""
EMPTY_DB = -30.0
"""The upper band counts as missing where it is this far below the band next to it."""
FLOOR = 0.003
"""Of the peak: level of the noise that fills digital silence."""


def full_band(audio: Audio) -> Audio:
    """`audio` [N] at 16 kHz; where all above 4 kHz is missing, an estimate of it is added.

    The lower band is mirrored, the louder the more a stretch of 10 ms sounds like a fricative, whose energy lies
    above.
    """
    if not _ends_at_telephone_band(audio):
        return audio
    window = np.ones(160, np.float32) / 160
    energy = np.convolve(audio**2, window, "same") + 1e-12
    slope = np.convolve(np.diff(audio, prepend=audio[:1]) ** 2, window, "same") / energy
    mirror = audio * np.where(np.arange(len(audio)) % 2, -1, 1)
    return (audio + np.minimum((slope / 0.3) ** 2, 10) * mirror).astype(np.float32)


def with_floor(audio: Audio) -> Audio:
    """`audio` with faint noise, always the same: exact zeros are a sound that no model has heard."""
    noise = np.random.default_rng(0).standard_normal(len(audio)).astype(np.float32)
    loudest = float(np.abs(audio).max(initial=0.0))
    return np.clip(audio + FLOOR * loudest * noise, -1.0, 1.0).astype(np.float32)


def _ends_at_telephone_band(audio: Audio) -> bool:
    power = np.abs(np.fft.rfft(audio * np.hanning(len(audio)))) ** 2
    hz = np.linspace(0, 8000, len(power))
    above = power[hz > TELEPHONE_HZ + 300].mean()
    below = power[(hz > TELEPHONE_HZ / 2) & (hz < TELEPHONE_HZ - 300)].mean()
    return bool(above < below * 10 ** (EMPTY_DB / 10))
