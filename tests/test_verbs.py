"""The verbs of the command line, as people run them: what they leave, and one clear line where they cannot."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from duologue.__main__ import VERBS, main
from duologue.data.encode import write
from duologue.model.backbone import backbone, tokenizer_of
from duologue.model.one_vocabulary import Codes
from duologue.sound import wav
from duologue.systems import omni_flatten
from duologue.systems.omni_flatten import OmniFlatten, paper
from duologue.units import nano_codec
from duologue.units.nano_codec import CODEC
from small_omni import CODES, conversation, kept, text_model
from small_units import codec as small_codec


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "model"
    kept(folder)
    return folder


@pytest.fixture(scope="module")
def units(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two encoded conversations, in two files."""
    folder = tmp_path_factory.mktemp("units")
    for seed in range(2):
        write(folder / f"{seed:05}.jsonl", [conversation(seed)])
    return folder


def duologue(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def in_one_line(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """What is told of something that cannot be done; transformers' progress aside."""
    assert duologue(*arguments) == 2
    told = [line for line in capsys.readouterr().err.splitlines() if line and not line.startswith("Loading weights")]
    assert len(told) == 1, told
    assert told[0].startswith("duologue: ")
    return told[0]


# ---------------------------------------------------------------- synth


def synth(folder: Path, *more: object) -> int:
    wanted = ("synth", folder, "--count", 2, "--exchanges", 1, 1, "--timing", "prompt", "--workers", 1)
    return duologue(*wanted, *more)


def test_synth_makes_recordings_and_a_manifest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert synth(tmp_path / "made") == 0
    manifest = tmp_path / "made" / "manifest.jsonl"
    told = capsys.readouterr().out
    assert told.startswith("2 recordings, ")
    assert told.strip().endswith(str(manifest))
    rows = [json.loads(line) for line in manifest.read_text().splitlines()]
    for row in rows:
        sound, hz = soundfile.read(manifest.parent / row["path"])
        assert (sound.shape[1], hz) == (2, 16_000)
        assert np.abs(sound).max(axis=0).min() > 0.01, "a channel is silent"
        assert len(row["questions"]) == 1
    before = manifest.read_bytes()
    assert synth(tmp_path / "made") == 0
    assert manifest.read_bytes() == before


def test_synth_says_what_it_cannot_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    synth_of = ("synth", tmp_path / "made", "--count", 2, "--workers", 1)
    assert "'hasty'" in in_one_line(capsys, *synth_of, "--timing", "hasty")
    assert "'cooking'" in in_one_line(capsys, *synth_of, "--topics", "cooking")
    assert "manifest" in in_one_line(capsys, *synth_of, "--noises", tmp_path / "none")
    assert "'ears'" in in_one_line(capsys, *synth_of, "--asr", "ears")


def test_a_manifest_that_was_damaged_is_named_and_can_be_made_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert synth(tmp_path / "made") == 0
    manifest = tmp_path / "made" / "manifest.jsonl"
    before = manifest.read_text()
    first, second = before.splitlines()
    manifest.write_text(f"{first}\n{second[:100]}\n")
    capsys.readouterr()
    assert synth(tmp_path / "made") == 2
    assert "manifest.jsonl:2: not a line of JSON" in capsys.readouterr().err
    manifest.unlink()
    assert synth(tmp_path / "made") == 0
    assert manifest.read_text() == before


# ---------------------------------------------------------------- train


def training(model: Path, units: Path, folder: Path, *more: object, stage: str = "full_duplex") -> tuple[object, ...]:
    usual = ("--data", units, "--folder", folder, "--epochs", 1, "--validation", 0, "--learning-rate", 1e-3)
    return ("train", model, "--stage", stage, *usual, *more)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = OmniFlatten.load(folder).lm.state_dict()
    return found


@pytest.mark.parametrize("stage", ["alignment", "half_duplex", "full_duplex", "two_streams"])
def test_train_leaves_a_model_that_can_be_talked_with(model: Path, units: Path, tmp_path: Path, stage: str) -> None:
    assert duologue(*training(model, units, tmp_path / "run", stage=stage)) == 0
    before, after = weights(model), weights(tmp_path / "run" / "model")
    assert before.keys() == after.keys()
    assert any(not torch.equal(before[name], after[name]) for name in before)
    assert (tmp_path / "run" / "model" / CODEC).read_bytes() == (model / CODEC).read_bytes()
    config = OmniFlatten.load(tmp_path / "run" / "model").config
    assert (config.text_chunk, config.heard_chunk) == ((0, 0) if stage == "two_streams" else (2, 2))
    assert json.loads((tmp_path / "run" / "stage.json").read_text())["name"] == stage


def test_train_goes_on_where_it_was(model: Path, units: Path, tmp_path: Path) -> None:
    """A finished stage is not learnt again, and leaves the same model."""
    assert duologue(*training(model, units, tmp_path / "run")) == 0
    first = weights(tmp_path / "run" / "model")
    log = (tmp_path / "run" / "log.jsonl").read_bytes()
    assert duologue(*training(model, units, tmp_path / "run")) == 0
    again = weights(tmp_path / "run" / "model")
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert (tmp_path / "run" / "log.jsonl").read_bytes() == log


def test_train_with_low_rank_changes_leaves_a_model_without_extra_parameters(
    model: Path, units: Path, tmp_path: Path
) -> None:
    """What they change lies in the layers that they belong to; all else is as it was."""
    for _ in range(2):
        assert duologue(*training(model, units, tmp_path / "run", "--lora-rank", 2)) == 0
        before, after = weights(model), weights(tmp_path / "run" / "model")
        assert before.keys() == after.keys()
        changed = {name for name in before if not torch.equal(before[name], after[name])}
        assert any("q_proj.weight" in name for name in changed)
        assert all("proj.weight" in name for name in changed)
        ranks = {name: int(torch.linalg.matrix_rank(after[name] - before[name], rtol=1e-3)) for name in changed}
        assert max(ranks.values()) <= 2, ranks


def from_text(folder: Path, units: Path, *more: object, tied: bool = True) -> tuple[object, ...]:
    """To begin with a text model, which is made in the folder, and the small codec."""
    text_model(folder / "text", tied)
    nano_codec.save(small_codec(), folder / "units.safetensors")
    begun = ("train", "--base", folder / "text", "--codec", folder / "units.safetensors")
    return (*begun, *training(Path(), units, folder / "run")[2:], *more)


def test_train_begins_with_any_text_model(units: Path, tmp_path: Path) -> None:
    """Its words stay, the codec's units are added; what is left can be talked with."""
    assert duologue(*from_text(tmp_path, units)) == 0
    made = OmniFlatten.load(tmp_path / "run" / "model")
    words = tokenizer_of(tmp_path / "text")
    assert made.config == paper()
    assert (made.tags.asr, made.ids["units"].size) == (len(words), CODES)
    assert made.text_ids("what is two") == words("what is two").input_ids
    session = omni_flatten.session(tmp_path / "run" / "model")
    assert session.step(np.zeros(session.heard_samples, np.float32)).audio.shape == (session.said_samples,)
    assert duologue(*training(tmp_path / "run" / "model", units, tmp_path / "next")) == 0


def fsq() -> Codes:
    found = small_codec().tokenizer.fsq
    return Codes(found.codes, found.one_hot())


@pytest.mark.parametrize("tied", [True, False])
def test_with_low_rank_changes_a_text_model_learns_its_new_rows_too(units: Path, tmp_path: Path, tied: bool) -> None:
    """What else it had is changed by them alone."""
    assert duologue(*from_text(tmp_path, units, "--lora-rank", 2, tied=tied)) == 0
    grown = OmniFlatten.grown(backbone(str(tmp_path / "text")), tokenizer_of(tmp_path / "text"), fsq(), paper())
    before, after = grown.lm.state_dict(), weights(tmp_path / "run" / "model")
    assert before.keys() == after.keys()
    rows = {"model.embed_tokens.weight", "lm_head.weight"}
    for name in rows:
        assert not torch.equal(before[name][grown.tags.asr :], after[name][grown.tags.asr :]), name
    assert torch.equal(after["model.embed_tokens.weight"], after["lm_head.weight"]) == tied
    changed = {name for name in before if not torch.equal(before[name], after[name])} - rows
    assert changed
    assert all("proj.weight" in name for name in changed)


def test_train_begins_with_one_model_and_its_units(
    model: Path, units: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    begun = from_text(tmp_path, units)
    capsys.readouterr()
    both = (*training(model, units, tmp_path / "run"), "--base", tmp_path / "text")
    neither = ("train", *training(model, units, tmp_path / "run")[2:])
    for wrong in (both, neither):
        assert "--base with a text model: one of the two" in in_one_line(capsys, *wrong)
    twice = (*training(model, units, tmp_path / "run"), "--codec", "x")
    assert "has its units already: leave --codec out" in in_one_line(capsys, *twice)
    assert "no causal language model" in in_one_line(capsys, *begun, "--base", tmp_path / "none")
    assert "none: there is no such file" in in_one_line(capsys, *begun, "--codec", "none")
    stranger = replace(conversation(), user=(*range(CODES), CODES))
    write(tmp_path / "other.jsonl", [stranger])
    told = in_one_line(capsys, *begun, "--data", tmp_path / "other.jsonl")
    assert f"there is no unit {CODES} among {CODES}" in told
    assert not (tmp_path / "run").exists()


def test_train_knows_how_many_units_s3_has(units: Path, tmp_path: Path) -> None:
    assert duologue(*from_text(tmp_path, units), "--codec", "speech_tokenizer_v1_25hz") == 0
    assert OmniFlatten.load(tmp_path / "run" / "model").ids["units"].size == 4096
    assert not (tmp_path / "run" / "model" / CODEC).exists()


def test_train_keeps_conversations_for_validation(model: Path, units: Path, tmp_path: Path) -> None:
    assert duologue(*training(model, units, tmp_path / "run", "--validation", 1)) == 0
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert any("validation_loss" in entry for entry in log)


def test_train_says_what_it_cannot_do(
    model: Path, units: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    wrong_stage = training(model, units, run, stage="full")
    assert "there is no stage 'full', only alignment, half_duplex" in in_one_line(capsys, *wrong_stage)
    (tmp_path / "empty").mkdir()
    told = in_one_line(capsys, *training(tmp_path / "empty", units, run))
    assert "holds no OmniFlatten model" in told
    assert "no encoded conversations" in in_one_line(capsys, *training(model, tmp_path / "empty", run))
    assert "none.jsonl" in in_one_line(capsys, *training(model, tmp_path / "none.jsonl", run))
    (tmp_path / "bad.jsonl").write_text("{}\n")
    assert "bad.jsonl:1: no encoded conversation" in in_one_line(capsys, *training(model, tmp_path / "bad.jsonl", run))
    few = training(model, units, run, "--validation", 2)
    assert "2 examples: give more, or keep fewer for validation (--validation)" in in_one_line(capsys, *few)
    assert "--validation -1: give 0 or more" in in_one_line(capsys, *training(model, units, run, "--validation", -1))
    for unit in (CODES, CODES + 5):
        write(tmp_path / "other.jsonl", [replace(conversation(0), user=(unit,) * 87)])
        told = in_one_line(capsys, *training(model, tmp_path / "other.jsonl", run))
        assert f"there is no unit {unit} among {CODES}" in told
    assert not run.exists()


def test_train_says_in_one_line_that_the_loss_is_no_number(
    model: Path, units: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert duologue(*training(model, units, tmp_path / "run", "--learning-rate", 1e30, "--epochs", 4)) == 2
    (told,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("duologue: ")]
    assert "stage 'full_duplex'" in told
    assert "--learning-rate" in told


# ---------------------------------------------------------------- talk


def test_talk_in_full_duplex_writes_sound_picture_and_events_the_same_each_time(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("duologue.talk.LONGEST_REPLY_S", 0.5)
    heard = np.random.default_rng(0).normal(0, 0.1, 16_000).astype(np.float32)
    wav.write(tmp_path / "in.wav", heard, 16_000)
    talk = ("talk", "--system", "omni_flatten", "--model", model, tmp_path / "in.wav")
    for name in ("a", "b"):
        assert duologue(*talk, tmp_path / f"{name}.wav") == 0
    for suffix in ("wav", "json", "png"):
        assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()
    sound, hz = soundfile.read(tmp_path / "a.wav")
    assert (sound.shape[1], hz) == (2, 16_000)
    assert np.abs(sound).max(axis=0).min() > 0
    told = json.loads((tmp_path / "a.json").read_text())
    assert {"turn", "wrote", "said"} <= {event["kind"] for event in told["events"]}
    assert told["duration_s"] == round(len(sound) / hz, 3)
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    capsys.readouterr()
    assert duologue(*talk, tmp_path / "c.wav", "--json") == 0
    assert json.loads(capsys.readouterr().out) == told


def test_talk_and_eval_say_what_they_cannot_do(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    wav.write(tmp_path / "in.wav", np.zeros(1600, np.float32), 16_000)
    talk = ("talk", tmp_path / "in.wav", tmp_path / "out.wav")
    assert (
        "there is no system 'hal', only clean_s2s, llama_omni, mini_omni, fun_audio_chat, omni_flatten, sync_llm"
        in in_one_line(capsys, *talk, "--system", "hal")
    )
    duplex = (*talk, "--system", "omni_flatten", "--model")
    assert "holds no OmniFlatten model" in in_one_line(capsys, *duplex, tmp_path)
    missing = ("talk", tmp_path / "none.wav", *duplex[2:], model)
    assert "none.wav: there is no such file" in in_one_line(capsys, *missing)
    assert not (tmp_path / "out.wav").exists()
    for wrong, why in (("out.foo", "cannot write FOO files"), ("nodir/out.wav", "there is no folder")):
        heard_by = ("talk", tmp_path / "in.wav", tmp_path / wrong, "--system", "omni_flatten", "--model", model)
        with monkeypatch.context() as patched:
            patched.setattr("duologue.talk.converse", None)
            assert why in in_one_line(capsys, *heard_by)
    folder = ("--folder", tmp_path / "eval")
    assert "there is no system 'hal'" in in_one_line(capsys, "eval", "--system", "hal", *folder)
    assert "holds no OmniFlatten model" in in_one_line(capsys, "eval", "--model", tmp_path, *folder)
    assert not (tmp_path / "eval").exists()


# ---------------------------------------------------------------- eval


def evaluating(model: Path, folder: Path, questions: int) -> tuple[object, ...]:
    """The verb with its options, of so many questions and one dialogue."""
    return ("eval", "--model", model, "--folder", folder, "--questions", questions, "--dialogues", 1)


def test_eval_measures_and_prints_what_it_keeps(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = (*evaluating(model, tmp_path / "eval", questions=2), "--no-speech")
    assert duologue(*few, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found == json.loads((tmp_path / "eval" / "results.json").read_text())
    assert found["answers"]["n"] == len(found["each"]) == 2
    assert found["answers"]["speech"] is None
    assert set(found["turns"]) == {"takes", "yields", "goes_on", "back_channels"}
    assert found["turns"]["takes"]["n"] >= 1
    assert all(answer["wanted"] and answer["spoken"] is None for answer in found["each"])
    assert duologue(*few) == 0
    table = capsys.readouterr().out
    assert "answers to 2 questions" in table
    assert re.search(r"in speech, as heard +–", table)
    assert "goes on" in table
    assert json.loads((tmp_path / "eval" / "results.json").read_text()) == found


def test_eval_looks_at_all_that_is_asked_before_it_hears_anything(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    few = ("eval", "--model", model, "--folder", tmp_path, "--no-speech", "--questions", 1, "--dialogues")
    assert "--dialogues 0: give 1 or more" in in_one_line(capsys, *few, 0)
    (tmp_path / "dialogues").mkdir()
    (tmp_path / "dialogues" / "plan.json").write_text("{}")
    assert "dialogues holds the recordings of another plan" in in_one_line(capsys, *few, 2)
    assert not (tmp_path / "questions").exists()


def test_eval_names_a_recording_that_is_missing(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = (*evaluating(model, tmp_path, questions=1), "--no-speech", "--json")
    assert duologue(*few) == 0
    (recording,) = (tmp_path / "questions" / "audio").iterdir()
    recording.unlink()
    capsys.readouterr()
    assert f"{recording}: there is no such file" in in_one_line(capsys, *few)


# ---------------------------------------------------------------- settings of one system


@pytest.mark.parametrize("omega", ["0", "0.5", "-3", "nan"])
@pytest.mark.parametrize(
    "verb", [("talk", "asked.wav", "answer.wav"), ("serve",), ("eval",), ("eval", "--suite", "fdb")]
)
def test_omega_below_1_is_refused_at_once(
    verb: tuple[str, ...], omega: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before the model is read: here is none."""
    told = in_one_line(capsys, *verb, "--system", "llama_omni", "--model", tmp_path, f"--omega={omega}")
    assert (
        told == f"duologue: omega {float(omega)}: a segment has at least 1 unit (10 answers soonest, inf sounds best)"
    )


# ---------------------------------------------------------------- help


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_shows_an_example(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main([verb, "--help"])
    assert f"duologue {verb}" in capsys.readouterr().out.split("example:")[1]


@pytest.mark.parametrize("verb", ["synth", "train", "eval", "talk"])
def test_the_options_of_an_example_are_those_of_the_verb(verb: str) -> None:
    """Each line of the examples is understood."""
    from duologue.__main__ import _parser

    for line in VERBS[verb].EXAMPLE.splitlines():
        words = line.split("#")[0].split()
        if words[:1] == ["duologue"]:
            assert _parser().parse_args(words[1:]).run is VERBS[verb].run


def test_a_verb_that_there_is_not_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["sing"])
    assert "invalid choice: 'sing'" in capsys.readouterr().err
