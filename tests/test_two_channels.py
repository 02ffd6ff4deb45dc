"""Corpora of two people on two channels: Fisher's, moshi-finetune's, Lhotse's cuts, in a manifest and in units."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from duologue.data import manifest
from duologue.data.two_channels import Recording, encoded, fisher, lhotse_cuts, moshi_finetune, write
from duologue.dialogue import Dialogue, Utterance
from duologue.systems.sync_llm_examples import channels, turns_of
from small_units import codec

HZ = 16_000
SAID = Dialogue(
    (
        Utterance("user", 0.4, 1.2, "is it late"),
        Utterance("assistant", 1.4, 2.0, "it is two"),
        Utterance("assistant", 2.4, 2.8, "already"),
        Utterance("user", 3.0, 3.4, "oh"),
    )
)


def stereo(path: Path, duration_s: float = 4.0, hz: int = HZ) -> Path:
    """Tones in the place of speech: the left channel's are lower."""
    path.parent.mkdir(parents=True, exist_ok=True)
    at = np.arange(round(duration_s * hz)) / hz
    sound = np.stack((0.3 * np.sin(2 * np.pi * 200 * at), 0.1 * np.sin(2 * np.pi * 700 * at)), axis=1)
    soundfile.write(path, sound, hz)
    return path


# ---------------------------------------------------------------- Fisher

TRANSCRIPT = """# fe_03_00001.sph
# Transcribed at the LDC

0.40 1.20 A: is it late
1.40 2.00 B: it is two
2.40 2.80 B: already
3.00 3.40 A: oh
"""


def fishers(folder: Path, text: str = TRANSCRIPT) -> tuple[Path, Path]:
    (folder / "trans" / "000").mkdir(parents=True)
    (folder / "trans" / "000" / "fe_03_00001.txt").write_text(text)
    stereo(folder / "audio" / "000" / "fe_03_00001.wav", hz=8_000)
    return folder / "audio", folder / "trans"


def test_fishers_transcripts_are_read(tmp_path: Path) -> None:
    """Of whichever side is learnt."""
    folders = fishers(tmp_path)
    (found,) = fisher(*folders)
    assert found == Recording(tmp_path / "audio" / "000" / "fe_03_00001.wav", 0, SAID)
    (other,) = fisher(*folders, assistant="A")
    assert other.user_channel == 1
    assert [(u.speaker, u.text) for u in other.dialogue][:2] == [
        ("assistant", "is it late"),
        ("user", "it is two"),
    ]


def test_fishers_faults_are_named(tmp_path: Path) -> None:
    sounds, transcripts = fishers(tmp_path, TRANSCRIPT + "3.5 4.0 C: who is that\n")
    with pytest.raises(ValueError, match=r"fe_03_00001\.txt:8: '3\.5 4\.0 C"):
        list(fisher(sounds, transcripts))
    with pytest.raises(FileNotFoundError, match=r"bring fe_03_00001\.wav"):
        list(fisher(tmp_path / "trans", transcripts))
    with pytest.raises(FileNotFoundError, match="holds no transcripts"):
        list(fisher(sounds, sounds))


# ---------------------------------------------------------------- moshi-finetune


def moshis(folder: Path, words: list[Any]) -> Path:
    stereo(folder / "data" / "a.wav")
    (folder / "data" / "a.json").write_text(json.dumps({"alignments": words}))
    (folder / "data.jsonl").write_text(json.dumps({"path": "data/a.wav", "duration": 4.0}) + "\n")
    return folder / "data.jsonl"


WORDS = [
    ["is", [0.4, 0.6], "SPEAKER_USER"],
    ["it", [0.6, 0.8], "SPEAKER_USER"],
    ["late", [0.8, 1.2], "SPEAKER_USER"],
    ["it", [1.4, 1.6], "SPEAKER_MAIN"],
    [" is", [1.6, 1.7], "SPEAKER_MAIN"],
    ["two", [1.7, 2.0], "SPEAKER_MAIN"],
    ["already", [2.6, 2.8], "SPEAKER_MAIN"],
]


def test_aligned_words_are_utterances_of_the_assistant_on_the_left(tmp_path: Path) -> None:
    (found,) = moshi_finetune(moshis(tmp_path, WORDS))
    assert (found.path, found.user_channel) == (tmp_path / "data" / "a.wav", 1)
    assert [(u.speaker, u.start_s, u.end_s, u.text) for u in found.dialogue] == [
        ("user", 0.4, 1.2, "is it late"),
        ("assistant", 1.4, 2.0, "it is two"),
        ("assistant", 2.6, 2.8, "already"),
    ]
    with pytest.raises(ValueError, match=r"data\.jsonl:1: no recording with aligned words"):
        list(moshi_finetune(moshis(tmp_path / "bad", [["word"]])))


# ---------------------------------------------------------------- Lhotse


def test_without_lhotse_one_is_told_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "lhotse", None)
    with pytest.raises(ImportError, match=r"duologue\[corpora\]"):
        list(lhotse_cuts(tmp_path / "cuts.jsonl"))


def test_cuts_of_lhotse_are_read(tmp_path: Path) -> None:
    import lhotse

    recording = lhotse.Recording.from_file(stereo(tmp_path / "a.wav"))
    said = [
        lhotse.SupervisionSegment(
            f"{n}", recording.id, u.start_s, u.end_s - u.start_s, u.speaker == "assistant", u.text
        )
        for n, u in enumerate(SAID)
    ]
    for one in said:
        one.channel = int(one.channel)
    cut = lhotse.MultiCut("a", 0, recording.duration, [0, 1], supervisions=said, recording=recording)
    lhotse.CutSet.from_cuts([cut]).to_file(tmp_path / "cuts.jsonl")
    (found,) = lhotse_cuts(tmp_path / "cuts.jsonl")
    assert (found.path, found.user_channel) == (tmp_path / "a.wav", 0)
    assert [(u.speaker, u.text) for u in found.dialogue] == [(u.speaker, u.text) for u in SAID]
    part = lhotse.MultiCut("b", 1, 2, [0, 1], recording=recording)
    lhotse.CutSet.from_cuts([part]).to_file(tmp_path / "parts.jsonl")
    with pytest.raises(ValueError, match="the cut b of .* is no whole recording"):
        list(lhotse_cuts(tmp_path / "parts.jsonl"))


# ---------------------------------------------------------------- the manifest, and units


def test_a_manifest_of_recordings_is_one_of_the_projects(tmp_path: Path) -> None:
    path = stereo(tmp_path / "there" / "a.wav")
    assert write(tmp_path / "here" / "manifest.jsonl", [Recording(path, 0, SAID)]) == 1
    (clip,) = manifest.read(tmp_path / "here" / "manifest.jsonl", HZ)
    assert clip.path.resolve() == path
    assert clip.duration_s == 4.0
    assert Dialogue.from_json(clip.rest["dialogue"]) == SAID
    (tmp_path / "b.wav").write_text("noise")
    mono = tmp_path / "mono.wav"
    soundfile.write(mono, np.zeros(100), HZ)
    for bad, why in ((tmp_path / "b.wav", "convert it"), (mono, "has 1 channels")):
        with pytest.raises(ValueError, match=why):
            write(tmp_path / "here" / "manifest.jsonl", [Recording(bad, 0, SAID)])
    assert len(manifest.read(tmp_path / "here" / "manifest.jsonl")) == 1


@pytest.mark.parametrize("user_channel", [0, 1])
def test_a_conversation_is_encoded_with_the_user_left(tmp_path: Path, user_channel: int) -> None:
    """Whichever channel the user is on; utterances of one speaker in a row are one turn, and a transcript may end
    after its sound."""
    late = SAID.add(Utterance("assistant", 3.8, 4.5, "well"))
    write(tmp_path / "manifest.jsonl", [Recording(stereo(tmp_path / "a.wav"), user_channel, late)])
    (clip,) = manifest.read(tmp_path / "manifest.jsonl")
    found = encoded(clip, codec().tokenizer)
    hz = codec().unit_hz
    assert len(found.user) == 4 * hz
    assert [(one.speaker, one.turn) for one in found.stretches] == [
        ("user", 0), ("assistant", 1), ("assistant", 1), ("user", 2), ("assistant", 3),
    ]  # fmt: skip
    for one, said in zip(found.stretches, late, strict=True):
        assert one.start == pytest.approx(said.start_s * hz, abs=1)
        assert one.start + len(one.units) == pytest.approx(min(4.0, said.end_s) * hz, abs=1)
    own, user = channels(found, codec().silence[0])
    assert len(own) == len(user) == len(found.user)
    assert [speaker for speaker, _ in turns_of(found)] == [1, 0, 1, 0]
    other = encoded(manifest.Clip(clip.path, rest={**clip.rest, "user_channel": 1 - user_channel}), codec().tokenizer)
    assert other.user != found.user
