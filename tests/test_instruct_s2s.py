"""Spoken instructions: what a mind or the desk writes, what is dropped and why, and going on after a kill."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from random import Random

import numpy as np
import pytest

from conftest import need
from duologue.engines import EngineError
from duologue.engines.llm import OpenAIChat
from duologue.sound.wav import read_channels
from endpoint import Endpoint
from test_recipes import recipe

ASKED = ["What is 12 plus 7?", "How many legs does a spider have?", "Order a latte.", "Why is the sky blue?"]


def test_the_desk_asks_and_answers_without_a_model(tmp_path: Path) -> None:
    need(shutil.which("flite") is not None, "flite")
    made = recipe("instruct_s2s")
    rows = made.make(tmp_path, ASKED, made.ByDesk(), workers=2)
    assert [row["id"] for row in rows] == [0, 1]
    assert rows[0]["text"].endswith("what is twelve plus seven")
    assert rows[0]["answer"] == "Twelve plus seven is nineteen."
    for row in rows:
        assert min(len(read_channels(tmp_path / row[name], 16_000)) for name in ("path", "answer_path")) > 8000
    dropped = [json.loads(line) for line in (tmp_path / "dropped.jsonl").read_text().splitlines()]
    assert [(row["id"], row["dropped"]) for row in dropped] == [
        (2, "the desk does not answer it by words alone"),
        (3, "the desk does not answer it by words alone"),
    ]


def test_what_is_done_is_not_done_again_and_the_rest_is_the_same(tmp_path: Path) -> None:
    need(shutil.which("flite") is not None, "flite")
    made = recipe("instruct_s2s")
    many = ASKED * 12
    whole = made.make(tmp_path / "whole", many, made.ByDesk(), workers=3)
    made.make(tmp_path / "cut", many, made.ByDesk(), workers=1)
    (tmp_path / "cut" / "manifest.jsonl").unlink()
    second = tmp_path / "cut" / "blocks" / "0000032.jsonl"
    second.unlink()
    kept = (tmp_path / "cut" / "blocks" / "0000000.jsonl").stat().st_mtime_ns
    assert made.make(tmp_path / "cut", many, made.ByDesk(), workers=1) == whole
    assert (tmp_path / "cut" / "blocks" / "0000000.jsonl").stat().st_mtime_ns == kept
    for path in (tmp_path / "whole" / "audio").iterdir():
        assert path.read_bytes() == (tmp_path / "cut" / "audio" / path.name).read_bytes()


def test_more_instructions_are_added_and_others_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = recipe("instruct_s2s")
    monkeypatch.setattr(made, "speak", lambda manner, text: np.zeros(160, np.float32))
    many = ASKED[:2] * 50
    made.make(tmp_path, many[:40], made.ByDesk(), workers=1)
    rows = made.make(tmp_path, many, made.ByDesk(), workers=1)
    assert [(row["id"], row["instruction"]) for row in rows] == [*enumerate(many)]
    assert made.make(tmp_path, many[:40], made.ByDesk(), workers=1) == rows[:40]
    with pytest.raises(
        ValueError, match=r"holds row 1 with the instruction .*spider have\?', not 'Why .*another folder"
    ):
        made.make(tmp_path, ["What is 12 plus 7?", "Why is the sky blue?"], made.ByDesk(), workers=1)


def test_what_an_engine_failed_at_is_done_in_the_next_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = recipe("instruct_s2s")
    monkeypatch.setattr(made, "speak", lambda manner, text: np.zeros(160, np.float32))

    class Limited(made.ByDesk):  # type: ignore[misc, name-defined]
        left = 3

        def answer(self, question: str) -> str:
            self.left -= 1
            if self.left < 0:
                raise EngineError("rate limit")
            return str(super().answer(question))

    many = ASKED[:2] * 50
    with pytest.raises(EngineError, match=r"61 rows could not be made \(rate limit\): .* run this again"):
        made.make(tmp_path, many, Limited(), workers=1)
    assert len((tmp_path / "manifest.jsonl").read_text().splitlines()) == 3
    assert (tmp_path / "dropped.jsonl").read_text() == ""
    rows = made.make(tmp_path, many, made.ByDesk(), workers=1)
    assert [row["id"] for row in rows] == [*range(100)]


def test_a_mind_is_asked_twice_and_read_leniently() -> None:
    made, served = recipe("instruct_s2s"), Endpoint()
    with served.running() as url:
        writer = made.ByMind(OpenAIChat("m", base_url=url, api_key="k"))
        served.deltas = [{"content": 'Sure: {"question": '}, {"content": '"hey, what is two plus two"} .'}]
        assert writer.question("2+2?", Random(0)) == "hey, what is two plus two"
        served.deltas = [{"content": '{"response": "Four."}'}]
        assert writer.answer("hey, what is two plus two") == "Four."
        assert [message["content"] for message in served.asked[1]["messages"]][1] == "hey, what is two plus two"
        served.deltas = [{"content": "Four."}]
        with pytest.raises(made.DroppedError, match="no JSON with a 'response'"):
            writer.answer("hey, what is two plus two")
        assert len(served.asked) == 2 + made.TRIES


@pytest.mark.parametrize(
    ("text", "fault"),
    [("It is 4.", "figures '4'"), ("word " * 121, "121 words"), ("...", "nothing to say"), ("a {b}", "cannot be said")],
)
def test_what_cannot_be_spoken_is_dropped(text: str, fault: str) -> None:
    assert fault in recipe("instruct_s2s").text_fault(text)


def test_instructions_are_read_from_the_formats_that_are_about(tmp_path: Path) -> None:
    records = [
        {"instruction": "Add.", "input": "1, 2"},
        {"data": ["First turn?", "Answer.", "More?"]},
        {"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "Asked?"}]},
        {"conversation": [{"from": "human", "text": "Said?"}]},
    ]
    (tmp_path / "list.json").write_text(json.dumps(records))
    (tmp_path / "lines.jsonl").write_text("\n".join(map(json.dumps, records)) + "\n")
    found = recipe("instruct_s2s").instructions
    wanted = ["Add.\n1, 2", "First turn?", "Asked?", "Said?"]
    assert list(found(tmp_path / "list.json")) == list(found(tmp_path / "lines.jsonl")) == wanted
    (tmp_path / "none.json").write_text(json.dumps([{"title": "x"}]))
    with pytest.raises(ValueError, match=r"record 0 has no instruction, only \['title'\]"):
        list(found(tmp_path / "none.json"))
