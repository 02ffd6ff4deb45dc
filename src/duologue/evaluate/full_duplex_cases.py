"""Cases in the manner of Full-Duplex-Bench (arXiv 2503.04721, v1.5: 2507.23159), made of the desk's questions.

    cases/pause/00/input.wav          what the system hears, 16 kHz
    cases/pause/00/case.json          who speaks in it when, and what is to be judged
    cases/.../00/clean_input.wav      of version 1.5's: the same without what comes in

The benchmark's own recordings are of people and may not be shared; these are spoken by the voices kept for testing, in
rooms and noise, at drawn times: the same seed makes the same files. What is missing against the benchmark: the user's
back-channels have no transcript of a listener, so people's are taken to come between sentences.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from math import ceil
from pathlib import Path
from typing import Any, Literal, Self, get_args

import numpy as np
from numpy.random import Generator

from duologue.desk import Question, questions, statements
from duologue.evaluate.full_duplex_bench import BIN_MS
from duologue.session import HEARD_HZ
from duologue.sound import wav
from duologue.synthesis import Plan
from duologue.synthesis.casting import SIDE_TALK, utterance
from duologue.synthesis.mix import noises as noises_in
from duologue.synthesis.placing import BACK_CHANNELS, Event, Who
from duologue.synthesis.scene import Scene, said_ms, sound
from duologue.synthesis.script import Script
from duologue.whole import whole_file

Task = Literal[
    "pause",
    "backchannel",
    "turn",
    "interruption",
    "user_backchannel",
    "talking_to_others",
    "background_speech",
]
TASKS: tuple[Task, ...] = get_args(Task)
"""The four of the benchmark, and the three that its version 1.5 added."""
GOES_ON: tuple[Task, ...] = TASKS[4:]
"""Where the assistant should go on through what comes in."""

ANSWER_S = 6.0
"""Of silence after the user's last word: time for an answer."""
PAUSE_S = (0.6, 1.5)
COMES_IN_S = (1.6, 2.4)
"""After the end of the question: by then it is being answered."""
LONG_ANSWER = 60
"""Letters of an answer that lasts until somebody comes in."""
LONG_TOPICS = ("times", "units", "sums", "comparing")
SENTENCES = (4, 6)
BREATH_S = (0.7, 1.2)
"""Between the sentences of somebody who tells something: where listeners say "mm-hm", up to so much later."""
BACKGROUND_DB = -12.0


@dataclass(frozen=True)
class Case:
    """A sample. Stretches in seconds.

    event      what is judged: the user's turn (of "turn" and "pause"), what comes in over the assistant (of the others)
    pauses     the user's, inside the turn
    reference  of "backchannel": how often listeners speak in each bin of 200 ms
    """

    task: Task
    number: int
    scene: Scene
    event: tuple[float, float]
    pauses: tuple[tuple[float, float], ...] = ()
    reference: tuple[float, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.task}/{self.number:02}"

    @property
    def clean(self) -> Scene | None:
        """The scene without what comes in, of cases in which the assistant should go on."""
        return replace(self.scene, events=self.scene.events[:-1]) if self.task in GOES_ON else None

    @property
    def user(self) -> tuple[tuple[float, float], ...]:
        """When somebody speaks on the user's channel."""
        return tuple((event.start_s, event.end_s) for event in self.scene.events)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Self:
        pauses = tuple((start_s, end_s) for start_s, end_s in row["pauses"])
        parts = {"scene": Scene.from_json(row["scene"]), "event": tuple(row["event"]), "pauses": pauses}
        return cls(**{**row, **parts, "reference": tuple(row["reference"])})


# ---------------------------------------------------------------- on the disk


def made(folder: str | Path, count: int, seed: int = 0, noises: str | None = None) -> list[Case]:
    """So many cases of each task, in `folder`; those that are there are kept. Raises ValueError for a folder that
    holds those of another seed or noise."""
    folder, asked = Path(folder), {"seed": seed, "noises": noises}
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / "made.json"
    if kept.exists() and json.loads(kept.read_text()) != asked:
        raise ValueError(f"{folder} holds cases made with {kept.read_text()}, not {asked}; choose another folder")
    whole_file(kept, lambda file: file.write(json.dumps(asked).encode()))
    return [_case(folder, task, number, seed, noises) for task in TASKS for number in range(count)]


def _case(folder: Path, task: Task, number: int, seed: int, noises: str | None) -> Case:
    path = folder / task / f"{number:02}"
    if (path / "case.json").exists():
        return Case.from_json(json.loads((path / "case.json").read_text()))
    case = drawn(task, number, seed, noises)
    path.mkdir(parents=True, exist_ok=True)
    wav.write(path / "input.wav", sound(case.scene, noises)[:, 0], HEARD_HZ)
    if case.clean is not None:
        wav.write(path / "clean_input.wav", sound(case.clean, noises)[:, 0], HEARD_HZ)
    lines = json.dumps(case.to_json(), indent=1, ensure_ascii=False).encode()
    whole_file(path / "case.json", lambda file: file.write(lines))
    return case


# ---------------------------------------------------------------- what is said when


def drawn(task: Task, number: int, seed: int = 0, noises: str | None = None) -> Case:
    """The case of this number: the same whenever it is drawn."""
    draw = np.random.default_rng([seed, TASKS.index(task), number])
    plan = Plan(1, split="test", kind="utterances", noises=noises)
    long = task not in ("pause", "turn", "backchannel")
    asked = _questions(int(draw.integers(2**31)), LONG_ANSWER if long else 0)
    found = noises_in(noises, "test") if noises else ()
    scene = utterance(plan, Script.of((next(asked),)), found, draw)
    over: dict[Task, Callable[[], str]] = {
        "interruption": lambda: Script.of((next(asked),)).lines[-2].spoken,
        "user_backchannel": lambda: str(draw.choice(BACK_CHANNELS["en"])),
        "talking_to_others": lambda: str(draw.choice(SIDE_TALK["en"])),
    }
    if task in over:
        return _comes_in(task, scene, number, over[task](), draw)
    if task == "background_speech":
        return _background(plan, scene, number, draw)
    if task == "backchannel":
        return _told(scene, number, draw)
    return _pause(scene, number, draw) if task == "pause" else _turn(scene, number)


def _questions(seed: int, letters: int) -> Iterator[Question]:
    """That stand alone, nothing has to be done for, and whose answers have so many letters."""
    for question in questions(seed, "test", "en", LONG_TOPICS if letters else None):
        if not question.history and question.tool_call is None and len(question.answer) >= letters:
            yield question


def _span(event: Event) -> tuple[float, float]:
    return event.start_s, event.end_s


def _over(scene: Scene, case: Case) -> Case:
    """The case, with time for an answer."""
    end_s = max(event.end_s for event in scene.events)
    return replace(case, scene=replace(scene, duration_s=round(end_s + ANSWER_S, 3)))


def _said(scene: Scene, text: str, start_s: float, who: Who = "user") -> Event:
    end_s = round(start_s + said_ms(scene.manners[who], text) / 1000, 3)
    return Event(who, round(start_s, 3), end_s, text.rstrip(".,?"), text)


def _turn(scene: Scene, number: int) -> Case:
    return _over(scene, Case("turn", number, scene, _span(scene.events[0])))


def _pause(scene: Scene, number: int, draw: Generator) -> Case:
    """The question, with a pause at one of the middle words."""
    (asked,) = scene.events
    words = asked.spoken.split()
    at = int(draw.integers(max(1, len(words) // 3), max(2, 2 * len(words) // 3 + 1)))
    first = _said(scene, " ".join(words[:at]) + ",", asked.start_s)
    second = _said(scene, " ".join(words[at:]), first.end_s + float(draw.uniform(*PAUSE_S)))
    whole = replace(scene, events=(first, second))
    pauses = ((first.end_s, second.start_s),)
    return _over(whole, Case("pause", number, whole, (first.start_s, second.end_s), pauses))


def _comes_in(task: Task, scene: Scene, number: int, text: str, draw: Generator) -> Case:
    """Something is said while the question is being answered, in the same voice."""
    (asked,) = scene.events
    more = _said(scene, text, asked.end_s + float(draw.uniform(*COMES_IN_S)))
    whole = replace(scene, events=(asked, more))
    return _over(whole, Case(task, number, whole, _span(more)))


def _background(plan: Plan, scene: Scene, number: int, draw: Generator) -> Case:
    """The same by another voice, farther away."""
    (asked,) = scene.events
    others = [voice for voice in plan.users("en") if voice != scene.manners["user"].voice]
    manner = replace(scene.manners["user"], voice=str(draw.choice(others)))
    heard = replace(scene, manners={**scene.manners, "bystander": manner}, side_talk_db=BACKGROUND_DB)
    start_s = asked.end_s + float(draw.uniform(*COMES_IN_S))
    more = _said(heard, str(draw.choice(SIDE_TALK["en"])), start_s, "bystander")
    whole = replace(heard, events=(asked, more))
    return _over(whole, Case("background_speech", number, whole, _span(more)))


def _told(scene: Scene, number: int, draw: Generator) -> Case:
    """Sentences of what the desk knows, with a breath between them; the listener is not asked anything."""
    start_s, events = scene.events[0].start_s, list[Event]()
    for text in draw.choice(statements("en"), int(draw.integers(*SENTENCES, endpoint=True)), replace=False):
        events.append(_said(scene, str(text), start_s))
        start_s = events[-1].end_s + float(draw.uniform(*BREATH_S))
    whole = replace(scene, events=tuple(events), duration_s=round(events[-1].end_s + BREATH_S[1], 3))
    reference = _listening([event.end_s for event in events], whole.duration_s)
    return Case("backchannel", number, whole, (events[0].start_s, events[-1].end_s), reference=reference)


def _listening(ends_s: list[float], duration_s: float) -> tuple[float, ...]:
    """How often somebody listening speaks, by bins: evenly in the breath after each sentence."""
    bins = np.zeros(ceil(round(duration_s * 1000) / BIN_MS))
    for end_s in ends_s:
        bins[int(end_s * 1000 / BIN_MS) : ceil((end_s + BREATH_S[1]) * 1000 / BIN_MS)] = 1
    return tuple(bins.tolist())
