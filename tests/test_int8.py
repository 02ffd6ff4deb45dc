"""Eight bits say nearly what 32 do, whatever the family of the model."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from duologue.model.int8 import Int8Linear, int8
from duologue.streaming import Memory, start, step
from duologue.systems.mini_omni_decoding import Decoding, answered
from small_mini import question, small
from small_models import CONFIGS, close, ids, model_of


def logits(model: nn.Module) -> Tensor:
    with torch.no_grad():
        found: Tensor = model(ids(3)).logits
    return found


@pytest.mark.parametrize("name", CONFIGS)
def test_what_is_predicted_is_nearly_the_same(name: str) -> None:
    whole = logits(model_of(name))
    apart = logits(int8(deepcopy(model_of(name)))) - whole
    assert 0 < float(apart.norm() / whole.norm()) < 0.05
    assert float(functional.cosine_similarity(whole, whole + apart, dim=-1).min()) > 0.99


@pytest.mark.parametrize("name", CONFIGS)
def test_every_linear_layer_is_a_quarter_and_embeddings_are_as_they_were(name: str) -> None:
    before = model_of(name)
    after = int8(deepcopy(before))
    assert not [layer for layer in after.modules() if type(layer) is nn.Linear]
    assert torch.equal(after.get_input_embeddings().weight, before.get_input_embeddings().weight)
    head, own = after.get_output_embeddings(), before.get_output_embeddings().weight
    assert head.weight.dtype == torch.int8
    assert len(head.weight) == len(own)


@pytest.mark.parametrize("width", [1, 6, 40, 64, 100])
@pytest.mark.parametrize(("rows", "biased"), [(1, True), (2, False), (40, True)])
def test_a_layer_is_its_slow_twin(width: int, rows: int, biased: bool) -> None:
    """What 8 bits stand for, multiplied as ever; no weight is further off than about half a step of its row."""
    torch.manual_seed(rows)
    linear = nn.Linear(width, 49, biased)
    layer, x = Int8Linear(linear), torch.randn(3, rows, width).bfloat16().float()
    stands_for = layer.weight[:, :width].float() * layer.scale.float()[:, None]
    step_of_row = linear.weight.abs().amax(1, keepdim=True) / 127
    assert ((stands_for - linear.weight).abs() <= 1.1 * step_of_row).all()
    slow = functional.linear(x, stands_for, linear.bias)
    torch.testing.assert_close(layer(x), slow, atol=0.02, rtol=0.01)


def test_a_row_of_zeros_stays_one() -> None:
    linear = nn.Linear(64, 48, bias=False)
    nn.init.zeros_(linear.weight)
    assert not Int8Linear(linear)(torch.ones(2, 64)).any()


def test_it_goes_on_where_it_stopped() -> None:
    model, tokens = int8(deepcopy(model_of("qwen2"))), ids(1, 20)
    whole, one = start(model, 1, Memory(100)), start(model, 1, Memory(100))
    at_once = step(model, whole, tokens)[:, -1]
    by_one = [step(model, one, tokens[:, n : n + 1]) for n in range(tokens.shape[1])][-1][:, -1]
    assert float(functional.cosine_similarity(at_once, by_one).min()) > 0.999


def test_a_model_that_talks_talks_in_8_bits() -> None:
    model = int8(deepcopy(small()))
    for parallel in (False, True):
        said = list(answered(model, question("A1A2"), Decoding(parallel=parallel, most_steps=12)))
        assert any(one.frame for one in said)


def test_a_model_in_half_precision_can_be_made_smaller_too() -> None:
    half = int8(deepcopy(model_of("qwen2")).to(torch.bfloat16))
    assert logits(half).dtype == torch.bfloat16
    assert not close(logits(half).float(), logits(model_of("qwen2")))


def test_a_model_elsewhere_is_refused() -> None:
    with pytest.raises(ValueError, match="is on meta: weights of 8 bits are for a CPU"):
        int8(nn.Sequential(nn.Linear(4, 4, device="meta")))
