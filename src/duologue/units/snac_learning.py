"""How a SNAC learns: codes are chosen, gradients pass straight through (van den Oord et al. 2017, arXiv 1711.00937).

A code is the running mean of what it was chosen for; one that is hardly chosen begins anew as what is heard now.

Letters in shapes: B batch, D width, L latents, T units in time, N samples.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from duologue.units.centred import Passage
from duologue.units.snac import Snac
from duologue.units.snac_levels import Quantizer

KEPT = 0.98
"""Of a running mean, at each step."""
RARE = 0.03
"""Of an equal share of what is heard: a code that gets less begins anew."""

Tensors = dict[str, Tensor]
Apart = Callable[[Tensor, Tensor], Tensor]
"""How far made sound [B, N] is from the sound that it should be."""


class Quantized(NamedTuple):
    """Latents as the decoder gets them [B, D, L], and how far they are from their codes."""

    latents: Tensor
    apart: Tensor


class Learning(nn.Module):
    """A codec as `duologue.train` calls it with the objective `SoundAndCodes`: of `sound` [B, T, unit_samples] and
    `said` [B, T], which is false behind the end of a row.

    chosen   of each level, how often each code was chosen lately, and the sum of what it was chosen for
    """

    chosen: Tensor
    sums: Tensor

    def __init__(self, codec: Snac, apart: Apart) -> None:
        super().__init__()
        self.codec, self._apart = codec, apart
        size = (len(codec.config.vq_strides), codec.codes)
        self.register_buffer("chosen", torch.zeros(size))
        self.register_buffer("sums", torch.zeros(*size, codec.config.codebook_dim))

    def forward(self, batch: Tensors) -> Tensor:
        """How far the sound is from what was heard, and the latents from their codes: [2]."""
        sound, inside = batch["sound"].flatten(1), batch["said"]
        quantized = self._quantized(self._heard(sound, inside), inside)
        return torch.stack([self._apart(self._made(quantized.latents, inside), sound), quantized.apart])

    def _heard(self, sound: Tensor, inside: Tensor) -> Tensor:
        """Latents [B, D, L] of sound [B, N]."""
        codec, ahead = self.codec, self.codec.heard_ahead_units
        sound = functional.pad(sound, (0, ahead * codec.unit_samples))
        latents, _ = codec.latents(sound, functional.pad(inside, (0, ahead)), ahead)
        return latents.x[..., ahead * latents.rate :].float()

    def _made(self, latents: Tensor, inside: Tensor) -> Tensor:
        """Sound [B, N]."""
        codec, ahead = self.codec, self.codec.ahead_units
        behind = functional.pad(latents, (0, ahead * codec.config.vq_strides[0]))
        late = codec.sound(behind, Passage(functional.pad(inside, (0, ahead)), ahead))
        return late.x[:, 0, late.late :][:, : inside.shape[1] * codec.unit_samples]

    # ------------------------------------------------------------ codes

    def _quantized(self, latents: Tensor, inside: Tensor) -> Quantized:
        """Level by level, as the codec does it."""
        total, apart = torch.zeros_like(latents), latents.new_zeros(())
        for number, (stride, level) in enumerate(self.codec.quantizer.levels):
            here = inside.repeat_interleave(self.codec.config.vq_strides[0] // stride, -1)
            wide, distance = self._level(level, functional.avg_pool1d(latents, stride), here, number)
            wide = wide.repeat_interleave(stride, -1)
            latents, total, apart = latents - wide, total + wide, apart + distance
        return Quantized(total, apart)

    def _level(self, level: Quantizer, latents: Tensor, inside: Tensor, number: int) -> Quantized:
        narrow, codes = level.in_proj(latents).float(), level.nearest(latents)
        if self.training:
            self._remember(level, number, narrow.mT[inside].detach(), codes[inside])
        chosen = level.codebook(codes).mT.detach()
        apart = (narrow - chosen).mT[inside].square().mean()
        return Quantized(level.out_proj(narrow + (chosen - narrow).detach()), apart)

    @torch.no_grad()
    def _remember(self, level: Quantizer, number: int, heard: Tensor, codes: Tensor) -> None:
        """Codes [n] were chosen for vectors [n, D]."""
        counts, sums = self.chosen[number], self.sums[number]
        counts.mul_(KEPT).index_add_(0, codes, torch.full((len(codes),), 1 - KEPT, device=codes.device))
        sums.mul_(KEPT).index_add_(0, codes, (1 - KEPT) * heard)
        share = len(heard) / len(counts)
        rare = (counts < RARE * share).nonzero()[:, 0]
        counts[rare] = share
        sums[rare] = share * heard[torch.randint(len(heard), (len(rare),), device=heard.device)]
        level.codebook.weight.copy_(sums / counts[:, None])


class SoundAndCodes:
    """The objective of what `Learning.forward` gives."""

    def cells(self, batch: Tensors) -> Tensors:
        return dict.fromkeys(("sound", "codes"), batch["said"].sum())

    def nats(self, output: Tensor, batch: Tensors) -> Tensors:
        sound, codes = output * batch["said"].sum()
        return {"sound": sound, "codes": codes}
