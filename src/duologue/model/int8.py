"""Weights of 8 bits on a CPU: a step of a language model takes as long as reading its weights, and these are a quarter.

Weights are rounded, each row of a matrix in its own steps; activations pass in bfloat16 through torch's own product.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

_WIDTH = 32
"""torch's product takes rows whose length is a multiple of this, and does not look whether it is."""
Model = TypeVar("Model", bound=nn.Module)


class Int8Linear(nn.Module):
    """What it was made of, rounded: [..., K] → [..., N] in the type of its input."""

    weight: Tensor
    scale: Tensor
    bias: Tensor | None

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight = linear.weight.detach().float()
        scale = weight.abs().amax(1).clamp_min(torch.finfo(torch.float32).tiny) / 127
        rounded = (weight / scale[:, None]).round().to(torch.int8)
        self.register_buffer("weight", functional.pad(rounded, (0, -linear.in_features % _WIDTH)))
        self.register_buffer("scale", scale.to(torch.bfloat16))
        self.register_buffer("bias", None if linear.bias is None else linear.bias.detach())

    def forward(self, x: Tensor) -> Tensor:
        rows = x.reshape(-1, x.shape[-1]).to(torch.bfloat16)
        rows = functional.pad(rows, (0, self.weight.shape[1] - rows.shape[1]))
        product = torch._weight_int8pack_mm(rows, self.weight, self.scale).to(x.dtype)
        return (product if self.bias is None else product + self.bias).view(*x.shape[:-1], len(self.weight))


def int8(model: Model) -> Model:
    """All linear layers of a model (a causal one of transformers, or what is built about one) in 8 bits, in place.

    Embeddings stay as they are; a head that is tied to them becomes a copy. It cannot be trained any more. Raises
    ValueError for a model that is not on a CPU.
    """
    return rounded(model, 8, Int8Linear)


def rounded(model: Model, bits: int, made_of: Callable[[nn.Linear], nn.Module]) -> Model:
    """All linear layers of a model replaced, in place. Raises ValueError for a model that is not on a CPU."""
    for name, layer in list(model.named_modules()):
        if isinstance(layer, nn.Linear):
            if layer.weight.device.type != "cpu":
                raise ValueError(f"{name} is on {layer.weight.device.type}: weights of {bits} bits are for a CPU")
            model.set_submodule(name, made_of(layer))
    return model.eval()
