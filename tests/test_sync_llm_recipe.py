"""SyncLLM's recipe: what its stages learn from, and a model that is left when it was stopped and begun again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch

import small_omni
from duologue.data import encode
from duologue.data.encode import Encoded
from duologue.systems.sync_llm import STAGES, STREAMS, Config, SyncLLM
from duologue.systems.sync_llm_examples import channels, two_channel_examples
from duologue.systems.sync_llm_talk import SyncSession, Talking
from duologue.units import nano_codec
from small_sync import small
from small_units import codec
from test_recipes import recipe

SILENCE = codec().silence[0]
ROWS = [small_omni.conversation(seed) for seed in range(12)]


def nano() -> Any:
    return recipe("sync_llm").NANO


def test_all_stages_of_the_paper_are_taught_and_all_tokens_are_spent() -> None:
    assert [taught.name for taught in nano()] == ["listening", *(stage.name for stage in STAGES)]
    assert sum(taught.share for taught in nano()) == pytest.approx(1)


@pytest.mark.parametrize("repeats", ["removed", "kept"])
def test_every_example_fits_into_a_row_and_none_is_lost_by_cutting(repeats: Any) -> None:
    model, made = small(Config(repeats=repeats)), recipe("sync_llm").examples
    for taught in nano():
        lengths = [len(one["said"]) for one in made(model, replace(taught, row_tokens=120), ROWS, SILENCE)]
        assert max(lengths, default=0) <= 120
        whole = [len(one["said"]) for one in made(model, replace(taught, row_tokens=2_000), ROWS, SILENCE)]
        assert taught.name == "two_channels" or len(whole) == len(ROWS)
        assert taught.name != "two_channels" or sum(lengths) >= sum(whole)


def test_conversations_follow_on_each_other() -> None:
    """Each keeps what is said in it, in order, on its side, and the next begins when it is over; the rest is alone."""
    people, made = Encoded("people", (5,) * 40, ()), recipe("sync_llm")
    long = list(made.joined([ROWS[0], people, *ROWS[1:9]], SILENCE, Random(0)))
    assert long[0] == people
    assert [len(one.stretches) for one in long[1:]] == [
        sum(len(row.stretches) for row in rows) for rows in (ROWS[: made.TOGETHER], ROWS[made.TOGETHER : 9])
    ]
    own, user = channels(long[1], SILENCE)
    for stretch, alone in zip(long[1].stretches, (s for row in ROWS for s in row.stretches), strict=False):
        assert (stretch.speaker, stretch.text, stretch.units) == (alone.speaker, alone.text, alone.units)
        side = own if stretch.speaker == "assistant" else user
        assert tuple(side[stretch.start : stretch.start + len(stretch.units)]) == stretch.units
    starts = [stretch.start for stretch in long[1].stretches]
    assert starts == sorted(starts)


def test_as_many_examples_are_taken_as_hold_the_tokens() -> None:
    as_many = recipe("sync_llm").as_many
    made = [{"said": [True] * length} for length in (3, 4, 5)]
    assert [len([*as_many(iter(made), tokens)]) for tokens in (0, 3, 4, 7, 7.5, 100)] == [0, 1, 2, 2, 3, 3]


def test_what_is_rehearsed_is_written_on_its_own_side() -> None:
    found = recipe("sync_llm").rehearsed(small(), 2_000)
    assert sum(len(one["said"]) for one in found) >= 2_000
    assert {STREAMS[number] for one in found for number in one["stream"]} == {"own"}


def test_who_begins_as_an_omni_flatten_knows_its_units(tmp_path: Path) -> None:
    """Only the tags are new."""
    omni = small_omni.kept(tmp_path / "omni")
    before = omni.lm.get_input_embeddings().weight.detach().clone()
    model = recipe("sync_llm").untrained(tmp_path / "omni", tmp_path / "omni" / nano_codec.CODEC, Config(), 0)
    assert model.alphabet.units == omni.ids["units"].ids
    assert {model.alphabet.s0, model.alphabet.s1}.isdisjoint(omni.ids["units"].ids)
    after = model.lm.get_input_embeddings().weight
    assert torch.equal(after[: omni.ids.tokens], before[: omni.ids.tokens])
    assert model.text_ids("two plus two") == omni.text_ids("two plus two")


def test_a_conversation_costs_what_its_tokens_cost() -> None:
    """Of both sides, whatever the packing: the slow twin asks for one token after the other."""
    model = small()
    found = recipe("sync_llm_ablation").nats_a_second(model, ROWS[:2], SILENCE, 25)
    nats, seconds = {"own": 0.0, "user": 0.0}, 0.0
    for row in ROWS[:2]:
        (example,) = two_channel_examples(model, [row], SILENCE)
        tokens = torch.from_numpy(example["tokens"])
        with torch.no_grad():
            odds = model.lm(tokens[None]).logits[0].log_softmax(-1)
        for place in range(1, len(tokens)):
            nats[STREAMS[example["stream"][place]]] -= float(odds[place - 1, tokens[place]])
        seconds += len(channels(row, SILENCE)[0]) / 25
    assert found["own_nats"] == pytest.approx(nats["own"] / seconds, rel=1e-4)
    assert found["user_nats"] == pytest.approx(nats["user"] / seconds, rel=1e-4)
    assert found["nats"] == pytest.approx(found["own_nats"] + found["user_nats"])


def test_without_units_one_is_told_what_makes_them(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"dialogues_0/units: run recipes/omni_flatten\.py first"):
        recipe("sync_llm").corpus(tmp_path, "dialogues_0")


def test_the_stages_leave_a_model_that_talks_and_are_not_run_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Begun again, it does nothing, and leaves the same."""
    made = recipe("sync_llm")
    monkeypatch.setattr(made, "HELD_OUT", 2)
    nano_codec.save(codec(), tmp_path / "codec.safetensors")
    for name in {name for taught in made.NANO for name in taught.corpora}:
        (tmp_path / name / "units").mkdir(parents=True)
        encode.write(tmp_path / name / "units" / "00000.jsonl", ROWS)
    rows = {name: made.corpus(tmp_path, name) for taught in made.NANO for name in taught.corpora}
    learnt = [taught_once(made, rows, tmp_path) for _ in range(2)]
    for name, tensor in learnt[0].lm.state_dict().items():
        assert torch.equal(tensor, learnt[1].lm.state_dict()[name])
    loaded = SyncLLM.load(tmp_path / "out" / "model")
    session = SyncSession(Talking(loaded, nano_codec.load(tmp_path / "out" / "model" / nano_codec.CODEC)))
    assert session.call.latency_chunks == 1


def taught_once(made: Any, rows: Any, folder: Path) -> SyncLLM:
    model: SyncLLM = small(initial=0.02)
    made.teach(model, rows, folder / "codec.safetensors", folder / "out", 2_000, seed=0)
    return model
