"""In what precision a model's weights are kept."""

from __future__ import annotations

from typing import Literal

import torch

from duologue.model.int4 import int4
from duologue.model.int8 import Model, int8

Precision = torch.dtype | Literal["float32", "bfloat16", "int8", "int4"]
"""Of a model that is loaded. The last two are for a CPU: linear layers in 8 or 4 bits, the rest in bfloat16."""


def of_precision(precision: Precision) -> torch.dtype:
    """What tensors are loaded in."""
    if isinstance(precision, torch.dtype):
        return precision
    return torch.float32 if precision == "float32" else torch.bfloat16


def rounded(model: Model, precision: Precision) -> Model:
    """The model, loaded in `of_precision(precision)`, as it is or, in place, in fewer bits."""
    if precision == "int8" or precision == "int4":
        return {"int8": int8, "int4": int4}[precision](model)
    return model
