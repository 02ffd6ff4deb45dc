"""Answers of the desk, checked by its program: what is written, what a recogniser hears of the speech, calls; and what
is heard and said wrong on the way, as OmniFlatten measures alignment (table 1): error rates of words and letters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from rich.table import Table

from duologue.desk import Question, check
from duologue.desk.transcript import plain
from duologue.dialogue import ToolCall
from duologue.evaluate.quality import CHARACTERS, PLAIN, Errors, Normaliser, errors
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
class Wrong:
    """Error rates in percent: numbers in words, lower case, marks aside; letters without the spaces."""

    words: float
    letters: float


@dataclass(frozen=True)
class Score:
    """Answers in percent, None where there was nothing to count; `by_topic` are (right in text, of how many).

    hearing    what it writes that it heard, against what was asked; None where it writes nothing of the kind
    speaking   its speech, as a recogniser heard it, against what it wrote; None where nobody listened
    """

    n: int
    text: float | None
    speech: float | None
    calls: float | None
    hearing: Wrong | None
    speaking: Wrong | None
    by_topic: Mapping[str, tuple[int, int]]


def score(answers: Sequence[Answered]) -> Score:
    of, right = Counter(a.topic for a in answers), Counter(a.topic for a in answers if a.text_right)
    return Score(
        n=len(answers),
        text=percent([a.text_right for a in answers]),
        speech=percent([a.speech_right for a in answers if a.speech_right is not None]),
        calls=percent([a.calls_right for a in answers if a.calls_right is not None]),
        hearing=wrong([(a.question, a.heard) for a in answers]),
        speaking=wrong([(a.written, a.spoken) for a in answers if a.spoken is not None and a.written]),
        by_topic={topic: (right[topic], of[topic]) for topic in sorted(of)},
    )


def wrong(pairs: Sequence[tuple[str, str]]) -> Wrong | None:
    """Of (reference, what was made of it) in English; None where nothing was ever made."""
    if not any(made for _, made in pairs):
        return None
    spelt = [(plain(reference, "en"), plain(made, "en")) for reference, made in pairs]
    return Wrong(_rate(spelt, PLAIN), _rate(spelt, CHARACTERS))


def _rate(pairs: Iterable[tuple[str, str]], normaliser: Normaliser) -> float:
    return 100 * (sum((errors(*pair, normaliser) for pair in pairs), Errors()).rate or 0.0)


def percent(flags: Sequence[bool | None]) -> float | None:
    return 100 * sum(map(bool, flags)) / len(flags) if flags else None


def answers_table(score: Score, theirs: Mapping[str, Mapping[str, str]] | None = None) -> Table:
    """`theirs`: what others hear and say wrong, by the name of ours (`hearing`, `speaking`) and of their data."""
    table = Table(title=f"answers to {score.n} questions, %", box=None, title_justify="left", header_style="dim")
    for column in ("", "right"):
        table.add_column(column, justify="right" if column else "left")
    for name, share in (("in text", score.text), ("in speech, as heard", score.speech), ("tool calls", score.calls)):
        table.add_row(name, shown(share))
    for name, of in (("hears: words, letters wrong", "hearing"), ("speaks what it writes", "speaking")):
        rates: Wrong | None = getattr(score, of)
        table.add_row(name, "–" if rates is None else f"{rates.words:.1f}, {rates.letters:.1f}")
        for data, figures in (theirs or {}).get(of, {}).items():
            table.add_row(f"[dim]  {data}[/]", f"[dim]{figures}[/]")
    for topic, (right, of_all) in score.by_topic.items():
        table.add_row(f"[dim]  {topic}[/]", f"[dim]{right} of {of_all}[/]")
    return table


def shown(share: float | None) -> str:
    return "–" if share is None else f"{share:.1f}"
