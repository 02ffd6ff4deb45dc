"""The cascade's hand-worked cases: utterances, pieces of a reply, and what stays in the history after a barge-in."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np

from duologue.dialogue import Message
from duologue.engines.sentences import SentenceCutter
from duologue.floor import Floor, Piece, is_backchannel
from duologue.session import Word
from duologue.sound.frames import Framer
from duologue.sound.utterance import Segmenter, UtteranceSettings
from duologue.sound.vad import WINDOW_MS


def vad_traces(path: Path) -> None:
    golden = json.loads(path.read_text())
    for trace in golden["traces"]:
        assert segments(trace) == trace["expected"], trace["name"]
    for case in golden["packets"]:
        framer = Framer(golden["chunk_samples"])
        frames = sum(len(framer.push(np.zeros(n, np.float32))) for n in case["packet_samples"])
        assert (frames, framer.left_over) == (case["chunks_expected"], case["samples_left_over"])


def segments(trace: dict[str, Any]) -> list[dict[str, Any]]:
    given = trace["parameters"]
    segmenter = Segmenter(
        UtteranceSettings(
            threshold=given["threshold"],
            min_silence_ms=given["min_silence_ms"],
            min_speech_ms=given["min_speech_ms"],
            max_speech_ms=given["max_speech_ms"],
            pre_roll_ms=given["pre_roll_chunks"] * WINDOW_MS,
            post_roll_ms=given["post_roll_chunks"] * WINDOW_MS,
        )
    )
    found = [segmenter.push(p) for p, count in trace["probabilities"] for _ in range(count)] + [segmenter.flush()]
    rows = [dataclasses.asdict(segment) for segment in found if segment is not None]
    return [{("voiced_chunks" if k == "voiced_windows" else k): v for k, v in row.items()} for row in rows]


def sentences(path: Path) -> None:
    for case in json.loads(path.read_text())["cases"]:
        text, accepted = case["text"], [case["pieces"], *case.get("also_accepted", [])]
        results = [pieces(text, size) for size in (1, 2, 3, 7, max(1, len(text)))]
        assert results[0] in accepted, text
        assert all(result == results[0] for result in results), text


def pieces(text: str, size: int) -> list[str]:
    cutter = SentenceCutter()
    out = [piece for i in range(0, len(text), size) for piece in cutter.push(text[i : i + size])]
    return out + cutter.flush()


def barge_in(path: Path) -> None:
    golden = json.loads(path.read_text())
    scripts = next(v for v in golden.values() if isinstance(v, list) and v and "events" in v[0])
    for script in scripts:
        expected = {"resumes": []} | script["expected"]
        outcome = play(script, golden["settings"])
        assert {key: outcome[key] for key in expected} == expected, script["name"]


def play(script: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """Run a script of events against the floor, as a session would."""
    history = [Message("user", text) for text in script["user"]]
    floor = Floor(script["reply_sample_rate"], history, settings["ack_grace_ms"])
    replies, said = iter(script["replies"]), iter(script.get("said", []))
    outcome: dict[str, Any] = {"stops": [], "resumes": [], "heard": {}}
    begin(floor, next(replies))
    onset_ms: float | None = None

    def confirm(now_ms: float) -> None:
        nonlocal onset_ms
        if onset_ms is not None and now_ms >= onset_ms + settings["confirm_ms"]:
            stopped = floor.stop(onset_ms + settings["confirm_ms"])
            if stopped is not None:
                outcome["stops"].append({"at_ms": onset_ms + settings["confirm_ms"], "turn": stopped})
            onset_ms = None

    def user_said(text: str) -> None:
        if floor.turn is not None:
            outcome["heard"][str(floor.turn)] = len(floor.heard_text)
        floor.user_said(text)
        if (reply := next(replies, None)) is not None:
            begin(floor, reply)

    for event in script["events"]:
        confirm(event["at_ms"])
        if event["kind"] == "played":
            floor.played(event["turn"], event["samples"], event["at_ms"])
        elif event["kind"] == "user_speech" and event["on"]:
            onset_ms, spoken_ms = event["at_ms"], event["at_ms"] + settings["confirm_ms"]
        elif event["kind"] == "user_speech":
            onset_ms = None
            if event["at_ms"] >= spoken_ms and (text := next(said, None)) is not None:
                user_said(text)
        elif event["kind"] == "transcript" and is_backchannel(event["text"], settings["backchannels"]):
            turn, at_ms = floor.turn, event["at_ms"]
            outcome["resumes"].append({"at_ms": at_ms, "turn": turn, "from_samples": floor.resume()})
        elif event["kind"] == "transcript":
            user_said(event["text"])
    outcome["history"] = [written(message) for message in floor.history]
    return outcome


def begin(floor: Floor, reply: dict[str, Any]) -> None:
    turn = reply["turn"]
    floor.begin(turn)
    for piece in reply["pieces"]:
        words = tuple(Word(*word) for word in piece.get("words", ()))
        floor.make(turn, Piece(reply["text"][piece["start"] : piece["end"]], piece["samples"], words))
    floor.sent(turn, sum(piece["samples"] for piece in reply["pieces"]))
    if reply["pieces"]:
        floor.complete(turn)


def written(message: Message) -> dict[str, Any]:
    row = {"role": message.role, "text": message.text}
    return row | {"interrupted": message.interrupted} if message.role == "assistant" else row


READERS = {"vad_traces.json": vad_traces, "sentences.json": sentences, "barge_in.json": barge_in}
