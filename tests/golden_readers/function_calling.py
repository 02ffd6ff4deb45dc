"""Function calling: the reference scorers' verdict on each row, and what it reads out of the model's text."""

from __future__ import annotations

import json
from pathlib import Path

from duologue.evaluate.function_calling import judge_row
from duologue.model.tagged_calls import read_calls


def verdicts(path: Path) -> None:
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert rows
    for row in rows:
        verdict = judge_row(row, row["scorer"])
        assert verdict.right == row["verdict"], (row["id"], row["what"], verdict)
        if verdict.fault != "unreadable":
            calls = [{call.name: call.parsed()} for call in read_calls(row["predict"])]
            assert calls == row["parsed_calls"], row["id"]


READERS = {"function_calling.jsonl": verdicts}
