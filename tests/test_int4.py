"""Weights of 4 bits: the product is that of the rounded weights, which are near the true ones."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from duologue.model.int4 import GROUP, Int4Linear, int4
from duologue.model.int8 import Int8Linear


def rounded_slowly(weight: torch.Tensor) -> torch.Tensor:
    """Group by group."""
    found = weight.clone()
    for row in found:
        for group in row.split(GROUP):
            least, step = group.min().clone(), (group.max() - group.min()) / 15
            group.copy_(least + step * ((group - least) / step).round())
    return found


@pytest.mark.parametrize("shape", [(1, 128), (7, 128), (2, 3, 128)])
def test_the_product_is_that_of_rounded_weights(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    linear, x = nn.Linear(128, 48), torch.randn(shape)
    made, slow = Int4Linear(linear)(x), x @ rounded_slowly(linear.weight.detach()).T + linear.bias
    assert made.shape == slow.shape
    assert made.dtype == x.dtype
    assert (made - slow).abs().max() < 0.02 * slow.abs().max()
    assert (slow - linear(x)).abs().max() > 0.02 * slow.abs().max()


def test_a_model_keeps_what_it_says_and_what_does_not_fit_is_in_8_bits() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10))
    x = torch.randn(4, 128)
    true = model(x)
    small = int4(model)
    assert isinstance(small[0], Int4Linear)
    assert isinstance(small[2], Int8Linear)
    assert torch.nn.functional.cosine_similarity(small(x).ravel(), true.ravel(), 0) > 0.98
    with pytest.raises(ValueError, match="for a CPU"):
        int4(nn.Sequential(nn.Linear(64, 16, device="meta")))
