"""Records of VoiceAssistant-400K's layout: written, read, learnt from; what is malformed is named."""

from __future__ import annotations

import json
import sys
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from duologue.engines import EngineError
from duologue.sound import Audio
from duologue.sound.wav import read, write
from duologue.synthesis.voice import Manner
from duologue.systems.mini_omni import BOOKS, Config
from duologue.units.codec import encode_whole
from duologue.units.nano_ears import EarsConfig, NanoEars, WordEars
from small_mini import CODES, WORDS, levels
from test_recipes import recipe

PAIRS = [("what is two plus two", "four."), ("what is seven", "seven is seven."), ("...", "four"), ("what", "two")]
CODE = "# 0 1 2 3 4 5 6 # 7 8 9 10 11 0 1"


def tone(seed: int = 0) -> Audio:
    return np.random.default_rng(seed).normal(0, 0.1, 8000).astype(np.float32)


def spoken(manner: Manner, text: str) -> Audio:
    """Another sound for each text and voice."""
    return tone(sum(map(ord, manner.voice + text)))


def ears() -> WordEars:
    sizes = EarsConfig(("two", "four"), 64, 1, n_mels=20, front_width=16, front_blocks=1, front_taps=3)
    return WordEars(NanoEars(sizes), torch.randn(2, 64, generator=torch.Generator().manual_seed(4))).eval()


@pytest.fixture
def making(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    made = recipe("voice_assistant")
    monkeypatch.setattr(made, "speak", spoken)
    return made


def line(**other: Any) -> dict[str, Any]:
    return {"question": "what", "question_audio": "q.wav", "answer": "two", "answer_snac": CODE, "index": "3"} | other


# ---------------------------------------------------------------- written


def test_pairs_become_records_that_can_be_read(tmp_path: Path, making: ModuleType) -> None:
    rows = making.make(tmp_path, PAIRS, levels())
    assert [row["id"] for row in rows] == [0, 1, 3]
    (dropped,) = map(json.loads, (tmp_path / "blocks" / "dropped.jsonl").read_text().splitlines())
    assert (dropped["id"], dropped["dropped"]) == (2, "question: there is nothing to say")
    for record, row in zip(recipe("voice_assistant_reading").records(tmp_path, CODES), rows, strict=True):
        assert (record.question, record.answer) == PAIRS[row["id"]]
        assert np.array_equal(record.sound, read(tmp_path / row["question_audio"], 16_000))
        said = torch.from_numpy(spoken(Manner("flite:slt"), record.answer))[None]
        assert np.array_equal(record.codes, encode_whole(levels(), said)[0].numpy())


def test_it_goes_on_where_it_was_stopped(tmp_path: Path, making: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(manner: Manner, text: str) -> Audio:
        if text == "two":
            raise EngineError("flite is not there")
        return spoken(manner, text)

    monkeypatch.setattr(making, "speak", failing)
    with pytest.raises(EngineError, match=r"1 rows could not be made \(flite is not there\)"):
        making.make(tmp_path / "cut", PAIRS, levels())
    assert len((tmp_path / "cut" / "records.jsonl").read_text().splitlines()) == 2
    monkeypatch.setattr(making, "speak", spoken)
    assert making.make(tmp_path / "cut", PAIRS, levels()) == making.make(tmp_path / "whole", PAIRS, levels())
    more = [*PAIRS, *PAIRS]
    assert len(making.make(tmp_path / "cut", more, levels())) == 6
    with pytest.raises(ValueError, match="holds row 0 with the question 'what is two plus two', not 'what is seven'"):
        making.make(tmp_path / "cut", PAIRS[1:], levels())
    with pytest.raises(ValueError, match="split_name 'flite:slt, codec .*choose another folder"):
        making.make(tmp_path / "cut", PAIRS, levels(), "flite:rms")


def test_pairs_are_read_from_lists_and_lines(tmp_path: Path, making: ModuleType) -> None:
    named = {"question": "what is two", "answer": "two"}
    (tmp_path / "list.json").write_text(json.dumps([["what", "two"], named]))
    (tmp_path / "lines.jsonl").write_text(json.dumps(["what", "two"]) + "\n" + json.dumps(named) + "\n")
    found = [*making.pairs(tmp_path / "list.json")]
    assert found == [*making.pairs(tmp_path / "lines.jsonl")] == [("what", "two"), ("what is two", "two")]
    assert all(next(making.pairs(None)))
    (tmp_path / "list.json").write_text(json.dumps([named, {"question": "what"}]))
    with pytest.raises(ValueError, match="record 1 is no question and answer"):
        list(making.pairs(tmp_path / "list.json"))


# ---------------------------------------------------------------- read


@pytest.mark.parametrize("frames", [1, 3])
def test_codes_are_written_and_read_frame_by_frame(frames: int) -> None:
    reading, codes = recipe("voice_assistant_reading"), np.arange(BOOKS * frames).reshape(BOOKS, frames)
    assert np.array_equal(reading.frames(reading.as_written(codes), 30), codes)
    assert reading.frames(CODE, CODES).tolist() == [[0, 7], [1, 8], [2, 9], [3, 10], [4, 11], [5, 0], [6, 1]]


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"answer_snac": "# 0 1 2 3 4 5 6 # 7 8"}, "frame 1 of answer_snac is '7 8': a frame has 7 codes"),
        ({"answer_snac": "# 0 1 2 3 4 5 6 7"}, "frame 0 of answer_snac"),
        ({"answer_snac": "# 0 1 2 3 4 5 -6"}, "frame 0 of answer_snac"),
        ({"answer_snac": "0 1 2 3 4 5 6"}, "give frames as '# c0 c1"),
        ({"answer_snac": ""}, "give frames as"),
        ({"answer_snac": "# 0 1 2 3 4 5 4095"}, "code 4095, but the codec has 12: these are another codec's"),
        ({"answer_snac": None}, "answer_snac: give text"),
        ({"question_audio": {"path": None, "bytes": b"none"}}, "not a sound file"),
        ({"question_audio": None}, "question_audio None: give the name of a sound file"),
    ],
)
def test_a_record_that_is_none_is_named(wrong: dict[str, Any], complaint: str, tmp_path: Path) -> None:
    write(tmp_path / "q.wav", tone(), 16_000)
    (tmp_path / "some.jsonl").write_text("".join(json.dumps(line()) + "\n" for _ in range(2)))
    found = recipe("voice_assistant_reading")
    assert len(list(found.records(tmp_path, CODES))) == 2
    with pytest.raises(ValueError, match=complaint):
        found._record(line(**wrong), tmp_path, CODES)
    (tmp_path / "some.jsonl").write_text(json.dumps(line()) + "\n" + json.dumps({"question": "what"}))
    with pytest.raises(ValueError, match=r"some\.jsonl: record 1 .*no question_audio and no answer and no answer_snac"):
        list(found.records(tmp_path, CODES))


def test_the_published_layout_is_parquet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found, sound = recipe("voice_assistant_reading"), BytesIO()
    soundfile.write(sound, tone(), 16_000, format="WAV")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train-00000-of-00001.parquet").touch()
    for name in ("pyarrow", "pyarrow.parquet"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match="is parquet, which pyarrow reads: pip install pyarrow"):
        list(found.records(tmp_path, CODES))

    class Batch:
        def to_pylist(self) -> list[dict[str, Any]]:
            return [line(question_audio={"bytes": sound.getvalue(), "path": "1.wav"})]

    class ParquetFile:
        def __init__(self, path: Path) -> None:
            assert path.name.endswith(".parquet")

        def iter_batches(self, **_: Any) -> list[Batch]:
            return [Batch(), Batch()]

    pyarrow, parquet = ModuleType("pyarrow"), ModuleType("pyarrow.parquet")
    parquet.ParquetFile = ParquetFile  # type: ignore[attr-defined]
    pyarrow.parquet = parquet  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pyarrow", pyarrow)
    one, two = found.records(tmp_path, CODES)
    np.testing.assert_allclose(one.sound, tone(), atol=1e-4)
    assert two.codes.shape == (7, 2)
    with pytest.raises(FileNotFoundError, match="holds no records"):
        list(found.records(tmp_path / "nowhere", CODES))


# ---------------------------------------------------------------- learnt from


def test_records_are_learnt_from_in_every_stage(tmp_path: Path, making: ModuleType) -> None:
    making.make(tmp_path, PAIRS, levels())
    hears = ears()
    lessons = list(recipe("voice_assistant_reading").lessons(tmp_path, hears, WORDS, CODES))
    heard = sum(
        len(hears.features(record.sound)) > 0 for record in recipe("voice_assistant_reading").records(tmp_path, CODES)
    )
    assert len(lessons) == heard > 0
    config = Config(len(WORDS), CODES, hears.width, 48, text_marks=8, book_marks=8)
    learnt = recipe("mini_omni_lessons").tasks(config, lessons, [])
    ((one,), *_) = lessons
    assert one.answer == WORDS(PAIRS[0][1]).input_ids
    spoken = [example for example in learnt["multimodal"] if example["said"][:, 0].any()]
    assert len(spoken) >= len(lessons)
    assert any(np.array_equal(example["tokens"][example["said"][:, 0], 0][:-1], one.codes[0]) for example in spoken)
