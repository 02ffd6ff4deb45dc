"""Laws of a model's state, on small random models: streamed is whole, forks are equal, no row sees another."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen2Config, Qwen3Config

from duologue.streaming import Memory, State, start, step

torch.set_num_threads(1)
laws = settings(deadline=None, max_examples=12)
TOKENS = 60
SIZES = {
    "vocab_size": 50,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
CONFIGS = {
    "qwen2": lambda **sizes: Qwen2Config(**SIZES | sizes),
    "qwen3": lambda **sizes: Qwen3Config(**SIZES | {"head_dim": 12} | sizes),
    "llama": lambda **sizes: LlamaConfig(**SIZES | {"rope_parameters": dict(LLAMA3)} | sizes),
}
every_model = pytest.mark.parametrize("name", CONFIGS)


@cache
def model_of(name: str, layers: int = 2) -> Any:
    torch.manual_seed(3)
    config = CONFIGS[name](num_hidden_layers=layers, initializer_range=0.2)
    return AutoModelForCausalLM.from_config(config).eval()


def ids(rows: int, tokens: int = TOKENS, seed: int = 0) -> Tensor:
    return torch.randint(50, (rows, tokens), generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def whole(model: Any, tokens: Tensor, **more: Any) -> Tensor:
    """Hidden states of the whole sequence at once, without a state."""
    hidden: Tensor = model.get_decoder()(tokens, use_cache=False, **more).last_hidden_state
    return hidden


def close(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.allclose(a, b, atol=1e-5, rtol=0)


def cuts(data: st.DataObject, tokens: int) -> list[int]:
    """Sizes of the pieces in which `tokens` are fed."""
    places = data.draw(st.sets(st.integers(1, tokens - 1), max_size=8)) if tokens > 1 else set()
    edges = [0, *sorted(places), tokens]
    return [b - a for a, b in pairwise(edges)]


def feed(
    model: Any, state: State, tokens: Tensor, pieces: list[int], rows: list[int] | None = None
) -> Tensor:
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
    model = AutoModelForCausalLM.from_config(
        CONFIGS["qwen2"](initializer_range=0.2), attn_implementation="eager"
    )
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


def test_a_crowd_with_little_memory_forgets_as_each_row_would_alone() -> None:
    """Padding takes no memory: a row that is fed one token beside another's four forgets when it is full itself."""
    model, memory, tokens = model_of("qwen2"), Memory(16, sink=2, spare=5), ids(2, 120)
    crowd, alone, hidden, hidden_alone = start(model, 2, memory), start(model, 1, memory), [], []
    for n in range(25):
        inputs = tokens[:, 4 * n : 4 * n + 4].clone()
        inputs[1, 0] = tokens[1, n]
        hidden.append(step(model, crowd, inputs, counts=[4, 1])[1, :1])
        hidden_alone.append(step(model, alone, tokens[1:, n : n + 1])[0])
    assert crowd.fed.tolist() == [100, 25]
    assert close(torch.cat(hidden), torch.cat(hidden_alone))


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
    model, tokens = model_of("qwen2"), ids(4)
    state = start(model, 4, Memory(TOKENS))
    step(model, state, tokens, counts=[10, 20, 30, 40])
    out = state.fork(rows)
    step(model, out, ids(len(rows), 5, seed=7))
    state.scatter(state.fork(rows), rows)
    moved = start(model, 4, Memory(TOKENS))
    back = [int(n) for n in state.fed[rows]]
    out.rollback(back)
    moved.scatter(out, list(range(len(rows))))
    for place, row in enumerate(rows):
        fed = int(moved.fed[place])
        assert close(
            step(model, moved, tokens[row : row + 1, fed:], rows=[place]),
            whole(model, tokens[row : row + 1])[:, fed:],
        )


# ---------------------------------------------------------------- bounded memory


@every_model
def test_memory_changes_nothing_while_everything_fits(name: str) -> None:
    model, tokens = model_of(name), ids(1)
    state = start(model, 1, Memory(TOKENS, sink=4, spare=20))
    assert close(feed(model, state, tokens, [20, 20, 20]), whole(model, tokens))


@every_model
@laws
@given(data=st.data(), sink=st.integers(0, 6), spare=st.integers(3, 12))
def test_what_is_remembered_is_as_if_fed_alone(name: str, data: st.DataObject, sink: int, spare: int) -> None:
    """With one layer, keys know nothing of their context: a state is what its remembered tokens make afresh."""
    model, tokens = model_of(name, layers=1), ids(1)
    memory = Memory(24, sink, spare)
    state, remembered = start(model, 1, memory), []
    fed = 0
    while fed < TOKENS:
        count = data.draw(st.integers(1, min(spare, TOKENS - fed)))
        hidden = step(model, state, tokens[:, fed : fed + count])
        remembered += tokens[0, fed : fed + count].tolist()
        fed += count
        del remembered[sink : sink + len(remembered) - int(state.lengths[0])]
        assert close(hidden, whole(model, torch.tensor([remembered]))[:, -count:])
    assert int(state.dropped[0]) > 0


@every_model
def test_a_window_is_a_mask(name: str) -> None:
    """Without a sink, forgetting equals masking what was forgotten when a token was fed, at true positions."""
    model, tokens = model_of(name), ids(1)
    state, first = start(model, 1, Memory(20, sink=0, spare=6)), []
    hidden = []
    for piece in tokens.split(3, dim=1):
        hidden.append(step(model, state, piece))
        first += [int(state.dropped[0])] * 3
    seen = torch.arange(TOKENS)
    visible = (seen[None] <= seen[:, None]) & (seen[None] >= torch.tensor(first)[:, None])
    mask = torch.zeros(1, 1, TOKENS, TOKENS).masked_fill(~visible, torch.finfo(torch.float32).min)
    assert close(torch.cat(hidden, dim=1), whole(model, tokens, attention_mask=mask))


def test_an_hour_costs_what_a_minute_costs() -> None:
    model = model_of("qwen2")
    state = start(model, 2, Memory(32, sink=4, spare=8))
    places = [tensor.data_ptr() for tensor in state.tensors()]
    for n in range(300):
        hidden = step(model, state, ids(2, 2, seed=n))
        assert int(state.lengths.max()) <= 32
    assert hidden.isfinite().all()
    assert state.fed.tolist() == [600, 600]
    assert places == [tensor.data_ptr() for tensor in state.tensors()]


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


def test_what_was_forgotten_cannot_come_back() -> None:
    model = model_of("qwen2")
    state = start(model, 1, Memory(16, sink=2, spare=6))
    for n in range(5):
        step(model, state, ids(1, 4, seed=n))
    assert state.fed.tolist() == [20]
    with pytest.raises(ValueError, match="cannot go back to 5"):
        state.rollback([5])
    state.rollback([18])
    assert state.fed.tolist() == [18]


def test_models_that_do_not_keep_keys_by_position_are_refused() -> None:
    sliding = Qwen2Config(**SIZES, use_sliding_window=True, sliding_window=8, max_window_layers=0)
    with pytest.raises(ValueError, match="sliding_attention"):
        start(AutoModelForCausalLM.from_config(sliding), 1, Memory(16))
    dynamic = LlamaConfig(**SIZES, rope_parameters={"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0})
    with pytest.raises(ValueError, match="'dynamic'"):
        start(AutoModelForCausalLM.from_config(dynamic), 1, Memory(16, sink=2, spare=4))
