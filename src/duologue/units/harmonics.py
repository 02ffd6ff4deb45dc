"""The source of CosyVoice 3's vocoder: what the vocal folds do, before mouth and nose shape it.

A network reads the pitch from the mel. A voiced frame gives sines at the pitch and its multiples, an unvoiced one
noise; a layer mixes them into one sound, and its spectrum is what the vocoder hears.

Wang et al. 2019 (neural source-filter, arXiv 1904.12088), as in HiFTNet (Li et al. 2023, arXiv 2309.09493). As
released, a sine keeps its value for a whole frame, and the noise lies between 0 and 1 around no zero.

Letters in shapes: B batch, M mel bands, F frames at 50 Hz, N samples at 24 kHz, C harmonics.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from duologue.units.centred import Chain, Conv, Passage, Signal

Noise = Callable[[Tensor, int], Tensor]
"""Places of samples [B, N], number of harmonics → [B, N, C], from 0 to 1."""
_BITS = 24
_MASK, _MIX = 2**32 - 1, 0x45D9F3B


def hashed_noise(place: Tensor, harmonics: int) -> Tensor:
    """Noise that depends on the place alone, so that no table of it has to be kept."""
    mixed = place[..., None] * harmonics + torch.arange(harmonics, device=place.device)
    for _ in range(2):
        mixed = ((mixed ^ (mixed >> 16)) * _MIX) & _MASK
    noise: Tensor = ((mixed ^ (mixed >> 16)) >> (32 - _BITS)).float() / 2**_BITS
    return noise


class Pointwise(nn.Module):
    """A function of each sample; it must leave zero as it is."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, signal: Signal, passage: Passage) -> Signal:
        return signal.map(self.function)


class Pitch(nn.Module):
    """Mel to pitch, in double precision: a small error would grow with the phase. Looks three frames ahead."""

    def __init__(self, mel_bands: int, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [Conv(mel_bands, width, 4), Pointwise(functional.elu)]
        for _ in range(4):
            layers += [Conv(width, width, 3, padding=2), Pointwise(functional.elu)]
        self.condnet = Chain(*layers)
        self.classifier = nn.Linear(width, 1)
        self.double()

    def forward(self, mel: Signal, passage: Passage) -> Signal:
        """[B, M, F] → [B, 1, F] in Hz."""
        heard: Signal = self.condnet(mel.map(lambda x: x.to(self.classifier.weight.dtype)), passage)
        hz = heard.map(lambda x: self.classifier(x.mT).abs().mT.to(mel.x.dtype))
        return passage.within(hz)


class Source(nn.Module):
    """Pitch to the sound of the folds: [B, 1, F] in Hz → [B, 1, N]."""

    def __init__(
        self, hz: int, frame_samples: int, overtones: int, loudness: float, breath: float, voiced_hz: float
    ) -> None:
        super().__init__()
        self.hz, self.frame_samples, self.harmonics = hz, frame_samples, overtones + 1
        self.loudness, self.breath, self.voiced_hz = loudness, breath, voiced_hz
        self.l_linear = nn.Linear(self.harmonics, 1)
        self.noise: Noise = hashed_noise

    def forward(self, pitch: Signal, turned: Tensor, passage: Passage) -> tuple[Signal, Tensor]:
        """turned [B, C] float64: cycles of each harmonic until now, by `frame_samples`. Gives it as it is then, too."""
        sines, turned = self._sines(pitch.x[:, 0], turned)
        late = pitch.late * self.frame_samples
        place = passage.place(
            Signal(sines.new_empty(1, 1, sines.shape[1] * self.frame_samples), self.frame_samples, late)
        )
        voiced = (pitch.x > self.voiced_hz).to(sines.dtype).mT
        noisy = voiced * self.breath + (1 - voiced) * self.loudness / 3
        held = torch.cat([sines * self.loudness * voiced, noisy], -1).repeat_interleave(self.frame_samples, 1)
        folds = held[..., :-1] + held[..., -1:] * self.noise(place, self.harmonics)
        sound = torch.tanh(self.l_linear(folds)).mT
        return passage.within(Signal(sound, self.frame_samples, late)), turned

    def _sines(self, hz: Tensor, turned: Tensor) -> tuple[Tensor, Tensor]:
        """[B, F] → [B, F, C]: each at the phase that the sum of all pitches until now has reached."""
        order = torch.arange(1, self.harmonics + 1, device=hz.device, dtype=hz.dtype)
        steps = (hz[..., None] * order / self.hz) % 1
        cycles = torch.cat([turned[:, None], steps.double()], 1).cumsum(1)[:, 1:] % 1
        phase = cycles.to(hz.dtype) * 2 * math.pi * self.frame_samples
        return phase.sin(), cycles[:, -1]
