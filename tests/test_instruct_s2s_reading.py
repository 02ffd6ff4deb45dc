"""Spoken instructions in the layouts that are about: turns, sound, and units that are not what they seem."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from duologue.data.encode import units_of
from duologue.sound.wav import SoundError, write
from duologue.systems.llama_omni_stages import answering_example
from small_llama import tiny
from small_units import codec
from test_llama_omni import sound
from test_recipes import recipe


def public(turns: int = 2) -> list[dict[str, Any]]:
    """A record as it is published."""
    found: list[dict[str, Any]] = []
    for number in range(turns):
        found.append({"from": "human", "speech": f"en/{number}-user.wav", "text": "What is two?", "unit": None})
        answer = {"from": "gpt", "speech": f"en/{number}-assistant.wav", "text": "Two is two.", "unit": "<2957><60>"}
        found.append(answer)
    return found


def test_the_public_layout_and_our_own_are_read(tmp_path: Path) -> None:
    read = recipe("instruct_s2s_reading").conversations
    own = {"id": 3, "text": "what", "path": "audio/q.flac", "answer": "two", "answer_path": "audio/a.flac"}
    (tmp_path / "public.json").write_text(json.dumps([{"id": "en_3", "conversation": public()}, public(1)]))
    (tmp_path / "own.jsonl").write_text(json.dumps(own) + "\n")
    two, one = read(tmp_path / "public.json")
    assert [(turn.asked_path, turn.answer_path) for turn in two] == [
        ("en/0-user.wav", "en/0-assistant.wav"),
        ("en/1-user.wav", "en/1-assistant.wav"),
    ]
    assert two[1].asked == "What is two?"
    assert two[1].answer == "Two is two."
    assert one == two[:1]
    ((mine,),) = read(tmp_path / "own.jsonl")
    assert (mine.asked, mine.asked_path, mine.answer, mine.answer_path, mine.unit) == (
        *("what", "audio/q.flac", "two", "audio/a.flac"),
        None,
    )


@pytest.mark.parametrize("wrong", [public()[1:], public()[:3], [], {"id": 1}, [{"from": "human"}]])
def test_another_layout_is_refused(tmp_path: Path, wrong: Any) -> None:
    (tmp_path / "wrong.json").write_text(json.dumps([{"conversation": public()}, wrong]))
    with pytest.raises(ValueError, match="record 1 is no spoken conversation"):
        list(recipe("instruct_s2s_reading").conversations(tmp_path / "wrong.json"))


def test_tokens_of_cosyvoice_are_not_taken_for_units() -> None:
    units = recipe("instruct_s2s_reading").hubert_units
    assert units("<12><999><0>") == units("12 999 0") == (12, 999, 0)
    with pytest.raises(ValueError, match=r"unit 2957, .*tokens of CosyVoice2 \(0 to 6560\).*extract units anew"):
        units(public()[1]["unit"])
    with pytest.raises(ValueError, match="give numbers"):
        units("twelve")


def test_what_is_read_can_be_learnt_from(tmp_path: Path) -> None:
    """Units are those of the answers' sound, whatever the file says."""
    reading, model, tokenizer = recipe("instruct_s2s_reading"), tiny(), codec().tokenizer
    (tmp_path / "sound" / "en").mkdir(parents=True)
    for number in range(2):
        for who, seed in (("user", number), ("assistant", 9 + number)):
            write(tmp_path / "sound" / "en" / f"{number}-{who}.wav", 0.3 * sound(0.5, seed), 16_000)
    (tmp_path / "data.json").write_text(json.dumps([{"conversation": public()}]))

    def units(audio: np.ndarray) -> list[int]:
        return [int(unit) for unit in units_of(audio, tokenizer)]

    (conversation,) = reading.lessons(tmp_path / "data.json", tmp_path / "sound", model.ears, units)
    assert [exchange.answer for exchange in conversation] == ["Two is two."] * 2
    assert all(len(exchange.units) == 13 and max(exchange.units) < 60 for exchange in conversation)
    example = answering_example(model, conversation)
    assert example["said"].sum() > 0
    assert len(example["features"]) == sum(len(exchange.asked) for exchange in conversation)
    (tmp_path / "sound" / "en" / "1-user.wav").write_bytes(b"no sound")
    with pytest.raises(SoundError):
        list(reading.lessons(tmp_path / "data.json", tmp_path / "sound", model.ears, units))
