"""Units into sound as they come: an utterance, or a voice on the clock."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch

from duologue.sound import Audio
from duologue.units.codec import CodecState, UnitDecoder


class Utterance(Protocol):
    def say(self, units: Sequence[int], last: bool = False) -> Audio:
        """The sound that is final now, [N]. With `last` everything comes out."""
        ...


class Speaking:
    """One utterance by any `UnitDecoder` of one book, sound as soon as it is final: no silence before the first unit,
    no tail lost."""

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


class Voice:
    """A unit or silence on every beat of the clock. It rests while there is nothing but silence."""

    def __init__(self, decoder: UnitDecoder) -> None:
        self._decoder = decoder
        self._state: CodecState | None = None
        self._silent_units = 0

    def say(self, code: int | None) -> Audio:
        """The sound [unit_samples] of the code `ahead_units` before this one. None is silence."""
        self._silent_units = self._silent_units + 1 if code is None else 0
        if self._silent_units > self._decoder.ahead_units:
            self._state = None
        if self._state is None:
            if code is None:
                return np.zeros(self._decoder.unit_samples, np.float32)
            self._state = self._decoder.start_decoder(1)
        unit = self._decoder.silence[0] if code is None else code
        return self._decoder.decode(torch.tensor([[[unit]]]), self._state)[0].clamp(-1, 1).numpy()
