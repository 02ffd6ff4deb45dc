"""Sound, before anything understands it: files, frames, spectra, and whether somebody speaks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Audio = NDArray[np.float32]
"""Mono sound, float32 in [-1, 1], shape [N]."""
