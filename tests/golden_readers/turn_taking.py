"""Hand-worked cases of turn-taking: events, rates and distances, detection, and the scores of Full-Duplex-Bench.

Channel `a` is read as the user, `b` as the assistant; times come in milliseconds, in the bench's cases in seconds.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from duologue.evaluate import full_duplex_bench as bench
from duologue.evaluate import full_duplex_bench_official as official
from duologue.evaluate import full_duplex_bench_table as table
from duologue.evaluate.delay import Response, Yielding
from duologue.evaluate.detection import detect
from duologue.evaluate.distribution import pearson, wasserstein_1
from duologue.evaluate.timing import Span, Tracks
from duologue.evaluate.turn_statistics import rates
from duologue.evaluate.turn_taking import (
    Events,
    SpokenTurn,
    Transfer,
    events,
    onset_order,
    without_backchannels,
)

CHANNEL = {"user": "a", "assistant": "b"}


# ---------------------------------------------------------------- events, rates, distances


def two_channels(path: Path) -> None:
    golden = json.loads(path.read_text())
    assert golden["cases"]
    for case in golden["cases"]:
        assert written(happened(case)) == case["expect"], case["name"]


def happened(case: dict[str, Any]) -> Events:
    return events(Tracks(spans(case["a"]), spans(case["b"]), case["duration_ms"]))


def spans(pairs: list[list[int]]) -> tuple[Span, ...]:
    return tuple(Span(*pair) for pair in pairs)


def written(found: Events) -> dict[str, Any]:
    left = without_backchannels(found)
    return {
        "ipu_a": pairs(found.ipus["user"]),
        "ipu_b": pairs(found.ipus["assistant"]),
        "pauses": [{"span": pair(p.span), "speaker": "".join(CHANNEL[s] for s in p.speakers)} for p in found.pauses],
        "gaps": [{"span": pair(g.span), "from": CHANNEL[g.before], "to": CHANNEL[g.after]} for g in found.gaps],
        "overlaps": pairs(found.overlaps),
        "edge_silence": pairs(found.edge_silence),
        "turns": turns(found.turns),
        "floor": turns(found.floor_turns),
        "fto": [{"ms": t.offset_ms, "from": CHANNEL[t.before], "to": CHANNEL[t.after]} for t in found.transfers],
        "backchannels": turns(found.backchannels),
        "fto_without_backchannels": offsets(left.transfers),
        "fto_onset_order": offsets(onset_order(found)),
        "fto_onset_order_without_backchannels": offsets(onset_order(left)),
    }


def pair(span: Span) -> list[int]:
    return [span.start_ms, span.end_ms]


def pairs(found: tuple[Span, ...]) -> list[list[int]]:
    return [pair(span) for span in found]


def turns(found: tuple[SpokenTurn, ...]) -> list[dict[str, Any]]:
    return [{"speaker": CHANNEL[t.speaker], "span": pair(t.span)} for t in found]


def offsets(found: tuple[Transfer, ...]) -> list[int]:
    return [t.offset_ms for t in found]


def figures(path: Path) -> None:
    golden = json.loads(path.read_text())
    for case in golden["wasserstein_1"]:
        assert wasserstein_1(case["a"], case["b"]) == near(case["expect"]), case["why"]
    for case in golden["pearson"]:
        assert pearson(case["x"], case["y"]) == near(case["expect"]), case["why"]
    cases = {c["name"]: c for c in json.loads(path.with_name("events.json").read_text())["cases"]}
    for case in golden["rates"]:
        ours = rates([happened(cases[case["case"]])])
        for kind, expected in case["expect"].items():
            row = dataclasses.asdict(ours[kind]) | {"mean_s": ours[kind].spread_s.mean}
            assert {name: row[name] for name in expected} == near(expected), (case["case"], kind)


def near(expected: Any, within: float = 1e-6) -> Any:
    return pytest.approx(expected, abs=within)


# ---------------------------------------------------------------- detection


def event_scoring(path: Path) -> None:
    for case in json.loads(path.read_text())["cases"]:
        score = detect(case["positives_ms"], spans(case["negatives_ms"]), case["predictions_ms"])
        counts = {"tp": score.found, "fn": score.missed, "fp": score.false, "tn": score.kept}
        assert counts | {"latency_ms": list(score.latencies_ms)} == case["expect"], case["name"]


# ---------------------------------------------------------------- Full-Duplex-Bench


def full_duplex_bench(path: Path) -> None:
    golden = json.loads(path.read_text())
    readers = (pause, smooth_turn, interruption, backchannel, timing)
    assert set(golden) == {reader.__name__ for reader in readers}
    for reader in readers:
        for case in golden[reader.__name__]:
            theirs, ours = reader(case)
            assert theirs == figures_near(case["official"]), (reader.__name__, case["name"], "official")
            assert ours == figures_near(case["corrected"]), (reader.__name__, case["name"], "corrected")


def figures_near(row: dict[str, Any]) -> dict[str, Any]:
    """What is expected, numbers within their tolerance; `crash` says where the benchmark's scorer fails."""
    within = {name: 1e-5 if name == "js_bits" else 1e-6 for name in row}
    return {
        name: near(value, within[name]) if isinstance(value, float) else value
        for name, value in row.items()
        if name != "crash"
    }


def words(chunks: list[dict[str, Any]]) -> tuple[bench.TimedWord, ...]:
    return bench.words_of({"text": "", "chunks": chunks})


def pause(case: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    scores = table.pause(words(case["chunks"]), case["pauses"], case["user_end"])
    return dict(scores.official), dict(scores.corrected)


def smooth_turn(case: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    said = words(case["chunks"])
    return takeover(said, case["turn_end"]), answer(bench.smooth_turn(said, case["turn_end"]))


def interruption(case: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    theirs = takeover(words(case["chunks_after_interruption"]), case["interruption"][1])
    gives_way, answers = bench.interruption(words(case["chunks"]), Span.of_seconds(*case["interruption"]))
    return theirs, stop(gives_way) | answer(answers)


def backchannel(case: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    rest = words(case["chunks"]), case["duration_s"], case["reference"]
    score = bench.backchannel([Span.of_seconds(*s) for s in case["segments"]], *rest)
    row = {"labels": list(score.labels), "tor": score.tor, "backchannels": score.backchannels}
    theirs = official.backchannel(case["segments"], *rest)
    return dataclasses.asdict(theirs), row | {"per_minute": score.per_minute, "js_bits": score.js_bits}


def timing(case: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    theirs = official.timing(case["user_segments"], case["model_segments"])
    segments = [Span.of_seconds(*s) for s in case["model_segments"]]
    gives_way, answers = bench.timing(segments, Span.of_seconds(*case["event"]))
    row = {name: [list(s) for s in found] for name, found in dataclasses.asdict(theirs).items()}
    return row, stop(gives_way) | answer(answers)


def takeover(said: tuple[bench.TimedWord, ...], end_s: float) -> dict[str, Any]:
    return {"tor": official.turn_tor(said), "latency_s": official.latency_s(said, end_s)}


def answer(found: Response) -> dict[str, Any]:
    latency_s = None if found.latency_ms is None else found.latency_ms / 1000
    return {"tor": found.verdict == "on_time", "latency_s": latency_s, "verdict": found.verdict}


def stop(found: Yielding) -> dict[str, Any]:
    stop_s = None if found.stop_ms is None else found.stop_ms / 1000
    return {"was_talking": found.was_talking, "stop_s": stop_s, "yielded": found.yielded}


READERS = {
    "events.json": two_channels,
    "metrics.json": figures,
    "event_scoring.json": event_scoring,
    "full_duplex_bench.json": full_duplex_bench,
}
