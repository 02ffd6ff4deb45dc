"""OmniFlatten's hand-worked sequences: alignment samples, and four, three and two streams in one lane."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from duologue.data.timed import TimedTurn
from duologue.layout import Grid, Hear, Layout, unweave, weave
from duologue.systems import omni_flatten
from layouts import TAGS as IDS

TAGS = dict(zip((*omni_flatten.TAG_TOKENS[:6], "-", "_"), IDS, strict=True))
KINDS = {"s": 1000, "t": 2000, "u": 3000, "q": 4000, "w": 5000, "a": 6000, "b": 7000, "x": 8000}


def ids(names: list[str]) -> list[int]:
    """Ids of the short names: tags and silences, and a letter with a number."""
    return [TAGS[name] if name in TAGS else KINDS[name[0]] + int(name[1:]) for name in names]


def check(layout: Layout, streams: dict[str, Any], flat: str, mask: str) -> Grid:
    """The streams, woven, are the golden's `flat` and `mask`, and come back from it."""
    grid = weave(layout, streams)
    assert grid.tokens.ravel().tolist() == ids(flat.replace("|", " ").split())
    assert grid.said.ravel().tolist() == [digit == "1" for digit in mask if digit in "01"]
    back = unweave(layout, grid.tokens)
    assert all(np.array_equal(back[name], streams[name]) for name in streams)
    return grid


def alignment(path: Path) -> None:
    for case in json.loads(path.read_text())["cases"]:
        layout = omni_flatten.alignment(case["kind"], IDS)
        speech, text = ids([*case["speech"], "[EOS]"]), ids([*case["text"], "[EOT]"])
        check(layout, {"speech": speech, "text": text}, case["flat"], case["mask"])


def by_turn(path: Path) -> None:
    for case in json.loads(path.read_text())["cases"]:
        streams: dict[str, list[int]] = {"user": [], "heard": [], "text": [], "speech": []}
        for turn in case["turns"]:
            speech, text = ("user", "heard") if turn["who"] == "user" else ("speech", "text")
            streams[speech] += ids([*turn["speech"], "[EOS]"])
            streams[text] += ids([*turn["text"], "[EOT]"])
        check(omni_flatten.half_duplex(IDS), streams, case["flat"], case["mask"])
        check(omni_flatten.half_duplex(IDS, user_text=Hear), streams, case["flat"], case["mask_user_channel"])


def by_chunk(path: Path) -> None:
    for case in json.loads(path.read_text())["cases"]:
        user, assistant = ([timed(turn) for turn in case[who]] for who in ("user", "assistant"))
        config = omni_flatten.Config(case["speech_chunk"], case.get("text_chunk") or 0)
        streams = omni_flatten.streams(config, IDS, user, assistant, case["length"])
        for name, expected in case["streams"].items():
            assert streams[name].tolist() == ids(expected.split()), (case["name"], name)
        check(omni_flatten.full_duplex(config), streams, case["flat"], case["mask"])


def timed(turn: dict[str, Any]) -> TimedTurn:
    return TimedTurn(turn["start"], tuple(ids(turn["speech"])), tuple(ids(turn.get("text", []))), turn.get("cut"))


READERS = {
    "alignment.json": alignment,
    "four_streams.json": by_turn,
    "three_streams.json": by_chunk,
    "two_streams.json": by_chunk,
}
