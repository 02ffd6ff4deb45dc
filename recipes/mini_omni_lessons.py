"""What Mini-Omni of the nano size learns from: what its ears make of a question, the answer, the codes of the answer;
and which tasks are made of them.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from rich.progress import track
from torch import Tensor

import nano_text
from duologue.data.encode import Encoded
from duologue.desk import statements
from duologue.layout import Tokens
from duologue.model.words import CALL
from duologue.systems import mini_omni
from duologue.systems.mini_omni import Question, Task
from duologue.systems.mini_omni_examples import Examples, Sample
from duologue.units import snac_nano
from duologue.units.codec import encode_whole
from duologue.units.nano_ears import WordEars
from duologue.whole import whole_file
from nano_ears import HeardExchange, conversations
from nano_levels import answers
from omni_flatten import DIALOGUES, QUESTIONS

LAST = ("multimodal", "multimodal_again")
"""The last stage, each time."""
ROW_STEPS = 256
"""Of a row in training: what is longer is left out."""


@dataclass(frozen=True)
class Exchanged:
    """What was heard, as features [T, F] in half precision and as ids; the ids of the answer, and of what is said of
    it; its codes [books, frames], None where it was not spoken whole."""

    heard: Tensor
    asked: Sequence[int]
    answer: Sequence[int]
    said: Sequence[int]
    codes: Tokens | None


Lesson = list[Exchanged]
"""A conversation, up to an answer that is cut."""


def levels_in(folder: Path) -> Path:
    """The file of the codec that recipes/nano_levels.py makes there."""
    return folder / "levels" / snac_nano.CODEC


# ---------------------------------------------------------------- conversations


def few(folder: Path, view: Path) -> Path:
    """The conversations of a folder as another one: what is kept of some of them is not taken for that of all."""
    view.mkdir(parents=True, exist_ok=True)
    for name in (*DIALOGUES, *QUESTIONS):
        if not (view / name).exists():
            (view / name).symlink_to((folder / name).resolve())
    return view


def all_lessons(
    folder: Path, heard_in: Path, ears: WordEars, words: Any, rows: Mapping[str, Sequence[Encoded]]
) -> list[Lesson]:
    """The conversations of the corpora in an order drawn once. What is asked alone is answered aloud where the answer
    is among those of the dialogues."""
    spoken = codes_of(folder, {name: rows[name] for name in DIALOGUES})
    found = list[Lesson]()
    for name in (*DIALOGUES, *QUESTIONS):
        told = conversations(ears, heard_in, name, rows[name])
        found += [[_exchanged(words, spoken, one) for one in row] for row in told]
    return Random(0).sample(found, len(found))


def codes_of(folder: Path, rows: Mapping[str, Sequence[Encoded]]) -> dict[str, Tokens]:
    """By its text, each answer in the dialogues: codes [books, frames]. Computed once for a codec, and kept."""
    name = f"codes_{zlib.crc32(levels_in(folder).read_bytes()):08x}_{sum(map(len, rows.values()))}.json"
    path = folder / "mini_omni" / name
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        found = json.dumps({text: codes.tolist() for text, codes in _codes(folder, rows)})
        whole_file(path, lambda file: file.write(found.encode()))
    return {text: np.array(codes) for text, codes in json.loads(path.read_text()).items()}


def _codes(folder: Path, rows: Mapping[str, Sequence[Encoded]]) -> Iterator[tuple[str, Tokens]]:
    codec, known = snac_nano.load(levels_in(folder)), set[str]()
    for name, corpus in rows.items():
        for row in track(corpus, f"codes of {name}"):
            for text, sound in answers(folder / name, row, known):
                known.add(text)
                yield text, encode_whole(codec, torch.from_numpy(sound)[None])[0].numpy()


def _exchanged(words: Any, spoken: Mapping[str, Tokens], one: HeardExchange) -> Exchanged:
    said = one.answer.text.partition(CALL)[0].strip()
    question = " ".join(stretch.text for stretch in one.asked)
    ids = [list(words(text).input_ids) for text in (question, one.answer.text, said)]
    codes = None if one.answer.cut else spoken.get(said)
    return Exchanged(torch.from_numpy(one.words), ids[0], ids[1], ids[2], codes)


def written(words: Any, count: int) -> list[Sample]:
    """What it learnt as a text model: questions, with what was said before them, and what the desk knows."""
    found = list[Sample]()
    for question in nano_text.drawn(3, count):
        *before, asked, answer = (list(words(text).input_ids) for text in nano_text.texts(question))
        history = tuple(zip(before[::2], before[1::2], strict=True))
        found.append(Sample(Question("T1T2", None, asked, history), answer))
    known = [Sample(Question("T1T2"), list(words(text).input_ids)) for text in statements("en")]
    return found + known * nano_text.REHEARSALS


# ---------------------------------------------------------------- tasks


def tasks(config: mini_omni.Config, lessons: Sequence[Lesson], practice: Sequence[Sample]) -> dict[str, Examples]:
    """What each stage learns from, shuffled. Every task is in the last."""
    weave = partial(_woven, config, lessons)
    wrote, heard, read = Examples(config, practice), weave(("A1T1",), 0.6), weave(("T1A1",), 0.3)
    answered, aloud, typed = weave(("A1T2",), 0.4), weave(("A1A2", "A1T2")), weave(("T1A2",), 0.3)
    last = _shuffled(aloud + _shuffled(heard, 0.3) + read + typed + wrote)
    return {
        "modality_alignment": _shuffled(heard + read),
        "adaptation": _shuffled(answered + _shuffled(heard, 0.3) + wrote),
        **dict.fromkeys(LAST, last),
    }


def _woven(config: mini_omni.Config, lessons: Sequence[Lesson], either: Sequence[Task], share: float = 1.0) -> Examples:
    """Of a share of the exchanges, the first task that the answer allows."""
    draw = Random(0)
    drawn = (lesson[: n + 1] for lesson in lessons for n in range(len(lesson)) if draw.random() < share)
    samples = (one for lesson in drawn if (one := sample(lesson, either)) is not None)
    return Examples(config, (one for one in samples if steps(one) <= ROW_STEPS))


def steps(one: Sample) -> int:
    """That a sample may take."""
    asked = one.question
    before = sum(len(question) + len(answer) + 4 for question, answer in asked.history)
    frames = 0 if one.codes is None else one.codes.shape[1] + mini_omni.BOOKS + 1
    return before + asked.features + len(asked.typed) + 3 + max(frames, len(one.text) + 1)


def sample(lesson: Lesson, either: Sequence[Task]) -> Sample | None:
    """The last exchange, behind the others where it is answered."""
    *before, now = lesson
    task = next((task for task in either if now.codes is not None or not mini_omni.speaks(task)), None)
    if task is None:
        return None
    codes = now.codes if mini_omni.speaks(task) else None
    if task == "T1A1":
        return Sample(Question(task, None, now.said), (), codes)
    if task == "A1T1":
        return Sample(Question(task, now.heard), now.asked)
    history = tuple((one.heard, one.answer) if task[0] == "A" else (one.asked, one.answer) for one in before)
    heard, typed = (now.heard, ()) if task[0] == "A" else (None, now.asked)
    return Sample(Question(task, heard, typed, history), now.answer, codes)


def _shuffled(examples: Examples, share: float = 1.0) -> Examples:
    """A share of them, in an order drawn once."""
    return examples.chosen(Random(0).sample(range(len(examples)), round(share * len(examples))))
