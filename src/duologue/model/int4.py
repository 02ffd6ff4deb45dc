"""Weights of 4 bits on a CPU, by torch's own product: a step reads an eighth of what it would in single precision.

Weights are rounded to 16 levels in groups of 64, each group with a scale and a middle of its own.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from duologue.model.int8 import Int8Linear, Model, rounded

GROUP = 64
_ROWS = 16
"""torch's product makes as many outputs at once."""
_LEVELS, _MIDDLE = 15, 8


class Int4Linear(nn.Module):
    """What it was made of, rounded: [..., K] → [..., N] in the type of its input; K in whole groups, N in 16s."""

    packed: Tensor
    scales: Tensor
    bias: Tensor | None

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight = linear.weight.detach().float()
        groups = weight.view(len(weight), -1, GROUP)
        least, most = groups.amin(-1, keepdim=True), groups.amax(-1, keepdim=True)
        scale = ((most - least) / _LEVELS).clamp_min(torch.finfo(torch.float32).tiny)
        levels = ((groups - least) / scale).round().clamp(0, _LEVELS).to(torch.int32).flatten(1)
        scales = torch.cat((scale, least + _MIDDLE * scale), -1).transpose(0, 1).contiguous()
        self.register_buffer("packed", torch._convert_weight_to_int4pack_for_cpu(levels, 1))
        self.register_buffer("scales", scales.to(torch.bfloat16))
        self.register_buffer("bias", None if linear.bias is None else linear.bias.detach())

    def forward(self, x: Tensor) -> Tensor:
        rows = x.reshape(-1, x.shape[-1]).to(torch.bfloat16)
        product = torch.ops.aten._weight_int4pack_mm_for_cpu(rows, self.packed, GROUP, self.scales).to(x.dtype)
        made: Tensor = (product if self.bias is None else product + self.bias).view(*x.shape[:-1], -1)
        return made


def int4(model: Model) -> Model:
    """All linear layers of a model in 4 bits, in place; in 8 bits those whose sizes do not fit. It cannot be trained
    any more. Raises ValueError for a model that is not on a CPU."""
    return rounded(model, 4, _in_few_bits)


def _in_few_bits(linear: nn.Linear) -> nn.Module:
    fits = linear.in_features % GROUP == 0 and linear.out_features % _ROWS == 0
    return Int4Linear(linear) if fits else Int8Linear(linear)
