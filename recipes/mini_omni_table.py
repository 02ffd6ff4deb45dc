"""What batch-parallel decoding gains, as Mini-Omni's paper claims (section 3.3): answers right by each way of decoding.

    python recipes/mini_omni_table.py runs/eval --model runs/seed_0/mini_omni/model runs/seed_1/mini_omni/model

The folder is one that `duologue eval --folder` made; each model was trained with another seed. It prints a table of the
means over the models, with the lowest and the highest, and leaves `mini_omni_table.json` in the folder. What each model
reached is kept there, so a run that was stopped goes on, and several processes may share the models.

A→T            the question is heard, the answer written
A→A            the answer is spoken and written in one row
A→A in batch   a second row writes beside it
right          by the desk's program: what is written, and the speech as a recogniser hears it
WER            of the speech, as heard, against the answer's own text
steps, ms      until the first sound, from the end of the question: steps of the model; the time of computing, hearing
               and reading the prompt included
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np
import torch
from pydantic import TypeAdapter
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor

from duologue.desk import Desk, Question
from duologue.evaluate.answers import Answered, Ears, Score, judged, score, shown
from duologue.evaluate.ears import answers_recogniser
from duologue.evaluate.replies import turns_of
from duologue.session import HEARD_HZ, Audio
from duologue.sound.wav import resample
from duologue.systems import mini_omni
from duologue.systems.mini_omni import Task
from duologue.systems.mini_omni_decoding import Decoding, answered
from duologue.systems.mini_omni_turns import Talking, nano
from duologue.verbs.fingerprint import fingerprint
from duologue.whole import whole_file
from llama_omni_pace import Clock
from llama_omni_table import recorded

RESULTS = "mini_omni_table.json"
WAYS: dict[str, tuple[Task, bool]] = {
    "A→T": ("A1T2", False),
    "A→A": ("A1A2", False),
    "A→A in batch": ("A1A2", True),
}
MOST_STEPS = 200

Asked = tuple[Question, list[Audio]]


@dataclass(frozen=True)
class Made:
    """`sound` [N] at 16 kHz; until the first of it, steps and milliseconds, None where there was none."""

    ids: tuple[int, ...]
    sound: Audio
    first_steps: int | None
    first_ms: float | None


@dataclass(frozen=True)
class Way:
    """Of one model and one way of decoding."""

    right: Score
    first_steps: float | None
    first_ms: float | None


Ways = dict[str, Way]


def main() -> None:
    options = parsed()
    torch.set_num_threads(1)
    asked = list(asked_in(options.folder, options.questions))
    ears = None if options.no_speech else answers_recogniser()
    found = [known(options.folder, path, asked, ears) for path in options.model]
    whole_file(options.folder / RESULTS, lambda file: file.write(TypeAdapter(list[Ways]).dump_json(found, indent=1)))
    Console(highlight=False).print(table(found))


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="that of `duologue eval --folder`")
    parser.add_argument("--model", type=Path, nargs="+", required=True, help="folders of models, one of each seed")
    parser.add_argument("--questions", type=int, default=None, help="how many, at most")
    parser.add_argument("--no-speech", action="store_true", help="do not listen to the answers, read them alone")
    return parser.parse_args()


def asked_in(folder: Path, count: int | None) -> Iterator[Asked]:
    """Questions, and how the turns up to each sound, [N] at 16 kHz."""
    for row, user in zip(*recorded(folder, count), strict=True):
        yield Question.from_json(row["questions"][-1]), list(turns_of(row, user))


# ---------------------------------------------------------------- one model


def known(folder: Path, model: Path, asked: Sequence[Asked], ears: Ears | None) -> Ways:
    """What this very model reached on so many questions, measured once."""
    kept = folder / f"mini_omni_{fingerprint(model)}_{len(asked)}{'' if ears else '_read'}.json"
    if not kept.exists():
        found = TypeAdapter(Ways).dump_json(measured(nano(model), asked, ears, model.as_posix()))
        whole_file(kept, lambda file: file.write(found))
    return TypeAdapter(Ways).validate_json(kept.read_bytes())


def measured(talking: Talking, asked: Sequence[Asked], ears: Ears | None, name: str) -> Ways:
    """Each way of decoding; what it heard is written by its own task (A1T1)."""
    last = (turns[-1:] for _, turns in track(asked, f"{name}: hearing"))
    heard = [text_of(talking, said(talking, turns, "A1T1", False).ids)[0] for turns in last]
    return {way: measured_way(talking, asked, heard, ears, way, *how) for way, how in WAYS.items()}


def measured_way(
    talking: Talking,
    asked: Sequence[Asked],
    heard: Sequence[str],
    ears: Ears | None,
    way: str,
    task: Task,
    parallel: bool,
) -> Way:
    found, answers = list[Made](), list[Answered]()
    for (question, turns), words in zip(track(asked, way), heard, strict=True):
        made = said(talking, turns, task, parallel)
        spoken = ears(made.sound) if ears is not None and mini_omni.speaks(task) else None
        written, calls = text_of(talking, made.ids)
        answers.append(judged(question, words, written, calls, spoken))
        found.append(made)
    steps = [one.first_steps for one in found if one.first_steps is not None]
    times = [one.first_ms for one in found if one.first_ms is not None]
    return Way(score(answers), median(steps) if steps else None, median(times) if times else None)


def said(
    talking: Talking, turns: Sequence[Audio], task: Task, parallel: bool, clock: Clock = time.perf_counter
) -> Made:
    """The answer to the last turn; those to the others are remembered."""
    history = list[tuple[Tensor, Sequence[int]]]()
    for audio in turns:
        began = clock()
        question = mini_omni.Question(task, talking.hears(audio), (), tuple(history))
        made = answer(talking, question, parallel, began, clock)
        history.append((question.sounds[-1], made.ids))
    return made


def answer(talking: Talking, question: mini_omni.Question, parallel: bool, began: float, clock: Clock) -> Made:
    """One answer, its sound made as it comes, to a question that was over when the clock showed `began`."""
    how, utterance = Decoding(parallel=parallel, most_steps=MOST_STEPS), talking.utterance()
    ids, sounds, first = list[int](), list[Audio](), None
    for number, step in enumerate(answered(talking.model, question, how), 1):
        ids += [] if step.text is None else [step.text]
        sounds.append(utterance.say(step.frame or ()))
        if first is None and len(sounds[-1]):
            first = (number, 1000 * (clock() - began))
    sounds.append(utterance.say((), last=True))
    return Made(tuple(ids), resample(np.concatenate(sounds), talking.said_hz, HEARD_HZ), *(first or (None, None)))


def text_of(talking: Talking, ids: Sequence[int]) -> tuple[str, Any]:
    return talking.text_of(ids, Desk.tools)


# ---------------------------------------------------------------- all of them


def table(found: Sequence[Ways]) -> Table:
    of = next(iter(found[0].values())).right.n
    made = Table(title=f"{of} questions, {len(found)} models", box=None, title_justify="left", header_style="dim")
    for column in (
        "",
        "text right, %",
        "speech right, %",
        "WER of speech, %",
        "CER heard, %",
        "steps, ms to sound",
    ):
        made.add_column(column, justify="right" if column else "left")
    for name in found[0]:
        ways = [one[name] for one in found]
        made.add_row(
            name,
            spread([way.right.text for way in ways]),
            spread([way.right.speech for way in ways]),
            spread([None if way.right.speaking is None else way.right.speaking.words for way in ways]),
            spread([None if way.right.hearing is None else way.right.hearing.letters for way in ways]),
            f"{spread([way.first_steps for way in ways])}, {spread([way.first_ms for way in ways])}",
        )
    return made


def spread(values: Sequence[float | None]) -> str:
    """The mean, and from where to where where there are several."""
    known = [value for value in values if value is not None]
    if len(known) < 2:
        return shown(known[0] if known else None)
    return f"{fmean(known):.1f} ({min(known):.1f}-{max(known):.1f})"


if __name__ == "__main__":
    main()
