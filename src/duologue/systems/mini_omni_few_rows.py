"""Products of a matrix with two rows, or a few, on a CPU.

A step is as fast as its weights are read. For one row they are read once; for two, float32 products take twice as long.
Turned around, weights times columns, a few rows cost what one does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

FEW = 4
WIDE = 512
"""Of a model for which it is worth its while: small matrices stay in the processor's cache."""


def for_rows(rows: int, width: int) -> AbstractContextManager[Any]:
    """What a step of so many rows of a model of this width is best run in."""
    return FewRows() if 1 < rows <= FEW and width >= WIDE else nullcontext()


class FewRows(TorchFunctionMode):
    """While this is on, linear layers are computed so for 2 to 4 rows."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        del types
        if func is functional.linear and _few(args[0]):
            return few_rows(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _few(inputs: Tensor) -> bool:
    plain = inputs.dtype == torch.float32 and inputs.device.type == "cpu" and not inputs.requires_grad
    return plain and 1 < inputs.numel() // inputs.shape[-1] <= FEW


def few_rows(inputs: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """What `functional.linear` gives: [..., D] → [..., n]."""
    rows = inputs.reshape(-1, inputs.shape[-1])
    product = (weight @ rows.mT).mT.contiguous().view(*inputs.shape[:-1], -1)
    return product if bias is None else product + bias
