"""`duologue eval`: how well a duplex model answers and takes turns, beside what the paper reports."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from duologue.verbs import system

if TYPE_CHECKING:
    from duologue.duplex import LayoutSession, Talking
    from duologue.evaluate.answers import Answered, Score
    from duologue.evaluate.conversing import Track
    from duologue.evaluate.duplex import Row, Turns

HELP = "Measure a duplex model on held-out users: answers, turn-taking, back-channels; one table, one picture."
EXAMPLE = """\
  duologue eval --system omni_flatten
  duologue eval --system omni_flatten --model runs/omni/model --noises ../shared/data --questions 340 --json"""
SEED = 77
AFTER_S = 2.0
"""Of silence after a recording: time for a late answer."""


def options(parser: argparse.ArgumentParser) -> None:
    system.options(parser)
    parser.set_defaults(system="omni_flatten")
    parser.add_argument("--folder", type=Path, default=Path("runs/eval"), help="where test recordings and results go")
    parser.add_argument("--questions", type=int, default=320, help="single questions to ask, in test voices")
    parser.add_argument("--dialogues", type=int, default=100, help="whole dialogues, for turn-taking")
    parser.add_argument("--noises", default=None, help="folder with a manifest of noises; default: synthetic noise")
    parser.add_argument("--no-speech", action="store_true", help="do not listen to the answers, read them alone")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the tables")


def run(options: argparse.Namespace) -> int:
    from duologue.evaluate.answers import score
    from duologue.evaluate.duplex import answered, turns
    from duologue.evaluate.duplex_table import show
    from duologue.evaluate.ears import answers_recogniser

    if not system.is_duplex(options):
        raise ValueError(f"{options.system} takes turns by a detector; eval measures duplex models, as omni_flatten")
    session = system.duplex(options, datetime.now)()
    talking = session.talking
    ears = None if options.no_speech else answers_recogniser()
    asked, tracks = _heard(options, "questions", options.questions, (1, 1), talking)
    answers = [answered(talking, row, track, session.tools, ears) for row, track in zip(asked, tracks, strict=True)]
    talked, tracks = _heard(options, "dialogues", options.dialogues, (1, 3), talking)
    taken = turns(talked, tracks, talking.codec.unit_hz)
    _write(options.folder / "results.json", score(answers), taken, answers)
    _draw(session, talked, options.folder)
    if options.json:
        print((options.folder / "results.json").read_text())
    else:
        show(score(answers), taken, talking)
        print(options.folder / "timeline.png")
    return 0


def _heard(
    options: argparse.Namespace, name: str, count: int, exchanges: tuple[int, int], talking: Talking
) -> tuple[list[dict[str, Any]], list[Track]]:
    """Test recordings, made where they are not there yet, and what the model makes of their users."""
    from rich.console import Console
    from rich.progress import track

    from duologue.evaluate.conversing import recorded, tracks
    from duologue.synthesis import Plan

    plan = Plan(count, split="test", timing="prompt", exchanges=exchanges, noises=options.noises, seed=SEED)
    rows, users = recorded(options.folder / name, plan, AFTER_S)
    told = Console(stderr=True)
    return rows, list(track(tracks(talking, users), f"hearing {name}", total=len(users), console=told))


def _write(path: Path, scored: Score, taken: Turns, answers: list[Answered]) -> None:
    from duologue.whole import whole_file

    found = {"answers": asdict(scored), "turns": asdict(taken), "each": [asdict(answer) for answer in answers]}
    whole_file(path, lambda file: file.write(json.dumps(found, indent=1, ensure_ascii=False).encode()))


def _draw(session: LayoutSession, rows: Sequence[Row], folder: Path) -> None:
    """A conversation as a picture, `timeline.png`: the first in which the user cuts in, where there is one."""
    from duologue.evaluate import timeline
    from duologue.session import HEARD_HZ
    from duologue.sound.wav import read_channels
    from duologue.talk import converse

    cut_in = (row for row in rows if any(event["kind"] == "barge_in" for event in row["scene"]["events"]))
    heard = read_channels(folder / "dialogues" / next(cut_in, rows[0])["path"], HEARD_HZ)[:, 0]
    timeline.draw(converse(session, heard), folder / "timeline.png")
