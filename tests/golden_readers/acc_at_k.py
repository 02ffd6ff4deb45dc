"""Taking and yielding the turn within K tokens: hand-worked lanes, and the row of a table that they make."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from duologue.evaluate.acc_at_k import Switch, accuracy, takes_turn, yields


def cases(path: Path) -> None:
    golden = json.loads(path.read_text())
    kinds: dict[str, list[Switch]] = {"assistant_takes_turn": [], "assistant_yields": []}
    for case in golden["cases"]:
        switch = switched(case, golden)
        kinds[case["metric"]].append(switch)
        expected = {name: case[name] for name in written(switch, case) if name in case}
        assert written(switch, case) == expected, case["name"]
    for kind, expected in golden["summary"].items():
        row = accuracy(kinds[kind], golden["ks"])
        assert row.n == expected["n"]
        assert row.success == pytest.approx(expected["success"], abs=1e-4)
        assert row.mean_response_ms == pytest.approx(expected["mean_response_ms"])
        for reading in ("exact", "within"):
            shares = {str(k): share for k, share in getattr(row, reading).items()}
            assert shares == pytest.approx(expected[reading], abs=1e-4), (kind, reading)


def switched(case: dict[str, Any], golden: dict[str, Any]) -> Switch:
    lane = np.concatenate([np.full(count, token == "a") for token, count in case["assistant_runs"]])
    if case["metric"] == "assistant_takes_turn":
        return takes_turn(lane, case["last_user_token"], golden["token_ms"], golden["ks"])
    return yields(lane, case["first_user_token"], golden["token_ms"], golden["ks"])


def written(switch: Switch, case: dict[str, Any]) -> dict[str, Any]:
    row: dict[str, Any] = {"success": switch.success, "response_ms": switch.response_ms}
    row |= {name: {str(k): hit for k, hit in getattr(switch, name).items()} for name in ("exact", "within")}
    if case["metric"] == "assistant_takes_turn":
        return row | {"onset_k": switch.switch_k, "early": switch.early}
    return row | {"stop_k": switch.switch_k}


READERS = {"acc_at_k.json": cases}
