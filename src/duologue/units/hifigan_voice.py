"""Merged units aloud: each unit's duration is predicted, its code repeated as often, and spoken by the vocoder.

A unit waits for the two after it (they bear on its duration), and its sound for the vocoder's look-ahead.

Letters in shapes: T units, F frames, N samples. Rows of a batch have lengths of their own; codes below 0 are dropped.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad
from torch.nn.utils.rnn import pad_sequence

from duologue.sound import Audio
from duologue.units.centred import Passage, Signal
from duologue.units.codec import CodecState
from duologue.units.hifigan import DURATION_REACH_UNITS, HifiGan
from duologue.units.lookahead import NOTHING, Aloud


class UnitVoice:
    """Speaks merged units, whole or live. Raises ValueError for a vocoder that predicts no durations."""

    ahead_units = DURATION_REACH_UNITS
    """Units that a unit's duration waits for; its sound then waits for the vocoder's `ahead_samples`."""

    def __init__(self, vocoder: HifiGan) -> None:
        if vocoder.dur_predictor is None:
            raise ValueError("this vocoder predicts no durations: give it frames, or take one that does")
        self.vocoder, self._predictor = vocoder, vocoder.dur_predictor
        self._aloud = Aloud(vocoder)

    # ------------------------------------------------------------ whole

    @torch.no_grad()
    def whole(self, units: Sequence[Tensor]) -> list[Tensor]:
        """The sound of each row of units, [T] → [N], made in one batch. Raises ValueError for units that are none."""
        frames = [torch.repeat_interleave(row, self.durations(row)) for row in map(_spoken, units)]
        codes = pad_sequence(frames, batch_first=True, padding_value=NOTHING)
        sounds = self.vocoder(codes[:, None])
        return [sound[: len(row) * self.vocoder.unit_samples] for sound, row in zip(sounds, frames, strict=True)]

    def durations(self, units: Tensor) -> Tensor:
        """Frames that each unit lasts, at least one: [T] → [T]."""
        return torch.round(self.log_durations(units).exp() - 1).long().clamp_min(1)

    @torch.no_grad()
    def log_durations(self, units: Tensor) -> Tensor:
        """log(1 + frames) of each unit: [T] → [T]."""
        units = self.vocoder.checked(pad(units, (0, self.ahead_units), value=NOTHING)[None, None])[:, 0]
        passage = Passage(units >= 0, self.ahead_units)
        logs: Signal = self._predictor(self.vocoder.embedded(units.clamp_min(0), passage), passage)
        return logs.x[0, 0, self.ahead_units :]

    # ------------------------------------------------------------ live

    def start(self, batch: int) -> CodecState:
        """For each row the last units, as many as bear on a duration from both sides; then what the vocoder keeps."""
        device = self.vocoder.dict.weight.device
        recent = torch.full((batch, 2 * self.ahead_units), NOTHING, device=device)
        return CodecState([recent, *self._aloud.start(batch).tensors])

    def say(self, units: Sequence[Tensor], state: CodecState, last: bool = False) -> list[Tensor]:
        """New units of each row, [T] → the sound that is final now, [N]. With `last` everything comes out, and the
        rows are as at the start. Raises ValueError for units that are none."""
        recent, *speaking = state.tensors
        ends = [pad(_spoken(row), (0, self.ahead_units * last), value=NOTHING) for row in units]
        seen = [torch.cat(both) for both in zip(recent, ends, strict=True)]
        aloud = CodecState(speaking)
        sounds = self._aloud.say([self._frames(row)[None] for row in seen], aloud, last)
        kept = torch.stack([row[len(row) - recent.shape[1] :] for row in seen])
        state.tensors[:] = self.start(len(units)).tensors if last else [kept, *aloud.tensors]
        return sounds

    def _frames(self, seen: Tensor) -> Tensor:
        """The frames of those units that are seen with all that bears on their duration: [T] → [F]."""
        middle = slice(self.ahead_units, len(seen) - self.ahead_units)
        units, durations = seen[middle], self.durations(seen)[middle]
        return torch.repeat_interleave(units, durations * (units != NOTHING))


def _spoken(units: Tensor) -> Tensor:
    return units[units >= 0]


class Merged:
    """One utterance of merged units, a `speaking.Utterance`."""

    def __init__(self, voice: UnitVoice) -> None:
        self._voice, self._state = voice, voice.start(1)

    def say(self, units: Sequence[int], last: bool = False) -> Audio:
        (sound,) = self._voice.say([torch.tensor(units, dtype=torch.int64)], self._state, last)
        return sound.clamp(-1, 1).numpy().astype(np.float32)
