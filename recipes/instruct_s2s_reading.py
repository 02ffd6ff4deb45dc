"""Spoken instructions to learn from: what recipes/instruct_s2s.py made, and what LLaMA-Omni's authors published.

    python recipes/llama_omni.py --folder runs/omni_flatten --instructions instruct_en.json --sound data/

The public InstructS2S-200K (CC BY-NC 4.0) is not the paper's: it has several turns and many voices, and its `unit`
field holds tokens of CosyVoice2, 0 to 6560, not the 1000 HuBERT units that the vocoder speaks. So units are always
extracted anew from the sound of the answers; `hubert_units` is for files that hold the true ones.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from duologue.model.adapter import Ears
from duologue.session import HEARD_HZ, Audio
from duologue.sound.wav import read
from duologue.systems.llama_omni_stages import Exchange

BOOK = 1000
COSYVOICE_2 = 6561
"""Tokens in its book."""

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Spoken:
    """A question and its answer: texts, sound files as they are named in the data; `unit` as it stands there."""

    asked: str
    asked_path: str
    answer: str
    answer_path: str
    unit: str | None = None


def conversations(path: Path) -> Iterator[list[Spoken]]:
    """Of JSON, or JSON lines: records with a `conversation` of turns from "human" and "gpt" (or such a list itself), as
    published; or lines of a manifest with `text`, `path`, `answer`, `answer_path`, as made here. Raises ValueError,
    naming the record, for another layout."""
    text = path.read_text()
    records = json.loads(text) if text.lstrip().startswith("[") else map(json.loads, filter(None, text.splitlines()))
    for number, record in enumerate(records):
        try:
            yield _turns(record)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{path}: record {number} is no spoken conversation ({error!r}): give turns from human and gpt by "
                "turns, each with text and speech"
            ) from error


def _turns(record: Row | Sequence[Row]) -> list[Spoken]:
    if isinstance(record, Mapping) and "answer_path" in record:
        return [Spoken(record["text"], record["path"], record["answer"], record["answer_path"])]
    turns = record["conversation"] if isinstance(record, Mapping) else record
    said = [turn["from"] for turn in turns]
    if not said or said != ["human", "gpt"] * (len(said) // 2):
        raise ValueError(f"turns from {said}")
    return [
        Spoken(asked["text"], asked["speech"], answer["text"], answer["speech"], answer.get("unit"))
        for asked, answer in zip(turns[::2], turns[1::2], strict=True)
    ]


def hubert_units(unit: str) -> tuple[int, ...]:
    """Of a `unit` field, "<12><7>…" or "12 7 …". Raises ValueError for those that are not HuBERT's."""
    if not re.fullmatch(r"(<\d+>)+|\d+( \d+)*", unit.strip()):
        raise ValueError(f"units {unit[:40]!r}: give numbers, as <12><7> or 12 7")
    units = tuple(map(int, re.findall(r"\d+", unit)))
    if (largest := max(units)) >= BOOK:
        raise ValueError(
            f"unit {largest}, but there are {BOOK}: these are tokens of CosyVoice2 (0 to {COSYVOICE_2 - 1}), as the "
            "public InstructS2S-200K holds them; extract units anew from the sound of the answers"
        )
    return units


def lessons(
    path: Path, sound: Path, ears: Ears, units_of: Callable[[Audio], Sequence[int]]
) -> Iterator[list[Exchange]]:
    """Each conversation, to learn from: what the ears make of the questions, and the units of the answers' sound
    ([N] at 16 kHz). Sound files lie under the folder `sound`. Raises FileNotFoundError, SoundError."""
    for turns in conversations(path):
        yield [
            Exchange(
                ears.features(read(sound / turn.asked_path, HEARD_HZ)).half().numpy(),
                turn.answer,
                tuple(units_of(read(sound / turn.answer_path, HEARD_HZ))),
            )
            for turn in turns
        ]
