"""Answers of the desk, checked by its program: what is written, what a recogniser hears of the speech, calls."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from rich.table import Table

from duologue.desk import Question, check
from duologue.dialogue import ToolCall
from duologue.session import Audio

Ears = Callable[[Audio], str]
"""A recogniser: [N] at 16 kHz → words."""


@dataclass(frozen=True)
class Answered:
    """One question. `calls_right` is None where nothing had to be called; `spoken` where nobody listened."""

    topic: str
    question: str
    wanted: str
    heard: str
    written: str
    text_right: bool
    spoken: str | None
    speech_right: bool | None
    calls_right: bool | None


def judged(question: Question, heard: str, written: str, calls: Sequence[ToolCall], spoken: str | None) -> Answered:
    """What was made of a question: understood, written, called, and said, as a recogniser heard it."""
    return Answered(
        topic=question.topic,
        question=question.text,
        wanted=question.answer,
        heard=heard,
        written=written,
        text_right=check(question, written),
        spoken=spoken,
        speech_right=None if spoken is None else check(question, spoken),
        calls_right=None if question.tool_call is None else same_calls(calls, (question.tool_call,)),
    )


def same_calls(made: Sequence[ToolCall], wanted: Sequence[ToolCall]) -> bool:
    """Whether the same is called, with the same arguments, in the same order."""
    return [(call.name, call.parsed()) for call in made] == [(call.name, call.parsed()) for call in wanted]


@dataclass(frozen=True)
class Score:
    """Answers in percent, None where there was nothing to count; `by_topic` are (right in text, of how many)."""

    n: int
    text: float | None
    speech: float | None
    calls: float | None
    by_topic: Mapping[str, tuple[int, int]]


def score(answers: Sequence[Answered]) -> Score:
    of, right = Counter(a.topic for a in answers), Counter(a.topic for a in answers if a.text_right)
    return Score(
        n=len(answers),
        text=percent([a.text_right for a in answers]),
        speech=percent([a.speech_right for a in answers if a.speech_right is not None]),
        calls=percent([a.calls_right for a in answers if a.calls_right is not None]),
        by_topic={topic: (right[topic], of[topic]) for topic in sorted(of)},
    )


def percent(flags: Sequence[bool | None]) -> float | None:
    return 100 * sum(map(bool, flags)) / len(flags) if flags else None


def answers_table(score: Score) -> Table:
    table = Table(title=f"answers to {score.n} questions, %", box=None, title_justify="left", header_style="dim")
    for column in ("", "right"):
        table.add_column(column, justify="right" if column else "left")
    for name, share in (("in text", score.text), ("in speech, as heard", score.speech), ("tool calls", score.calls)):
        table.add_row(name, shown(share))
    for topic, (right, of) in score.by_topic.items():
        table.add_row(f"[dim]  {topic}[/]", f"[dim]{right} of {of}[/]")
    return table


def shown(share: float | None) -> str:
    return "–" if share is None else f"{share:.1f}"
