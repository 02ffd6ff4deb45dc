"""Sequences of SyncLLM and Mini-Omni that follow from their layouts alone."""

from __future__ import annotations

import json
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import numpy as np

import layouts
from duologue.layout import Driver, Layout, Tokens, unweave, weave
from layouts import BOOKS, EOA, S0, S1, T_EOT
from unit_chunks import Parts, centred, chunked, parsed, sounded, streams, trouble

# ---------------------------------------------------------------- sync_llm

SYNC = {"S0": S0, "S1": S1}


def ids(tokens: list[int | str]) -> list[int]:
    return [SYNC.get(str(token)) or int(token) for token in tokens]


def written(parts: Parts) -> list[int]:
    """The tokens of the parts, by the layout, which must also read them back."""
    grid = weave(layouts.sync_llm(), streams(parts))
    back = unweave(layouts.sync_llm(), grid.tokens)
    assert {name: tokens.tolist() for name, tokens in back.items()} == streams(parts)
    assert not grid.said[:1].any()
    assert grid.said[1:].all()
    return [int(token) for token in grid.tokens[:, 0]]


def sync_format(path: Path) -> None:
    for case in json.loads(path.read_text())["cases"]:
        raw, slots = (case["raw0"], case["raw1"]), case["slots"]
        assert chunked(*raw, slots) == [(part["0"], part["1"]) for part in case["parts"]], case["name"]
        for carry, expected in ((False, case), (True, case["carry"])):
            tokens = written(chunked(*raw, slots, carry))
            assert tokens == ids(expected["tokens"]), case["name"]
            parts, repaired = parsed(tokens)
            back = [sounded([p[i] for p in parts], slots, length=len(raw[0])) for i in (0, 1)]
            assert back == [expected["back0"], expected["back1"]], case["name"]
            assert [back[i] == raw[i] for i in (0, 1)] == expected["exact"]
            assert not any(repaired.values())


def sync_decode(path: Path) -> None:
    for case in json.loads(path.read_text())["cases"]:
        parts, counts = parsed(ids(case["tokens"]))
        back = [sounded([p[i] for p in parts], case["slots"], case["silence_unit"]) for i in (0, 1)]
        assert back == [case["back0"], case["back1"]], case["name"]
        counts += trouble(parts, case["slots"])
        assert {kind: counts[kind] for kind in case["counts"]} == case["counts"], case["name"]


def sync_centred(path: Path) -> None:
    for case in json.loads(path.read_text())["cases"]:
        parts, _ = parsed(ids(case["tokens"]))
        back = [sounded([p[i] for p in parts], case["slots"], case["silence_unit"], fill=centred) for i in (0, 1)]
        assert back == [case["back0"], case["back1"]], case["name"]


def sync_stage_1(path: Path) -> None:
    for case in json.loads(path.read_text())["cases"]:
        turns = case["turns"]
        speakers = [(S0, S1)[turn["speaker"]] for turn in turns]
        said: dict[str, list[int]] = {"own": [], "user": []}
        for turn, end in zip(turns, [*([speaker] for speaker in speakers[1:]), []], strict=True):
            units = [unit for sentence in turn["sentences"] for unit in sentence_ids(sentence)]
            said[("own", "user")[turn["speaker"]]] += [*units, *end]
        expected = [text_id(t) if str(t).startswith("text:") else ids([t])[0] for t in case["expect"]]
        assert weave(layouts.sync_llm_turns(speakers), said).tokens.ravel().tolist() == expected, case["name"]


def sentence_ids(sentence: dict[str, Any]) -> list[int]:
    """A sentence in text is one id here; a spoken one is its units, repeats removed."""
    if "text" in sentence:
        return [text_id(f"text:{sentence['text']}")]
    return [unit for unit, _ in groupby(sentence["raw"])]


def text_id(text: str) -> int:
    return 2000 + sum(text.encode())


def sync_stage_2(path: Path) -> None:
    for case in json.loads(path.read_text())["cases"]:
        raw: tuple[list[int], list[int]] = ([], [])
        for turn in case["turns"]:
            raw[turn["speaker"]].extend(turn["raw"])
            raw[1 - turn["speaker"]].extend([case["silence_unit"]] * len(turn["raw"]))
        assert [*raw] == [case["raw0"], case["raw1"]]
        assert written(chunked(*raw, case["chunk_ms"] // 40)) == ids(case["tokens"])


def sync_two_agents(path: Path) -> None:
    """Each writes itself first; of the newest chunk it knows only its own side."""
    for case in json.loads(path.read_text())["cases"]:
        sides = case["a_parts"], case["b_parts"]
        for (own, other), expected in ((sides, case["context_a"]), (sides[::-1], case["context_b"])):
            assert written([*zip(own, [*other[: len(own) - 1], []], strict=True)]) == ids(expected)


def sync_inference(path: Path) -> None:
    for case in json.loads(path.read_text())["cases"]:
        call = Guessing(case["prompt"]["model_parts"], case["prompt"]["user_parts"])
        for step in case["steps"]:
            if step["real_user_raw"] is not None:
                assert call.hear(step["real_user_raw"]) == (step["real_user"], step["hit"]), case["name"]
            call.guess_and_speak(step["estimate"], step["own"])
            assert call.driver.placed().tokens[:, 0].tolist() == ids(step["sequence"]), case["name"]


class Guessing:
    """A call with scripted guesses. A guess is undone together with the own part behind it; then the truth and that
    part are placed."""

    def __init__(self, own: list[list[int]], user: list[list[int]]) -> None:
        self.driver = Driver(layouts.sync_llm())
        self.held = next(part[-1] for part in reversed(user) if part)
        self.guess: list[int] = []
        self.own, self.known = own[-1], 0
        assert self.driver.ask()
        self.place(written([*zip(own, [*user, []], strict=True)])[1:])

    def place(self, tokens: list[int]) -> None:
        for token in tokens:
            self.driver.place([token])

    def hear(self, raw: list[int]) -> tuple[list[int], bool]:
        """What is new in the real units of the chunk that was guessed, and whether that was the guess."""
        new = [unit for before, unit in pairwise([self.held, *raw]) if unit != before]
        self.held, hit = raw[-1], new == self.guess
        self.driver = self.driver.fork(self.known)
        self.place([*([S1, *new] if new else []), S0, *self.own])
        return new, hit

    def guess_and_speak(self, guess: list[int], own: list[int]) -> None:
        self.known, self.guess, self.own = self.driver.columns, guess, own
        self.place([*([S1, *guess] if guess else []), S0, *own])


# ---------------------------------------------------------------- mini_omni


AUDIO = tuple(f"audio{book}" for book in range(BOOKS))
ANSWER = Layout(layouts.mini_omni_answer, (*AUDIO, "text"), lanes=BOOKS + 1)


def mini_layouts(path: Path) -> None:
    """All but the order of the codec's levels, which is no matter of layout."""
    golden = json.loads(path.read_text())
    for name, expected in golden["prompts_released_ids"].items():
        assert absolute(prompt(name)).tolist() == list(expected.values()), name
    delayed(golden["delay_three_frames"])
    for steps, frames in zip(golden["short_outputs"]["L"], golden["short_outputs"]["frames"], strict=True):
        assert min(map(len, list(unweave(ANSWER, numbered(20)[:steps]).values())[:BOOKS])) == frames
    for stride in golden["stream_chunks"]["strides"]:
        streamed(stride)


def delayed(golden: dict[str, Any]) -> None:
    rows, steps = golden["streams"], golden["stored_steps"]
    codes = {f"audio{book}": [c for c in rows[f"audio_layer_{book}"] if c < EOA] + [EOA] for book in range(BOOKS)}
    grid = weave(ANSWER, {**codes, "text": [t for t in rows["text"] if t < T_EOT] + [T_EOT]})
    assert grid.tokens[:steps].T.tolist() == list(rows.values())
    assert np.argwhere(grid.tokens == EOA)[:, 0].tolist() == [*golden["audio_end_step_of_layer"]]
    assert len(grid) == golden["stop_step"] + 1
    for step in (4, 5):
        assert absolute(grid.tokens)[:, step].tolist() == golden[f"fed_to_the_model_after_step_{step}"]
    flat = zip(*(codes[name][:-1] for name in AUDIO), strict=True)
    assert [code for frame in flat for code in ("#", *frame)] == golden["undelayed_flat"]


def streamed(stride: dict[str, Any]) -> None:
    """Which stored entries each chunk of `stride` frames reads, and after which step it has them all."""
    step_of = {int(token): step for step, row in enumerate(numbered(40)) for token in row[:BOOKS]}
    for chunk, expected in enumerate(stride["first_three_chunks"]):
        frames = range(chunk * stride["stride"], (chunk + 1) * stride["stride"])
        steps = [[step_of[100 * book + frame] for book in range(BOOKS)] for frame in frames]
        assert expected["frames"] == [[f"layer{book}@s{step}" for book, step in enumerate(row)] for row in steps]
        assert expected["emitted_after_stored_step"] == steps[-1][-1]
        assert expected["model_calls_so_far"] == steps[-1][-1] + 1


def numbered(frames: int) -> Tokens:
    """An answer in which code `100 * book + frame` stands for itself."""
    codes = {f"audio{book}": [*range(100 * book, 100 * book + frames), EOA] for book in range(BOOKS)}
    return weave(ANSWER, {**codes, "text": [T_EOT]}).tokens


def prompt(name: str) -> Tokens:
    """The prompt that is named by its task (`A` heard, `T` typed; the second half is the answer) and its length."""
    task = "A1A2" if "row 0" in name else "A1T2" if "row 1" in name else name[:4]
    heard, typed = (3, []) if task.startswith("A") else (0, [10, 11])
    audio_end = layouts.ANSWER_A if task.endswith("A2") else layouts.PAD_A
    text_end = layouts.ASR_T if task == "A1T1" else layouts.ANSWER_T
    layout = Layout(lambda: layouts.mini_omni_prompt(heard, typed, audio_end, text_end), ("user",), lanes=BOOKS + 1)
    return weave(layout, {"user": [layouts.PAD_A] * heard}).tokens


def absolute(tokens: Tokens) -> Tokens:
    """Released ids as they are fed, [K, S]: each book's block lies behind the text and the books before it."""
    offsets = np.array([152000 + 4160 * book for book in range(BOOKS)] + [0])
    return (tokens + offsets).T


READERS = {
    "sync_llm/format.json": sync_format,
    "sync_llm/decode.json": sync_decode,
    "sync_llm/centred.json": sync_centred,
    "sync_llm/stage_1.json": sync_stage_1,
    "sync_llm/stage_2.json": sync_stage_2,
    "sync_llm/two_agents.json": sync_two_agents,
    "sync_llm/inference.json": sync_inference,
    "mini_omni/layouts.json": mini_layouts,
}
