"""Speech by CTC: labels become units, states become labels, the loss is the sum over all paths."""

from __future__ import annotations

from functools import cache
from itertools import groupby, pairwise, product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from duologue.model.ctc import (
    IGNORED,
    AllBlankError,
    BlankWatch,
    Collapse,
    SpeechDecoder,
    SpeechSizes,
    stretched,
    units_spoken,
)
from small_models import LLAMA3, close, laws

UNITS, BLANK, WIDTH = 6, 6, 16


@cache
def decoder(labels_per_token: int = 25, places: bool = False) -> SpeechDecoder:
    """Small and random, with lively labels."""
    torch.manual_seed(3)
    sizes = SpeechSizes(2, 24, 2, 40, UNITS, labels_per_token, longest_tokens=40, places=places)
    made = SpeechDecoder(sizes, WIDTH, LLAMA3).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.3)
    return made


def states(tokens: int, rows: int = 1, seed: int = 0) -> Tensor:
    return torch.randn(rows, tokens, WIDTH, generator=torch.Generator().manual_seed(seed))


def equal(a: Tensor, b: Tensor) -> bool:
    """To 1e-5 of the largest logit."""
    return close(a.detach() / b.detach().abs().max(), b.detach() / b.detach().abs().max())


def padded(*rows: list[int]) -> Tensor:
    return pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=IGNORED)


# ---------------------------------------------------------------- collapse

labels = st.lists(st.integers(0, BLANK), max_size=60)


def collapsed(path: list[int]) -> list[int]:
    return [label for label, _ in groupby(path) if label != BLANK]


@given(path=labels, data=st.data())
def test_units_do_not_depend_on_how_labels_are_cut(path: list[int], data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.sets(st.integers(0, len(path)), max_size=6)))
    streamed = Collapse(BLANK)
    parts = [streamed.push(path[a:b]) for a, b in pairwise([0, *cuts, len(path)])]
    assert [unit for part in parts for unit in part] == collapsed(path)


# ---------------------------------------------------------------- streamed = whole


@laws
@given(data=st.data(), tokens=st.integers(1, 10), places=st.booleans())
def test_streamed_is_whole(data: st.DataObject, tokens: int, places: bool) -> None:
    """For any chunking; two answers at once."""
    model, whole = decoder(places=places), states(tokens, rows=2)
    state = model.start(tokens, batch=2)
    cuts = sorted(data.draw(st.sets(st.integers(1, tokens), max_size=4)))
    parts = [model.step(whole[:, a:b], state) for a, b in pairwise(sorted({0, *cuts, tokens}))]
    assert equal(torch.cat(parts, 1), model(whole))


def test_labels_of_a_token_never_change() -> None:
    model, whole = decoder(), states(8)
    later = torch.cat([whole[:, :5], states(3, seed=9)], 1)
    assert equal(model(whole)[:, :125], model(later)[:, :125])
    assert not equal(model(whole)[:, 125:], model(later)[:, 125:])


def test_there_is_no_gradient_from_the_future() -> None:
    given_states = states(6).requires_grad_()
    decoder()(given_states)[:, 74].sum().backward()
    assert given_states.grad is not None
    assert [bool(grad.any()) for grad in given_states.grad[0]] == [True] * 3 + [False] * 3


def test_projecting_first_is_projecting_each_row() -> None:
    model, whole = decoder(), states(4)
    rows = model.input_proj(whole.repeat_interleave(25, 1))
    slow = model.output_proj(model.llama(inputs_embeds=rows).last_hidden_state)
    assert equal(model(whole), slow)


def test_the_first_token_has_one_label() -> None:
    """With one distinct row, attention cannot tell positions apart; learned places can."""
    model = decoder()
    assert len(set(model(states(3))[0, :25].argmax(-1).tolist())) == 1
    first = decoder(places=True)(states(3))[0, :25].detach()
    assert not any(close(row, other) for row, other in pairwise(first))
    assert len(set(model(states(8))[0].argmax(-1).tolist())) > 2


# ---------------------------------------------------------------- the loss


def nats_of_all_paths(log_odds: Tensor, units: list[int]) -> float:
    """Minus the logarithm of the sum over every path of labels that collapses to the units."""
    paths = [path for path in product(range(BLANK + 1), repeat=len(log_odds)) if collapsed(list(path)) == units]
    odds = [sum(float(log_odds[step, label]) for step, label in enumerate(path)) for path in paths]
    return -float(torch.tensor(odds, dtype=torch.float64).logsumexp(0))


@pytest.mark.parametrize("units", [[1, 2], [4], [3, 3], [0, 5, 0]])
def test_the_loss_is_that_of_all_paths(units: list[int]) -> None:
    model, whole = decoder(labels_per_token=2), states(2)
    cost = model.loss(list(whole), padded(units))
    log_odds = model(whole)[0].detach().log_softmax(-1)
    assert float(cost.row_nats[0]) == pytest.approx(nats_of_all_paths(log_odds, units), rel=1e-4)
    assert cost.loss.item() == pytest.approx(float(cost.row_nats[0]) / len(units), rel=1e-6)


def test_a_row_in_a_batch_costs_what_it_costs_alone() -> None:
    model, rows = decoder(labels_per_token=3), [states(5, seed=1)[0], states(2, seed=2)[0]]
    units = [[1, 2, 3, 4, 5], [0, 1]]
    together = model.loss(rows, padded(*units))
    alone = [model.loss([row], padded(own)) for row, own in zip(rows, units, strict=True)]
    assert torch.allclose(together.row_nats, torch.cat([one.row_nats for one in alone]), atol=1e-4)
    assert together.lengths.tolist() == [15, 6]
    wider = torch.nn.functional.pad(padded(*units), (0, 4), value=IGNORED)
    assert torch.equal(model.loss(rows, wider).row_nats, together.row_nats)


def test_states_are_stretched_where_there_are_more_units_than_labels() -> None:
    """And only there: 2 tokens of 3 labels say 7 units in 7 labels."""
    model, own = decoder(labels_per_token=3), states(2)
    cost = model.loss([own[0]], padded([0, 1, 2, 3, 4, 5, 0]))
    assert cost.lengths.tolist() == [7]
    assert cost.infeasible == ()
    assert 0 < cost.loss.item() < 1e4
    assert model.loss([own[0]], padded([0, 1, 2])).lengths.tolist() == [6]


@given(tokens=st.integers(1, 60), rows=st.integers(1, 400))
def test_stretching_is_even(tokens: int, rows: int) -> None:
    rows = max(rows, tokens)
    times = torch.bincount(stretched(tokens, rows), minlength=tokens)
    assert stretched(tokens, rows).diff().ge(0).all()
    assert int(times.sum()) == rows
    assert int(times.min()) >= rows // tokens - 1
    assert int(times.max()) <= rows // tokens + 2


@given(tokens=st.integers(1, 60), times=st.integers(1, 30))
def test_stretching_by_a_whole_number_repeats(tokens: int, times: int) -> None:
    assert stretched(tokens, tokens * times).tolist() == [n for n in range(tokens) for _ in range(times)]


def test_what_cannot_be_said_counts_nothing_and_is_named() -> None:
    """3, 3, 3 needs five labels: equal units need a blank between."""
    model, rows = decoder(labels_per_token=2), [states(2, seed=1)[0], states(2, seed=2)[0]]
    cost = model.loss(rows, padded([3, 3, 3], [1, 2]))
    assert cost.infeasible == (0,)
    assert cost.row_nats[0] == 0
    assert cost.loss.item() == pytest.approx(float(cost.row_nats[1]) / 5, rel=1e-6)
    parameter = model.output_proj.weight
    (gradient,) = torch.autograd.grad(cost.loss, parameter)
    assert torch.isfinite(gradient).all()


# ---------------------------------------------------------------- units that cannot be meant


@pytest.mark.parametrize(
    ("units", "said"),
    [
        ([[1, 6]], "unit 6, but there are units 0 to 5: these are of another codec"),
        ([[1, -1]], "unit -1"),
        ([[1, IGNORED, 2]], "-100 between units"),
        ([[1, 2, 0, 0], [1, 2, 3, 4]], "row 0 of units ends in 0, 0.*fill up with -100"),
        ([[IGNORED]], "no unit in a whole batch"),
    ],
)
def test_units_that_cannot_be_meant_are_refused(units: list[list[int]], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        units_spoken(torch.tensor(units), UNITS)


def test_unit_0_is_a_unit() -> None:
    assert units_spoken(padded([1, 0], [0], [0, 0, 1]), UNITS).tolist() == [2, 1, 3]


def test_a_row_without_text_is_refused() -> None:
    with pytest.raises(ValueError, match="row 1 has no text token"):
        decoder().loss([states(1)[0], states(0)[0]], padded([1], [1]))


# ---------------------------------------------------------------- a watch


def test_blanks_without_end_are_reported() -> None:
    watch = BlankWatch(patience=3)
    for share in (1.0, 0.999, 0.5, 1.0, 1.0):
        watch.see(share)
    with pytest.raises(AllBlankError, match="3 steps with at least 99.5% blanks"):
        watch.see(1.0)


def test_the_share_of_blanks_counts_real_labels_only() -> None:
    model = SpeechDecoder(SpeechSizes(1, 24, 2, 40, UNITS, 4), WIDTH, LLAMA3)
    with torch.no_grad():
        model.output_proj.weight.zero_()
        model.output_proj.bias.copy_(torch.tensor([0.0] * UNITS + [1.0]))
    rows = [states(3)[0], states(1)[0]]
    assert model.loss(rows, padded([1], [2])).blank_share == 1
    with torch.no_grad():
        model.output_proj.bias[2] = 2
    assert model.loss(rows, padded([1], [2])).blank_share == 0


# ---------------------------------------------------------------- learning


@pytest.mark.parametrize("seed", [0, 1])
def test_a_small_decoder_learns_answers_by_heart(seed: int) -> None:
    """With places, from every draw. Without, the equal rows of a first token rather share a unit's odds than say it."""
    torch.manual_seed(seed)
    model = SpeechDecoder(SpeechSizes(2, 32, 2, 64, UNITS, 6, longest_tokens=20, places=True), WIDTH, LLAMA3)
    rows = [states(4, seed=1)[0], states(3, seed=2)[0]]
    units = [[1, 2, 3, 3, 0, 5, 4], [5, 0, 1, 2]]
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(120):
        optimizer.zero_grad()
        model.loss(rows, padded(*units)).loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    for row, own in zip(rows, units, strict=True):
        assert Collapse(BLANK).push(model(row[None])[0].argmax(-1).tolist()) == own


def test_stretched_rows_take_the_places_of_their_token() -> None:
    """7 units after 2 tokens of 3 labels: rows 0 to 3 are of the first, and there is no fourth place."""
    model, own = decoder(labels_per_token=3, places=True), states(2)
    assert model.places is not None
    cost = model.loss([own[0]], padded([0, 1, 2, 3, 4, 5, 0]))
    projected = model.input_proj(own[0])[[0, 0, 0, 0, 1, 1, 1]] + model.places[[0, 1, 2, 2, 0, 1, 2]]
    slow = model.output_proj(model.llama(inputs_embeds=projected[None]).last_hidden_state)
    assert equal(cost.logits, slow)
