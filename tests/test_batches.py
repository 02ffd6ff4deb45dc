"""Batches: every example once, no batch too large, the same however it is cut, positions to go on from."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from duologue.data.batch import Batch, Batches, Batching, Position, batches, share
from duologue.data.tensors import Example, collate
from little_training import examples

LENGTHS = st.lists(st.integers(1, 30), min_size=1, max_size=60)
HOW = st.builds(
    Batching,
    batch_tokens=st.integers(40, 200),
    row_tokens=st.none() | st.integers(30, 40),
    pool_batches=st.integers(1, 4),
    seed=st.none() | st.integers(0, 9),
)


def indices(batch: Batch) -> list[int]:
    return [index for row in batch for index in row]


@given(LENGTHS, HOW, st.integers(0, 3))
def test_each_epoch_has_every_example_once_and_no_batch_too_large(
    lengths: list[int], how: Batching, epoch: int
) -> None:
    found = batches(lengths, how, epoch)
    assert sorted(index for batch in found for index in indices(batch)) == list(range(len(lengths)))
    assert all(sum(lengths[index] for index in indices(batch)) <= how.batch_tokens for batch in found)
    assert all(sum(lengths[index] for index in row) <= (how.row_tokens or 30) for batch in found for row in batch)
    assert found == batches(lengths, how, epoch)


@given(LENGTHS, HOW, st.integers(1, 3), st.integers(30, 90))
def test_the_shares_of_all_processes_are_the_batch(
    lengths: list[int], how: Batching, processes: int, microbatch_tokens: int
) -> None:
    width = max(microbatch_tokens, how.row_tokens or 0)
    for batch in batches(lengths, how, 0):
        shares = [share(batch, lengths, width, rank, processes) for rank in range(processes)]
        rows = [row for mine in shares for part in mine if not part.idle for row in part.rows]
        assert sorted(rows) == sorted(batch)
        assert len({len(mine) for mine in shares}) == 1
        for part in (part for mine in shares for part in mine):
            assert max(sum(lengths[index] for index in row) for row in part.rows) * len(part.rows) <= width


def test_epochs_and_seeds_differ_and_no_seed_means_no_shuffle() -> None:
    lengths, how = [7] * 50, Batching(70)
    assert batches(lengths, how, 0) != batches(lengths, how, 1)
    assert batches(lengths, how, 0) != batches(lengths, Batching(70, seed=1), 0)
    assert indices(batches(lengths, Batching(70, seed=None), 0)[0]) == list(range(10))


def test_examples_of_like_length_lie_together() -> None:
    lengths = np.random.default_rng(0).integers(1, 100, 2_000).tolist()

    def filled(pool_batches: int) -> float:
        """The part of all cells that is not padding."""
        found = batches(lengths, Batching(500, pool_batches=pool_batches), 0)
        cells = sum(len(batch) * max(lengths[index] for index in indices(batch)) for batch in found)
        return float(sum(lengths) / cells)

    assert filled(pool_batches=32) > 0.93
    assert filled(pool_batches=1) < 0.7


def test_packed_rows_are_nearly_full() -> None:
    lengths = np.random.default_rng(0).integers(1, 100, 2_000).tolist()
    rows = [row for batch in batches(lengths, Batching(1_000, row_tokens=200), 0) for row in batch]
    assert sum(lengths) / (200 * len(rows)) > 0.93


@given(HOW, st.integers(0, 40))
def test_going_on_from_a_position_gives_the_batches_that_would_have_come(how: Batching, after: int) -> None:
    data = Batches(examples(0, 30), how)
    whole = list(islice(data.since(Position()), after + 5))
    reached = whole[after - 1][1] if after else Position()
    assert list(islice(data.since(reached), 5)) == whole[after:]
    assert whole[data.steps(1) - 1 : data.steps(1)] in ([], [(data.epoch(0)[-1], Position(1, 0))])


# ---------------------------------------------------------------- tensors


@given(st.lists(st.lists(st.integers(1, 6), min_size=1, max_size=3), min_size=1, max_size=4), st.integers(0, 99))
def test_tensors_are_the_examples_one_after_the_other(row_steps: list[list[int]], seed: int) -> None:
    draw = np.random.default_rng(seed)
    rows: list[list[Example]] = [
        [{"tokens": draw.integers(1, 9, (steps, 2)), "said": draw.random((steps, 2)) < 0.5} for steps in row]
        for row in row_steps
    ]
    laid = collate(rows, {"tokens": -7})
    for row, tokens, said, segment, position in zip(
        rows, laid["tokens"], laid["said"], laid["segment"], laid["position"], strict=True
    ):
        cells = [
            (number, step, example) for number, example in enumerate(row, 1) for step in range(len(example["said"]))
        ]
        for place, (number, step, example) in enumerate(cells):
            assert tokens[place].tolist() == example["tokens"][step].tolist()
            assert said[place].tolist() == example["said"][step].tolist()
            assert (segment[place], position[place]) == (number, step)
        assert (tokens[len(cells) :] == -7).all()
        assert not said[len(cells) :].any()
        assert not segment[len(cells) :].any()


def test_processes_without_rows_are_idle() -> None:
    data = Batches(examples(0, 3), Batching(60))
    (batch,) = data.epoch(0)
    shares = [share(batch, data.lengths, 60, rank, processes=5) for rank in range(5)]
    assert [[part.idle for part in mine] for mine in shares] == [[False], [False], [False], [True], [True]]


def test_features_of_another_rate_keep_their_own_length_and_type() -> None:
    row: list[Example] = [
        {"tokens": np.arange(3), "said": np.ones(3, bool), "features": np.ones((steps, 4), np.float32)}
        for steps in (1, 2)
    ]
    laid = collate([row, row[:1]])
    assert laid["features"].shape == (2, 3, 4)
    assert laid["features"].dtype == torch.float32
    assert laid["said"].dtype == torch.bool


# ---------------------------------------------------------------- faults


@pytest.mark.parametrize(
    ("lengths", "how", "fault"),
    [
        ([], Batching(10), "no examples"),
        ([3, 0], Batching(10), "example 1 has no steps"),
        ([3, 11], Batching(10), "example 1 has 11 steps, more than the 10 .* raise batch_tokens"),
        ([3, 11], Batching(20, row_tokens=10), "raise row_tokens"),
    ],
)
def test_examples_that_cannot_be_batched_are_named(lengths: list[int], how: Batching, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        Batches([{"said": np.ones(steps, bool)} for steps in lengths], how)


def test_examples_that_ask_for_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match=r"example 1 asks for nothing \(2 such\)"):
        Batches([{"said": np.array([False, asked])} for asked in (True, False, False)], Batching(10))


def test_sizes_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="batch_tokens is 0"):
        Batching(0)
    with pytest.raises(ValueError, match="rows of 20 tokens in batches of 10"):
        Batching(10, row_tokens=20)


def test_examples_with_different_keys_are_refused() -> None:
    said = np.ones(2, bool)
    with pytest.raises(ValueError, match="all need the same"):
        collate([[{"said": said}, {"said": said, "tokens": np.arange(2)}]])
