"""The conversations that OmniFlatten learns from, made and encoded: the desk's by many voices, and people's recordings
with the desk's answers.

Each corpus is made once, its units are kept in blocks: a run that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import lru_cache, partial
from math import ceil
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import torch
from rich.progress import track

from duologue.data import encode
from duologue.data.encode import Encoded, Heard
from duologue.desk import Desk, Question
from duologue.dialogue import Message
from duologue.session import HEARD_HZ, Audio
from duologue.sound.wav import read_channels
from duologue.synthesis import Plan, Scene, synthesise
from duologue.synthesis.voice import Manner, speak
from duologue.units import nano_codec
from duologue.units.nano_codec import NanoCodec
from duologue.whole import whole_file
from nano_text import texts, with_call
from nano_units_speech import ASSISTANT, Clip, Speech, prepare

BLOCK = 64
LEAD_S, GAP_S, TAIL_S = 0.5, 0.1, 0.8
"""Around a person's recording: silence before it, between it and the answer, after that."""
ANSWERED = ("person:barista", "person:fsdd")
"""People who ask what the desk can answer; others only read."""
RECORDED = {
    "voices": ("flite:slt", "flite:rms", "flite:kal16"),
    "pitch": (0.8, 1.25),
    "words_per_minute": (120, 210),
}
"""Voices made of recordings, stretched into many: of all voices they are three, the others are one synthesizer's."""

Row = dict[str, Any]


def parser(doc: str | None, folder: str = "of recipes/omni_flatten.py") -> argparse.ArgumentParser:
    """The options of all recipes that learn from these conversations."""
    found = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("--folder", type=Path, default=Path("runs/omni_flatten"), help=folder)
    found.add_argument("--recordings", type=Path, default=Path("../shared/data"), help="recordings of people")
    found.add_argument("--share", type=float, default=1.0, help="share of the data to make, or that was made")
    found.add_argument("--threads", type=int, default=2)
    return found


def codec_in(folder: Path) -> Path:
    """The file of the units that recipes/omni_flatten.py makes there."""
    return folder / "units" / nano_codec.CODEC


def made(options: argparse.Namespace) -> dict[str, list[Encoded]]:
    """All conversations in the folder of the options, by corpus; what is not there yet is made."""
    speech = prepare(options.folder / "units" / "speech", options.recordings, options.share)
    codec = codec_in(options.folder)
    return corpora(options.folder, codec, options.recordings, speech, options.share, options.threads)


def plans(noises: str | None, share: float) -> dict[str, Plan]:
    """What is synthesised: dialogues with both sides; questions and answers are single sentences."""
    plan = Plan(count=1, noises=noises, snr_db=(12.0, 30.0))

    def some(count: int, seed: int, **changes: Any) -> Plan:
        return replace(plan, count=max(2, round(count * share)), seed=seed, **changes)

    dialogues = {f"dialogues_{n}": some(2048, 10 + n, exchanges=(1, 3), timing="prompt") for n in range(3)}
    questions = {f"questions_{n}": some(5120, 20 + n, kind="utterances") for n in range(3)}
    questions["questions_3"] = some(5120, 23, kind="utterances", **RECORDED)
    return {**dialogues, **questions, "answers": some(2048, 30, kind="utterances", says="answers")}


def noises_in(recordings: Path) -> str | None:
    """The folder, where it is at hand."""
    return str(recordings) if (recordings / "manifest.jsonl").exists() else None


def corpora(
    folder: Path, codec: Path, recordings: Path, speech: Speech, share: float, workers: int
) -> dict[str, list[Encoded]]:
    """All conversations, by corpus; what is not there yet is made."""
    noises = noises_in(recordings)
    found = {"people": people(folder / "people", codec, speech, workers)}
    for name, plan in plans(noises, share).items():
        found[name] = desk(folder / name, codec, plan, workers)
    return found


def desk(folder: Path, codec: Path, plan: Plan, workers: int) -> list[Encoded]:
    """A corpus of the desk's."""
    manifest = synthesise(folder, plan, workers).manifest
    rows = [json.loads(line) for line in manifest.read_text().splitlines()]
    marks = {"codec": crc32(codec.read_bytes()), "items": crc32("".join(map(json.dumps, rows)).encode())}
    return in_blocks(folder / "units", rows, partial(encoded_desk, codec, folder), workers, marks)


def people(folder: Path, codec: Path, speech: Speech, workers: int, split: Any = "train") -> list[Encoded]:
    """What people asked, and read, with answers to what the desk can answer."""
    numbers = speech.numbers(split, "person:")
    clips = [(*speech.clips[n][:1], speech.audio(n)) for n in numbers if speech.clips[n][0].text]
    marks = {"codec": crc32(codec.read_bytes()), "items": crc32(repr([clip for clip, _ in clips]).encode())}
    return in_blocks(folder / "units", clips, partial(encoded_person, codec), workers, marks)


# ---------------------------------------------------------------- in blocks, by several processes


def in_blocks(
    folder: Path, items: Sequence[Any], encoded: Callable[[Any], Encoded], workers: int, marks: dict[str, int]
) -> list[Encoded]:
    """Each item encoded, in order. Blocks that are there are not made again. `marks`: checksums of what the units
    depend on. Raises ValueError where the blocks have others."""
    folder.mkdir(parents=True, exist_ok=True)
    check_marks(folder, marks)
    blocks = [items[start : start + BLOCK] for start in range(0, len(items), BLOCK)]
    paths = [folder / f"{number:05}.jsonl" for number in range(len(blocks))]
    missing = [n for n, path in enumerate(paths) if not path.exists()]
    with ProcessPoolExecutor(workers, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        jobs = [pool.submit(_block, paths[n], blocks[n], encoded) for n in missing]
        for job in track(jobs, f"units of {folder.parent.name}", disable=not jobs):
            job.result()
    return [row for path in paths for row in encode.read(path)]


def check_marks(folder: Path, marks: dict[str, int]) -> None:
    """Leave the marks in a folder that is empty. Blocks without marks are taken as they are."""
    path = folder / "made_of.json"
    if path.exists():
        found = json.loads(path.read_text())
        if others := [name for name, crc in marks.items() if found.get(name) != crc]:
            raise ValueError(f"{folder} holds units of other {' and '.join(others)}: remove it to encode again")
    elif not any(folder.glob("*.jsonl")):
        whole_file(path, lambda file: file.write(json.dumps(marks).encode()))


def _block(path: Path, items: Sequence[Any], encoded: Callable[[Any], Encoded]) -> None:
    encode.write(path, [encoded(item) for item in items])


@lru_cache
def _codec(path: Path) -> NanoCodec:
    return nano_codec.load(path)


# ---------------------------------------------------------------- the desk's


def encoded_desk(codec: Path, folder: Path, row: Row) -> Encoded:
    """A line of a synthesised manifest. The assistant's text is what it says and then the call that goes with it."""
    sound = read_channels(folder / row["path"], HEARD_HZ)
    if row["kind"] != "dialogue":
        return _utterance(codec, row, sound[:, 0])
    texts = turn_texts(row)
    said = [
        Heard(
            event.speaker,
            event.start_s,
            event.end_s,
            event.text if event.speaker == "user" else texts.get(event.turn or 0, event.text),
            event.turn if event.kind != "back_channel" else None,
            event.cut,
        )
        for event in Scene.from_json(row["scene"]).events
        if event.speaker != "bystander"
    ]
    return encode.encode(row["path"], sound, said, _codec(codec).tokenizer)


def _utterance(codec: Path, row: Row, heard: Audio) -> Encoded:
    """A sentence alone. A question that can be answered by itself gets its answer; the user's channel ends as recorded,
    so that its noise can go on."""
    (event,), (asked,) = Scene.from_json(row["scene"]).events, row["questions"]
    if event.speaker != "user":
        said = Heard("assistant", event.start_s, event.end_s, turn_texts(row).get(event.turn or 0, event.text), 1)
        return encode.encode(row["path"], np.stack((heard, heard), axis=1), [said], _codec(codec).tokenizer)
    answer = "" if asked["history"] else turn_texts(row)[1]
    question = Heard("user", event.start_s, event.end_s, event.text, 0 if answer else None)
    found = answered(codec, row["path"], heard, question, answer)
    return replace(found, user=found.user[: ceil(len(heard) / HEARD_HZ * _codec(codec).unit_hz)])


def turn_texts(row: Row) -> dict[int, str]:
    """What is written in each turn of a dialogue, by its number."""
    found: dict[int, str] = {}
    for asked in row["questions"]:
        turns = texts(Question.from_json(asked))
        found |= dict(enumerate(turns, asked.get("turn", len(turns) - 2) - len(turns) + 2))
    return found


# ---------------------------------------------------------------- people's


def encoded_person(codec: Path, clip_and_sound: tuple[Clip, Audio]) -> Encoded:
    """A recording of a person; with the desk's answer behind it where the person asks."""
    clip, sound = clip_and_sound
    answer = answer_to(clip.text) if clip.voice.startswith(ANSWERED) else ""
    said = Heard("user", LEAD_S, LEAD_S + len(sound) / HEARD_HZ, clip.text, 0 if answer else None)
    return answered(codec, clip.voice, np.pad(sound, (round(LEAD_S * HEARD_HZ), 0)), said, answer)


def answered(codec: Path, name: str, heard: Audio, asked: Heard, answer: str) -> Encoded:
    """What is heard of the user [N], and the answer spoken behind it, where there is one."""
    spoken = speak(Manner(ASSISTANT), answer.partition(" <call>")[0]) if answer else np.zeros(0, np.float32)
    start_s = asked.end_s + GAP_S
    end_s = start_s + len(spoken) / HEARD_HZ
    sound = np.zeros((max(len(heard), ceil((end_s + TAIL_S) * HEARD_HZ)), 2), np.float32)
    sound[: len(heard), 0] = heard
    first = round(start_s * HEARD_HZ)
    sound[first : first + len(spoken), 1] = spoken
    said = [asked, Heard("assistant", start_s, end_s, answer, 1)] if answer else [asked]
    return encode.encode(name, sound, said, _codec(codec).tokenizer)


def answer_to(text: str) -> str:
    """The desk's answer with its call, "" where it has none."""
    told = desk_mind().answer([Message("user", text)])
    if not told.tool_calls:
        return told.text if told.topic else ""
    call = told.tool_calls[0]
    result = Message("tool", desk_mind().run(call), call_id=call.call_id)
    confirmed = desk_mind().answer([Message("user", text), Message("assistant", tool_calls=(call,)), result])
    return with_call(confirmed.text, call)


@lru_cache
def desk_mind() -> Desk:
    return Desk()
