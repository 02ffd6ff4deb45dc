"""Laws of a model's state, on small random models: streamed is whole, forks are equal, no row sees another."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen2Config

from duologue.streaming import Memory, State, start, step
from small_models import CONFIGS, SIZES, TOKENS, close, ids, laws, model_of, whole

every_model = pytest.mark.parametrize("name", CONFIGS)


def cuts(data: st.DataObject, tokens: int) -> list[int]:
    """Sizes of the pieces in which `tokens` are fed."""
    places = data.draw(st.sets(st.integers(1, tokens - 1), max_size=8)) if tokens > 1 else set()
    edges = [0, *sorted(places), tokens]
    return [b - a for a, b in pairwise(edges)]


def feed(model: Any, state: State, tokens: Tensor, pieces: list[int], rows: list[int] | None = None) -> Tensor:
    return torch.cat([step(model, state, piece, rows) for piece in tokens.split(pieces, dim=1)], dim=1)


# ---------------------------------------------------------------- law 3: streamed = whole, for any chunking


@every_model
@laws
@given(data=st.data())
def test_streamed_is_whole(name: str, data: st.DataObject) -> None:
    model, tokens = model_of(name), ids(3)
    state = start(model, 3, Memory(TOKENS))
    assert close(feed(model, state, tokens, cuts(data, TOKENS)), whole(model, tokens))
    assert state.fed.tolist() == [TOKENS] * 3


def test_embeddings_stream_as_ids_do() -> None:
    model, tokens = model_of("qwen2"), ids(2)
    state = start(model, 2, Memory(TOKENS))
    embedded = model.get_input_embeddings()(tokens).detach()
    assert close(feed(model, state, embedded, [1, 9, 50]), whole(model, tokens))


def test_eager_attention_streams_as_sdpa_does() -> None:
    torch.manual_seed(3)
    model = AutoModelForCausalLM.from_config(CONFIGS["qwen2"](initializer_range=0.2), attn_implementation="eager")
    tokens = ids(2)
    assert close(feed(model, start(model, 2, Memory(TOKENS)), tokens, [7, 1, 52]), whole(model, tokens))


# ---------------------------------------------------------------- law 8: a row in a crowd = alone


@every_model
@laws
@given(data=st.data())
def test_a_row_in_a_crowd_is_as_if_alone(name: str, data: st.DataObject) -> None:
    """Any rows, in any order, any number of tokens each, padded to the longest."""
    model, tokens, crowd = model_of(name), ids(5), start(model_of(name), 5, Memory(TOKENS))
    given_hidden: list[list[Tensor]] = [[] for _ in range(5)]
    for _ in range(data.draw(st.integers(1, 6))):
        rows = data.draw(st.lists(st.integers(0, 4), min_size=1, max_size=5, unique=True))
        counts = [data.draw(st.integers(0, min(7, TOKENS - int(crowd.fed[row])))) for row in rows]
        inputs = torch.full((len(rows), max(counts) + 1), 49)
        for place, (row, count) in enumerate(zip(rows, counts, strict=True)):
            inputs[place, :count] = tokens[row, crowd.fed[row] : crowd.fed[row] + count]
        hidden = step(model, crowd, inputs, rows, counts)
        for place, (row, count) in enumerate(zip(rows, counts, strict=True)):
            given_hidden[row].append(hidden[place, :count])
    for row, pieces in enumerate(given_hidden):
        fed = int(crowd.fed[row])
        if fed:
            assert close(torch.cat(pieces), whole(model, tokens[row : row + 1, :fed])[0])


# ---------------------------------------------------------------- law 5: forks are equal; rollback = never happened


@every_model
@laws
@given(at=st.integers(1, 40), data=st.data())
def test_forks_given_the_same_say_the_same(name: str, at: int, data: st.DataObject) -> None:
    model, tokens = model_of(name), ids(2)
    state = start(model, 2, Memory(TOKENS))
    step(model, state, tokens[:, :at])
    twin = state.fork()
    other = state.fork(rows=[1, 1, 0])
    step(model, other, ids(3, 20, seed=5))
    rest, pieces = tokens[:, at:], cuts(data, TOKENS - at)
    mine, theirs = feed(model, state, rest, pieces), feed(model, twin, rest, pieces)
    assert torch.equal(mine, theirs)
    assert close(mine, whole(model, tokens)[:, at:])


@every_model
@laws
@given(at=st.integers(0, 30), wrong=st.integers(1, 29))
def test_what_is_rolled_back_never_happened(name: str, at: int, wrong: int) -> None:
    model, tokens = model_of(name), ids(2)
    state = start(model, 2, Memory(TOKENS))
    if at:
        step(model, state, tokens[:, :at])
    step(model, state, ids(2, wrong, seed=9))
    state.rollback([at, at])
    assert close(step(model, state, tokens[:, at:]), whole(model, tokens)[:, at:])


def test_one_row_goes_back_and_the_others_stay() -> None:
    model, tokens = model_of("qwen2"), ids(3)
    state = start(model, 3, Memory(TOKENS))
    step(model, state, tokens[:, :20])
    state.rollback([12], rows=[1])
    assert state.fed.tolist() == [20, 12, 20]
    hidden = step(model, state, tokens[1:2, 12:], rows=[1])
    assert close(hidden, whole(model, tokens[1:2])[:, 12:])


# ---------------------------------------------------------------- rows change places


@laws
@given(rows=st.lists(st.integers(0, 3), min_size=1, max_size=4, unique=True))
def test_rows_go_out_and_come_back(rows: list[int]) -> None:
    """Some rows are fed in a state of their own, then put back, and into another crowd at other places."""
    model, tokens, before = model_of("qwen2"), ids(4), [10, 20, 30, 40]
    state, other = start(model, 4, Memory(TOKENS)), start(model, 4, Memory(TOKENS))
    step(model, state, tokens, counts=before)
    out = state.fork(rows)
    step(model, out, torch.stack([tokens[row, before[row] : before[row] + 5] for row in rows]))
    state.scatter(out, rows)
    other.scatter(out, list(range(len(rows))))
    assert state.fed.tolist() == [n + 5 * (row in rows) for row, n in enumerate(before)]
    assert other.fed.tolist()[: len(rows)] == [before[row] + 5 for row in rows]
    for place, row in enumerate(rows):
        rest, expected = tokens[[row], before[row] + 5 :], whole(model, tokens[[row]])[:, before[row] + 5 :]
        assert close(step(model, state, rest, rows=[row]), expected)
        assert close(step(model, other, rest, rows=[place]), expected)


# ---------------------------------------------------------------- what cannot be


def test_what_cannot_be_is_refused() -> None:
    model = model_of("qwen2")
    with pytest.raises(ValueError, match="knows 256 positions"):
        start(model, 1, Memory(257))
    with pytest.raises(ValueError, match="spare 1 to 12 slots"):
        Memory(16, sink=4)
    state = start(model, 2, Memory(16))
    with pytest.raises(ValueError, match="feed them in parts"):
        step(model, state, ids(2, 17))
    step(model, state, ids(2, 10))
    with pytest.raises(ValueError, match=r"row 0 has filled 10 of 16 slots"):
        step(model, state, ids(2, 7))
    with pytest.raises(ValueError, match="the rows are"):
        step(model, state, ids(1, 1))
    with pytest.raises(ValueError, match="the rows are"):
        step(model, state, ids(2, 1), rows=[1, 1])
    with pytest.raises(ValueError, match="cannot go back to 11"):
        state.rollback([11, 10])
    with pytest.raises(ValueError, match="do not fit"):
        state.scatter(start(model, 1, Memory(16)), [0, 1])


def test_what_is_refused_changes_no_row() -> None:
    model = model_of("qwen2")
    state = start(model, 2, Memory(16))
    for counts in ([5, 1], [-1, 1]):
        with pytest.raises(ValueError, match="give 0 to 3"):
            step(model, state, ids(2, 3), counts=counts)
    step(model, state, ids(2, 5))
    with pytest.raises(ValueError, match="row 1 was fed 5 tokens"):
        state.rollback([2, 9])
    assert state.lengths.tolist() == [5, 5]
    with pytest.raises(ValueError, match="sink of -1 tokens"):
        Memory(16, -1, 4)


def test_models_that_do_not_keep_keys_by_position_are_refused() -> None:
    sliding = Qwen2Config(**SIZES, use_sliding_window=True, sliding_window=8, max_window_layers=0)
    with pytest.raises(ValueError, match="sliding_attention"):
        start(AutoModelForCausalLM.from_config(sliding), 1, Memory(16))
    dynamic = LlamaConfig(**SIZES, rope_parameters={"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0})
    with pytest.raises(ValueError, match="'dynamic'"):
        start(AutoModelForCausalLM.from_config(dynamic), 1, Memory(16, sink=2, spare=4))
