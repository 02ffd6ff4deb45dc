"""OmniFlatten's hand-worked sequences: alignment samples, and four, three and two streams in one lane."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

import layouts
from duologue.layout import Grid, Hear, Layout, unweave, weave
from timed_turns import TimedTurn, three_streams, two_streams

TAGS = {"[SOS]": layouts.SOS, "[EOS]": layouts.EOS, "[SOT]": layouts.SOT, "[EOT]": layouts.EOT}
TAGS |= {"[ASR]": layouts.ASR, "[TTS]": layouts.TTS, "-": 6, "_": 7}
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
        layout = layouts.omni_alignment({"asr": layouts.ASR, "tts": layouts.TTS}[case["kind"]])
        speech, text = ids([*case["speech"], "[EOS]"]), ids([*case["text"], "[EOT]"])
        check(layout, {"speech": speech, "text": text}, case["flat"], case["mask"])


def by_turn(path: Path) -> None:
    for case in json.loads(path.read_text())["cases"]:
        streams: dict[str, list[int]] = {"user": [], "user_text": [], "text": [], "speech": []}
        for turn in case["turns"]:
            speech, text = ("user", "user_text") if turn["who"] == "user" else ("speech", "text")
            streams[speech] += ids([*turn["speech"], "[EOS]"])
            streams[text] += ids([*turn["text"], "[EOT]"])
        check(layouts.omni_four(), streams, case["flat"], case["mask"])
        check(layouts.omni_four(user_text=Hear), streams, case["flat"], case["mask_user_channel"])


def by_chunk(path: Path) -> None:
    for case in json.loads(path.read_text())["cases"]:
        user, assistant = ([timed(turn) for turn in case[who]] for who in ("user", "assistant"))
        length, speech, text = case["length"], case["speech_chunk"], case.get("text_chunk")
        silences = ids(["-", "_"])
        if text is None:
            layout, streams = (
                layouts.omni_two(speech),
                two_streams(user, assistant, length, speech, silences[0]),
            )
        else:
            layout = layouts.omni_three(speech, text)
            streams = three_streams(user, assistant, length, speech, text, *silences)
        for name, expected in case["streams"].items():
            assert streams[name].tolist() == ids(expected.split()), (case["name"], name)
        check(layout, streams, case["flat"], case["mask"])


def timed(turn: dict[str, Any]) -> TimedTurn:
    return TimedTurn(turn["start"], tuple(ids(turn["speech"])), tuple(ids(turn.get("text", []))), turn.get("cut"))


READERS = {
    "alignment.json": alignment,
    "four_streams.json": by_turn,
    "three_streams.json": by_chunk,
    "two_streams.json": by_chunk,
}
