"""Bounded memory: what is forgotten, what that changes, and what it must not."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from duologue.streaming import Memory, start, step
from small_models import CONFIGS, TOKENS, close, ids, laws, model_of, whole

every_model = pytest.mark.parametrize("name", CONFIGS)


@every_model
def test_memory_changes_nothing_while_everything_fits(name: str) -> None:
    model, tokens = model_of(name), ids(1)
    state = start(model, 1, Memory(TOKENS, sink=4, spare=20))
    assert close(
        torch.cat([step(model, state, piece) for piece in tokens.split(20, dim=1)], dim=1), whole(model, tokens)
    )


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
