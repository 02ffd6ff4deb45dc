"""SyncLLM of recordings: from two-channel files and released units to a folder that one can talk with."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor

from duologue.__main__ import main
from duologue.data import encode, manifest
from duologue.data.encode import Encoded, Stretch
from duologue.data.two_channels import encoded, stereo, write
from duologue.systems import sync_llm_talk
from duologue.systems.sync_llm import STAGES, Config, SyncLLM
from duologue.systems.sync_llm_examples import channels, excerpts, turns_of
from duologue.systems.sync_llm_talk import SyncSession, Talking
from duologue.units import nano_codec
from duologue.units.codec import CodecState, encode_whole
from duologue.units.hubert_codec import UNITS, HubertCodec
from duologue.units.hubert_live import Window
from small_hubert import CODES, UNIT, VOICE, codec, kept_hubert, kept_voice, live, vocoder
from small_omni import conversation, text_model
from small_sync import small
from small_units import codec as nano
from test_hubert import centres, sound
from test_recipes import recipe
from test_two_channels import fishers
from test_two_channels import stereo as stereo_file

CONVERSATIONS = [conversation(seed) for seed in range(3)]


def options(tmp_path: Path, *more: object, layout: str = "fisher") -> list[str]:
    """Of the recipe: a text model, HuBERT with its clusters and its voice, all small; one recording."""
    text_model(tmp_path / "text")
    source, clusters = kept_hubert(tmp_path)
    voice = kept_voice(tmp_path / "voice")
    sounds, transcripts = fishers(tmp_path / "fisher")
    given: list[object] = [layout, sounds, "--folder", tmp_path / "run", "--base", tmp_path / "text"]
    given += ["--transcripts", transcripts] if layout == "fisher" else []
    given += ["--hubert", source, "--clusters", clusters, "--layer", 2, "--voice", voice]
    given += ["--row-tokens", 400, "--batch-tokens", 400, "--epochs", 2, "--threads", 1, *more]
    return [str(one) for one in given]


# ---------------------------------------------------------------- from files to a conversation


def test_recordings_become_a_model_that_talks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By two commands; begun again, nothing is learnt twice."""
    given = options(tmp_path)
    for _ in range(2):
        recipe("sync_llm_recordings").main(given)
    run, model = tmp_path / "run", tmp_path / "run" / "model"
    assert {path.parent.name for path in run.glob("*/log.jsonl")} == {stage.name for stage in STAGES}
    (row,) = encode.read(run / "units" / "00000.jsonl")
    assert len(row.user) == 100
    assert [speaker for speaker, _ in turns_of(row)] == [1, 0, 1]

    session = sync_llm_talk.session(model)
    assert session.frame_s == 0.04
    for frame in sound(12 * UNIT).view(12, UNIT).numpy():
        assert session.step(frame).audio.shape == (UNIT,)
    assert session.call.heard_chunks == 2, "the third chunk is known two frames after its end"

    monkeypatch.setattr("duologue.talk.LONGEST_REPLY_S", 0.2)
    soundfile.write(tmp_path / "in.wav", sound(8000).numpy(), 16_000)
    talk = ("talk", "--system", "sync_llm", "--model", str(model), str(tmp_path / "in.wav"), str(tmp_path / "out.wav"))
    assert main(talk) == 0
    assert soundfile.info(tmp_path / "out.wav").channels == 2

    described = json.loads((model / UNITS).read_text())
    (model / UNITS).write_text(json.dumps(described | {"voice": None}))
    sync_llm_talk.loaded.cache_clear()
    assert main(talk) == 2
    assert main((*talk, "--voice", str(tmp_path / "voice"))) == 0


def test_files_without_transcripts_are_for_the_last_stage_and_nano_units_do_too(tmp_path: Path) -> None:
    made = recipe("sync_llm_recordings")
    text_model(tmp_path / "text")
    stereo_file(tmp_path / "talk" / "a.wav", duration_s=3.0)
    nano_codec.save(nano(), tmp_path / "nano.safetensors")
    given = ["stereo", str(tmp_path / "talk"), "--folder", str(tmp_path / "run"), "--base", str(tmp_path / "text")]
    given += ["--codec", str(tmp_path / "nano.safetensors"), "--row-tokens", "400", "--threads", "1"]
    with pytest.raises(ValueError, match="turn_based_1 learns from turns: give transcripts, or leave it out: --stages"):
        made.main(given)
    assert not (tmp_path / "run" / "model").exists()
    made.main([*given, "--stages", "two_channels"])
    session = sync_llm_talk.session(tmp_path / "run" / "model")
    assert session.step(np.zeros(UNIT, np.float32)).audio.shape == (UNIT,)
    with pytest.raises(ValueError, match="has no HuBERT units: it speaks in the voice of its codec, leave --voice out"):
        sync_llm_talk.session(tmp_path / "run" / "model", voice="voice")


def test_what_does_not_go_together_is_told_before_anything_is_encoded(tmp_path: Path) -> None:
    made, given = recipe("sync_llm_recordings"), options(tmp_path)
    kept_hubert(tmp_path / "other", width=5)
    kept_voice(tmp_path / "strange", replace(VOICE, codes=CODES + 1))
    for more, told in (
        (["--clusters", tmp_path / "other" / "clusters.npy"], "clusters of width 5, wanted: the model's 16"),
        (["--voice", tmp_path / "strange"], "give a unit HiFi-GAN that was trained with these units"),
        (["--chunk-ms", 150], "a chunk holds whole units of 40 ms"),
        (["--codec", tmp_path / "nano"], "--hubert and --codec are two kinds of units"),
    ):
        with pytest.raises(ValueError, match=told):
            made.main([*given, *map(str, more)])
    without = [one for one in given if one not in ("--clusters", str(tmp_path / "clusters.npy"))]
    with pytest.raises(ValueError, match="are --hubert and --clusters: give both"):
        made.main(without)
    with pytest.raises(ValueError, match="--transcripts is a folder that goes with the layout fisher"):
        made.main(["stereo", *given[1:]])
    assert not (tmp_path / "run" / "units").exists()


def test_rows_that_the_model_has_no_places_for_are_refused() -> None:
    refuse = recipe("sync_llm_recordings").refuse_long_rows
    refuse(small(), 4096)
    with pytest.raises(ValueError, match="rows of 4097 tokens, the model has 4096 places: --row-tokens 4096"):
        refuse(small(), 4097)


# ---------------------------------------------------------------- what is learnt from


def test_the_papers_stages_are_run_over_what_there_is() -> None:
    made = recipe("sync_llm_recordings")
    said = [{"said": [True] * 500}] * 40
    usual = made.parsed(["stereo", "x", "--folder", "y", "--base", "z", "--batch-tokens", "8192", "--epochs", "41"])
    stage = made.staged(STAGES[-1], said, usual)
    assert (stage.steps, stage.warmup_steps, stage.learning_rate) == (100, 5, STAGES[-1].learning_rate)
    theirs = made.staged(STAGES[-1], said * 26_000, made.parsed(["stereo", "x", "--folder", "y", "--base", "z"]))
    assert (theirs.steps, theirs.batch_tokens, theirs.warmup_steps) == (2031, 256_000, 100)


@pytest.mark.parametrize("most_units", [1, 10, 30, 1000])
def test_excerpts_are_whole_turns_and_lose_none(most_units: int) -> None:
    row = CONVERSATIONS[0]
    whole, pieces = turns_of(row), list(excerpts(row, most_units))
    assert [turn for piece in pieces for turn in turns_of(piece)] == whole
    for piece in pieces:
        assert len(turns_of(piece)) == 1 or sum(len(stretch.units) for stretch in piece.stretches) <= most_units
    for one, following in pairwise(pieces):
        first = [s for s in following.stretches if s.turn == following.stretches[0].turn]
        assert sum(len(s.units) for s in (*one.stretches, *first)) > most_units
    silent = replace(row, stretches=(*row.stretches, Stretch("user", 80, (), "", (), 1)))
    assert list(excerpts(silent, 1000)) == list(excerpts(row, 1000))


def test_without_a_transcript_both_channels_are_whole(tmp_path: Path) -> None:
    path = stereo_file(tmp_path / "a" / "b.flac")
    stereo_file(tmp_path / "mono.wav").write_bytes(b"")
    (found,) = stereo(tmp_path / "a", assistant_channel=0)
    assert (found.path, found.user_channel, list(found.dialogue)) == (path, 1, [])
    write(tmp_path / "manifest.jsonl", [found])
    (clip,) = manifest.read(tmp_path / "manifest.jsonl")
    row: Encoded = encoded(clip, nano().tokenizer)
    own, user = channels(row, -5)
    assert len(own) == len(user) == 100
    assert -5 not in own
    assert tuple(user) == row.user == row.stretches[0].units
    assert not turns_of(row)
    for wrong, told in (({}, "None: give 0"), ({"user_channel": 2}, "2: give 0")):
        with pytest.raises(ValueError, match=told):
            encoded(replace(clip, rest=wrong), nano().tokenizer)
    soundfile.write(tmp_path / "mono.wav", np.zeros(16_000), 16_000)
    with pytest.raises(ValueError, match="has 1 channels; one for each of two speakers"):
        encoded(manifest.Clip(tmp_path / "mono.wav", rest={"user_channel": 0}), nano().tokenizer)
    with pytest.raises(ValueError, match="channel 2 of the assistant"):
        list(stereo(tmp_path, assistant_channel=2))
    (tmp_path / "none").mkdir()
    with pytest.raises(FileNotFoundError, match="holds no recordings"):
        list(stereo(tmp_path / "none"))


# ---------------------------------------------------------------- a session that hears late


def talking(ahead_units: int, latency_chunks: int = 1) -> Talking:
    from duologue.model.backbone import backbone
    from duologue.model.backbone import nano as sizes_of
    from duologue.model.one_vocabulary import Codes
    from duologue.model.words import words_tokenizer

    words = words_tokenizer(["yes", "no"])
    sizes = sizes_of(len(words), width=64, layers=2)
    sizes.tie_word_embeddings, sizes.initializer_range = False, 0.6
    model = SyncLLM.grown(backbone(sizes, seed=3), words, Codes(CODES), Config(), seed=5)
    return Talking(model, codec(ahead_units), latency_chunks)


class Known(HubertCodec):
    """Whose units are there with their sound: those of a row, one for each frame."""

    def __init__(self, units: Tensor) -> None:
        super().__init__(live(), vocoder())
        self._units = units

    def start_encoder(self, batch: int) -> CodecState:
        return CodecState([torch.zeros(1)])

    def encode(self, audio: Tensor, state: CodecState, last: bool = False) -> Tensor:
        place = int(state.tensors[0])
        state.tensors[0] = torch.tensor([place + 1])
        return self._units[None, None, place : place + 1]


@pytest.mark.parametrize(("ahead_units", "latency_chunks"), [(0, 1), (2, 1), (4, 1), (2, 2), (6, 2)])
def test_chunks_are_heard_as_late_as_the_encoder_looks_ahead(
    ahead_units: int, latency_chunks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of them, in order; and what is said is what would be said if each unit were known with its sound."""
    session = SyncSession(talking(ahead_units, latency_chunks))
    heard, hear = list[tuple[int, list[int]]](), session.call.hear

    def noted(units: list[int]) -> Any:
        heard.append((session.frames + 1, list(units)))
        return hear(units)

    monkeypatch.setattr(session.call, "hear", noted)
    audio = sound(28 * UNIT)
    units = encode_whole(session.talking.codec, audio[None])[0, 0]
    at_once = SyncSession(replace(session.talking, codec=Known(units)))
    for frame in audio.view(28, UNIT).numpy():
        assert session.step(frame).audio.tobytes() == at_once.step(frame).audio.tobytes()
    chunks = units.view(7, 4).tolist()
    known = [(4 * (n + 1) + ahead_units, chunk) for n, chunk in enumerate(chunks) if 4 * (n + 1) + ahead_units <= 28]
    assert heard == known
    assert at_once.call.heard_chunks == 7


def test_too_little_latency_is_told() -> None:
    for ahead_units, latency_chunks in ((2, 0), (5, 1)):
        with pytest.raises(ValueError, match="take a greater latency"):
            SyncSession(talking(ahead_units, latency_chunks))


def test_units_begin_as_the_centres_of_their_clusters(tmp_path: Path) -> None:
    made = recipe("sync_llm_recordings")
    units = made.chosen(made.parsed(options(tmp_path)))
    assert units.window == Window(past_units=50, block_units=4, ahead_units=2)
    found = made.codes(units)
    assert found.codes == CODES
    assert torch.equal(found.vectors, centres())
