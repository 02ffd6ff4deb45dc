"""The recipes' own rules: what they teach a text model, what they encode, what their variants learn from."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from conftest import need
from duologue.data.encode import Encoded
from duologue.data.tensors import Example
from duologue.desk import Desk, check, questions, statements
from duologue.model.calls import parted
from duologue.synthesis import Plan, synthesise
from duologue.systems import omni_flatten
from duologue.systems.omni_flatten import STREAMS, OmniFlatten
from duologue.units import nano_codec
from small_omni import conversation, small
from small_units import codec

RECIPES = Path(__file__).resolve().parent.parent / "recipes"


def recipe(name: str) -> ModuleType:
    if str(RECIPES) not in sys.path:
        sys.path.insert(0, str(RECIPES))
    return __import__(name)


def test_every_answer_that_is_taught_is_right_and_calls_what_it_should() -> None:
    texts = recipe("nano_text").texts
    for question in islice(questions(3, "train", "en"), 300):
        turns = texts(question)
        assert len(turns) % 2 == 0
        assert turns[-2] == question.text
        said, calls = parted(turns[-1], Desk.tools)
        assert check(question, said)
        wanted = [(question.tool_call.name, question.tool_call.parsed())] if question.tool_call else []
        assert [(call.name, call.parsed()) for call in calls] == wanted


def test_all_that_is_asked_about_facts_and_spelling_has_been_read() -> None:
    """In tests too: what cannot be worked out must be known, though nobody asked for it in training."""
    read = statements("en")
    for question in islice(questions(4, "test", "en", ["facts"]), 20):
        assert question.answer in read
    for question in islice(questions(4, "test", "en", ["spelling"]), 8):
        assert any(statement.endswith(question.answer) for statement in read)
    assert len(set(read)) == len(read)


def test_a_synthesised_dialogue_is_encoded_with_what_is_written_in_it(tmp_path: Path) -> None:
    need(shutil.which("flite") is not None, "flite")
    data = recipe("omni_flatten_data")
    nano_codec.save(codec(), tmp_path / "codec.safetensors")
    made = synthesise(tmp_path / "talk", Plan(2, voices=("flite:rms",), topics=("order", "follow-ups")), quiet=True)
    for line in made.manifest.read_text().splitlines():
        row = json.loads(line)
        found: Encoded = data.encoded_desk(tmp_path / "codec.safetensors", tmp_path / "talk", row)
        answers = [stretch for stretch in found.stretches if stretch.speaker == "assistant"]
        for asked in row["questions"]:
            answer = next(stretch for stretch in answers if stretch.turn == asked["turn"] + 1)
            said, calls = parted(answer.text, Desk.tools)
            assert said == asked["answer"]
            assert [call.name for call in calls] == ([asked["tool_call"]["name"]] if asked["tool_call"] else [])
        assert len(found.user) == -(-round(row["duration"] * 16_000) // 640)
        asides = [event for event in row["scene"]["events"] if event["kind"] == "back_channel"]
        assert len([stretch for stretch in found.stretches if stretch.turn is None]) == len(asides)


def test_a_person_gets_the_desks_answer(tmp_path: Path) -> None:
    need(shutil.which("flite") is not None, "flite")
    data, clip = recipe("omni_flatten_data"), recipe("nano_units_speech").Clip
    nano_codec.save(codec(), tmp_path / "codec.safetensors")
    noise = np.random.default_rng(0).normal(0, 0.05, 32_000).astype(np.float32)
    asked = clip("i'd like a small latte", "person:barista-1", "train", 0, len(noise))
    user, assistant = data.encoded_person(tmp_path / "codec.safetensors", (asked, noise)).stretches
    assert (user.turn, assistant.turn) == (0, 1)
    assert assistant.text.startswith("One small latte, coming up. <call> order_drink")
    assert assistant.start > user.start + len(user.units)
    read = clip("the birch canoe slid on the planks", "person:reader", "train", 0, len(noise))
    assert [s.turn for s in data.encoded_person(tmp_path / "codec.safetensors", (read, noise)).stretches] == [None]


def test_every_variant_of_the_ablation_learns_from_equally_many_tokens() -> None:
    ablation = recipe("omni_flatten_ablation")
    for variant in (*ablation.CURRICULUM, *ablation.CHUNKS):
        assert list(variant.tokens) == list(variant.stages)
        assert sum(variant.tokens.values()) == pytest.approx(ablation.TOKENS)


def test_a_long_conversation_is_cut_between_chunks_and_nothing_of_it_is_lost() -> None:
    in_rows = recipe("omni_flatten").in_rows
    whole = {"tokens": np.arange(130), "said": np.arange(130) % 2 == 0}
    parts = in_rows(whole, 60, 25)
    assert [len(part["said"]) for part in parts] == [50, 50, 30]
    for name, array in whole.items():
        assert np.array_equal(np.concatenate([part[name] for part in parts]), array)
    assert in_rows(whole, 60, None) == []
    assert np.array_equal(in_rows(whole, 130, None)[0]["tokens"], whole["tokens"])


def test_two_streams_are_learnt_behind_full_duplex_into_a_model_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was left of full duplex stays as it was, and the weights that go on are not rounded."""
    made, learnt = recipe("omni_flatten"), list[tuple[str, int, torch.dtype]]()
    nano_codec.save(codec(), tmp_path / "codec.safetensors")
    (tmp_path / "text" / "model").mkdir(parents=True)
    for name in made.nano_text.SAVED:
        (tmp_path / "text" / "model" / name).touch()

    def learn(model: OmniFlatten, taught: Any, *_: object) -> None:
        learnt.append((taught.name, model.config.text_chunk, model.lm.dtype))
        with torch.no_grad():
            model.lm.get_input_embeddings().weight.add_(1)

    fakes = {"codec_in": lambda _: tmp_path / "codec.safetensors", "untrained": lambda *_: small(), "learn": learn}
    for name, fake in {**fakes, "prepare": lambda *_: None, "corpora": lambda *_: {}}.items():
        monkeypatch.setattr(made, name, fake)
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    monkeypatch.setattr(sys, "argv", ["omni_flatten.py", "--folder", str(tmp_path), "--until", "two_streams"])
    made.main()
    stages = [("alignment", 2), ("half_duplex", 2), ("full_duplex", 2), ("two_streams", 0)]
    assert learnt == [(*stage, torch.float32) for stage in stages]
    whole, alone = (OmniFlatten.load(tmp_path / name).lm for name in ("model", "model_two_streams"))
    before, after = (lm.get_input_embeddings().weight.detach().mean() for lm in (whole, alone))
    assert (round(float(before)), round(float(after))) == (3, 4)
    talking = omni_flatten.session(tmp_path / "model_two_streams").talking
    assert talking.layout.streams == ("user", "speech")


def test_two_streams_learn_from_sound_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, learnt = recipe("omni_flatten"), list[Example]()
    monkeypatch.setattr(made, "HELD_OUT", 1)
    monkeypatch.setattr(made, "train", lambda _, __, ___, examples, *more: learnt.extend(examples))
    taught, rows = replace(made.TWO_STREAMS, corpora=("some",)), [conversation(seed) for seed in range(3)]
    made.learn(small().without_text(), taught, {"some": rows}, tmp_path, 0)
    assert len(learnt) == 2
    for example in learnt:
        assert set(example["stream"].tolist()) == {STREAMS.index("user"), STREAMS.index("speech")}
        assert example["said"].any()
