"""Attention in blocks: what torch's own gives, forward and back, for those models and that time alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from duologue.model.backbone import backbone, nano
from duologue.train import Causal, Run, Stage, attention, train
from duologue.train.attention import causal, in_blocks


@pytest.mark.parametrize("length", [1, 4, 7, 12])
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_it_is_plain_causal_attention(length: int, groups: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "BLOCK", 4)
    torch.manual_seed(length)
    query = torch.randn(3, 4, length, 8, dtype=torch.float64, requires_grad=True)
    key, value = (torch.randn(3, groups, length, 8, dtype=torch.float64, requires_grad=True) for _ in range(2))
    arriving = torch.randn(3, 4, length, 8, dtype=torch.float64)

    def gradients(given: Tensor) -> tuple[Tensor, ...]:
        return torch.autograd.grad(given, (query, key, value), arriving)

    ours = causal(query, key, value, 0.3)
    plain = scaled_dot_product_attention(query, key, value, is_causal=True, scale=0.3, enable_gqa=True)
    torch.testing.assert_close(ours, plain)
    for our, theirs in zip(gradients(ours), gradients(plain), strict=True):
        torch.testing.assert_close(our, theirs)


def loss_and_gradient(model: Any, tokens: Tensor, **inputs: Any) -> tuple[float, Tensor]:
    model.zero_grad()
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(tokens, labels=tokens, use_cache=False, **inputs).loss
    loss.backward()
    return loss.item(), torch.cat([each.grad.flatten() for each in model.parameters()])


def test_a_model_learns_the_same_in_bfloat16() -> None:
    """To the noise of bfloat16: no further from float32 than torch's own."""
    model, tokens = backbone(nano(50, width=64, layers=3)), torch.randint(0, 50, (2, attention.BLOCK + 60))
    exact = model(tokens, labels=tokens, use_cache=False).loss
    exact.backward()
    wanted = torch.cat([each.grad.flatten() for each in model.parameters()])
    _, torchs = loss_and_gradient(model, tokens)
    with in_blocks(model):
        loss, ours = loss_and_gradient(model, tokens)
    assert not torch.equal(ours, torchs)
    assert loss == pytest.approx(exact.item(), rel=1e-3)
    assert (ours - wanted).norm() < 1.2 * (torchs - wanted).norm()


@pytest.mark.parametrize("masked", [True, False])
def test_where_it_is_not_meant_for_torchs_own_is_taken(masked: bool) -> None:
    """Masks of the caller's, and float32."""
    model, tokens = backbone(nano(50, width=64, layers=1)), torch.randint(0, 50, (2, 9))
    seen = torch.ones_like(tokens)
    seen[0, :3] = 0
    inputs: dict[str, Any] = {"attention_mask": seen} if masked else {}
    with torch.autocast("cpu", torch.bfloat16, enabled=masked), torch.no_grad():
        plain = model(tokens, use_cache=False, **inputs).logits
        with in_blocks(model):
            assert torch.equal(model(tokens, use_cache=False, **inputs).logits, plain)


@pytest.mark.parametrize("bf16", [True, False])
def test_training_attends_in_blocks_and_leaves_the_model_as_it_was(
    tmp_path: Path, bf16: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = Mock(side_effect=attention.causal)
    monkeypatch.setattr(attention, "causal", ours)
    model = Causal(backbone(nano(20, width=64, layers=1)))
    rows = [{"tokens": np.arange(8), "said": np.ones(8, dtype=bool)}]
    train(
        model, Stage("little", learning_rate=1e-3, steps=2, batch_tokens=8), Run(tmp_path, bf16=bf16, quiet=True), rows
    )
    assert ours.called is bf16
    assert model.lm.config._attn_implementation == "sdpa"


def raises_within(model: Any) -> None:
    with in_blocks(model):
        raise KeyboardInterrupt


def test_a_failure_leaves_the_model_as_it_was() -> None:
    model = backbone(nano(20, width=64, layers=1))
    with pytest.raises(KeyboardInterrupt):
        raises_within(model)
    assert model.config._attn_implementation == "sdpa"
