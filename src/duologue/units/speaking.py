"""Units as they come, sound as soon as it is final: no silence before the first unit, no tail lost."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from duologue.sound import Audio
from duologue.units.codec import UnitDecoder


class Speaking:
    """One utterance by any `UnitDecoder` of one book."""

    def __init__(self, decoder: UnitDecoder) -> None:
        self._decoder, self._state = decoder, decoder.start_decoder(1)
        self._early_samples = decoder.ahead_units * decoder.unit_samples
        """Sound that comes out before the first unit's."""
        self._begun = False

    def say(self, units: Sequence[int], last: bool = False) -> Audio:
        """The sound that is final now, [N] at the decoder's rate. With `last` everything comes out."""
        self._begun = self._begun or bool(units)
        after = [self._decoder.silence[0]] * (self._decoder.ahead_units if last and self._begun else 0)
        codes = torch.tensor([[[*units, *after]]], dtype=torch.int64)
        sound = self._decoder.decode(codes, self._state)[0]
        early, self._early_samples = self._early_samples, max(0, self._early_samples - len(sound))
        return sound[early:].clamp(-1, 1).numpy().astype(np.float32)
