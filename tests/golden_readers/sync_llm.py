"""SyncLLM: the format by hand-worked cases, examples of the first two stages, calls with scripted guesses."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from duologue.layout import unweave, weave
from duologue.systems.sync_llm import Config, full_duplex, turn_based
from duologue.systems.sync_llm_call import Call
from duologue.systems.sync_llm_examples import sentence_units
from duologue.systems.sync_llm_format import Chunk, decode, encode, read, streams
from layouts import ALPHABET, S0, S1

TAGS = {"S0": S0, "S1": S1}


def ids(tokens: Sequence[int | str]) -> list[int]:
    return [TAGS.get(str(token)) or int(token) for token in tokens]


def woven(chunks: Sequence[Chunk]) -> list[int]:
    """The ids of the chunks, by the layout, which must also read them back."""
    layout, parts = full_duplex(ALPHABET), streams(chunks, ALPHABET)
    grid = weave(layout, parts)
    assert {name: tokens.tolist() for name, tokens in unweave(layout, grid.tokens).items()} == parts
    assert not grid.said[:1].any()
    assert grid.said[1:].all()
    return [int(token) for token in grid.tokens[:, 0]]


def cases(path: Path) -> Iterator[dict[str, Any]]:
    yield from json.loads(path.read_text())["cases"]


def formats(path: Path) -> None:
    for case in cases(path):
        raw, chunk_ms = (case["raw0"], case["raw1"]), case["chunk_ms"]
        parts = [Chunk(tuple(part["0"]), tuple(part["1"])) for part in case["parts"]]
        assert encode(*raw, Config(chunk_ms)) == parts, case["name"]
        for config, expected in ((Config(chunk_ms), case), (Config(chunk_ms, repeats="carried"), case["carry"])):
            tokens = woven(encode(*raw, config))
            assert tokens == ids(expected["tokens"]), case["name"]
            chunks, counts = read(tokens, ALPHABET, config)
            back = decode(chunks, config, silence=0, length=len(raw[0]))
            assert [*back] == [expected["back0"], expected["back1"]], case["name"]
            assert [a == b for a, b in zip(back, raw, strict=True)] == expected["exact"]
            assert not counts.total()
            assert woven(encode(*back, config)) == tokens
        for lossless in (Config(chunk_ms, repeats="exact"), Config(chunk_ms, repeats="kept")):
            assert decode(encode(*raw, lossless), lossless, silence=0, length=len(raw[0])) == raw


def decoding(path: Path) -> None:
    for case in cases(path):
        config = Config(case["slots"] * 40)
        chunks, counts = read(ids(case["tokens"]), ALPHABET, config, strict=False)
        assert [*decode(chunks, config, case["silence_unit"])] == [case["back0"], case["back1"]], case["name"]
        assert {kind: counts[kind] for kind in case["counts"]} == case["counts"], case["name"]


def centred(path: Path) -> None:
    for case in cases(path):
        config = Config(case["slots"] * 40, filling="centred")
        chunks, _ = read(ids(case["tokens"]), ALPHABET, config)
        assert [*decode(chunks, config, case["silence_unit"])] == [case["back0"], case["back1"]], case["name"]


# ---------------------------------------------------------------- stages


def stage_1(path: Path) -> None:
    """A sentence in text is one id here."""
    for case in cases(path):
        turns = case["turns"]
        tags = [(S0, S1)[turn["speaker"]] for turn in turns]
        said: dict[str, list[int]] = {"own": [], "user": []}
        for turn, following in zip(turns, [*([tag] for tag in tags[1:]), []], strict=True):
            sentences = [token for sentence in turn["sentences"] for token in sentence_ids(sentence)]
            said[("own", "user")[turn["speaker"]]] += [*sentences, *following]
        expected = [text_id(t) if str(t).startswith("text:") else ids([t])[0] for t in case["expect"]]
        layout = turn_based(ALPHABET, [turn["speaker"] for turn in turns])
        assert weave(layout, said).tokens.ravel().tolist() == expected, case["name"]


def sentence_ids(sentence: dict[str, Any]) -> list[int]:
    return [text_id(f"text:{sentence['text']}")] if "text" in sentence else sentence_units(sentence["raw"])


def text_id(text: str) -> int:
    return 2000 + sum(text.encode())


def stage_2(path: Path) -> None:
    for case in cases(path):
        raw: tuple[list[int], list[int]] = ([], [])
        for turn in case["turns"]:
            raw[turn["speaker"]].extend(turn["raw"])
            raw[1 - turn["speaker"]].extend([case["silence_unit"]] * len(turn["raw"]))
        assert [*raw] == [case["raw0"], case["raw1"]]
        assert woven(encode(*raw, Config(case["chunk_ms"]))) == ids(case["tokens"])


# ---------------------------------------------------------------- calls


class Script:
    """A model that says its script, and keeps what it is given."""

    def __init__(self) -> None:
        self.context: list[int] = []
        self.script: list[int | None] = []
        self.undone = 0
        self.told = 0

    @property
    def length(self) -> int:
        return len(self.context)

    def put(self, tokens: Sequence[int]) -> None:
        self.context += tokens

    def back_to(self, length: int) -> None:
        self.undone += len(self.context) - length
        del self.context[length:]

    def choose(self, units: Sequence[int], ends: Sequence[int]) -> int | None:
        token = self.script.pop(0)
        assert token in units if token is not None else ends
        return token


def part_of(units: Sequence[int], slots: int) -> list[int | None]:
    """The model's answers for a part: each unit, and that it ends, unless it is full."""
    return [*units, *([None] if len(units) < slots else [])]


def inference(path: Path) -> None:
    for case in cases(path):
        mind, prompt, slots = Script(), case["prompt"], case["slots"]
        chunks = (
            [tuple(part) for part in prompt["model_parts"]],
            [tuple(part) for part in prompt["user_parts"]],
        )
        call = Call(mind, ALPHABET, Config(case["chunk_ms"]), *chunks)
        assert call.latency_chunks == 1
        for step in case["steps"]:
            undone, before = mind.undone, call.guessed_right
            kept = len(mind.context)
            if (raw := step["real_user_raw"]) is not None:
                assert list(call.hear(raw)) == step["real_user"], case["name"]
                assert (call.guessed_right > before) == step["hit"]
            assert mind.undone - undone == step["rolled_back"], case["name"]
            assert mind.context[kept - step["rolled_back"] :] == ids(step["fed"]), case["name"]
            guess = [S1, *part_of(step["estimate"], slots)] if step["estimate"] else [None]
            mind.script = [*guess, *part_of(step["own"], slots)]
            assert list(call.speak()) == step["own"]
            assert mind.script == []
            assert mind.context == ids(step["sequence"]), case["name"]


def two_agents(path: Path) -> None:
    """Each writes itself first; of the newest chunk it knows only its own side."""
    for case in cases(path):
        sides = [[tuple(part) for part in case[f"{name}_parts"]] for name in "ab"]
        for (own, other), expected in ((sides, case["context_a"]), (sides[::-1], case["context_b"])):
            mind = Script()
            call = Call(mind, ALPHABET, Config(case["chunk_ms"]), own[:2], other[:1])
            assert mind.context == woven([Chunk(own[0], other[0]), Chunk(own[1], ())])
            mind.script = [None, *part_of(own[2], 4)]
            call.speak()
            call.hear(decode([Chunk((), other[0]), Chunk((), other[1])], Config(case["chunk_ms"]), 0)[1][4:])
            assert mind.context == ids(expected)


READERS = {
    "sync_llm/format.json": formats,
    "sync_llm/decode.json": decoding,
    "sync_llm/centred.json": centred,
    "sync_llm/stage_1.json": stage_1,
    "sync_llm/stage_2.json": stage_2,
    "sync_llm/inference.json": inference,
    "sync_llm/two_agents.json": two_agents,
}
HELD = {"sync_llm": "stage_1.json"}
