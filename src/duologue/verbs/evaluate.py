"""`duologue eval`: how well a system answers, and a duplex model takes its turns, beside what the paper reports; other
suites of measurements by their name."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from duologue.verbs import suites, system

if TYPE_CHECKING:
    from rich.table import Table

    from duologue.duplex import LayoutSession
    from duologue.evaluate.answers import Answered, Ears
    from duologue.evaluate.duplex import Row
    from duologue.session import Audio
    from duologue.systems import Duplex

HELP = "Measure a system on held-out users: answers, delays; of a duplex model its turns too, and a picture."
EXAMPLE = """\
  duologue eval --system omni_flatten
  duologue eval --system clean_s2s --questions 340
  duologue eval --system omni_flatten --model runs/omni/model --noises ../shared/data --questions 340 --json
  duologue eval --suite fdb --system clean_s2s             # Full-Duplex-Bench; again for other systems: one table
  duologue eval --suite fdb full-duplex-bench/v1.0         # ... on the benchmark's own samples
  duologue eval --suite turns recordings --truth originals # of any folder of stereo files
  duologue eval --suite two_agents --system sync_llm --link 0 160 240
  duologue eval --suite timing                             # of what is synthesised, against people's"""
SUITES = ("answers", "fdb", "turns", "two_agents", "timing")
SEED = 77
EXCHANGES = {"questions": (1, 1), "dialogues": (1, 3)}
"""Of the recordings that are made: at least and at most."""
AFTER_S = 2.0
"""Of silence after a recording: time for a late answer."""


def options(parser: argparse.ArgumentParser) -> None:
    what = "turns: folder of stereo files, user left; fdb: of the benchmark's own samples, instead of made ones"
    parser.add_argument("recordings", nargs="?", type=Path, help=what)
    parser.add_argument("--suite", choices=SUITES, default="answers", help="what is measured (default: %(default)s)")
    system.options(parser)
    parser.set_defaults(system="omni_flatten")
    parser.add_argument("--folder", type=Path, default=Path("runs/eval"), help="where test recordings and results go")
    parser.add_argument("--questions", type=int, default=320, help="single questions to ask, in test voices")
    parser.add_argument("--dialogues", type=int, default=100, help="whole dialogues, for turn-taking (duplex)")
    parser.add_argument("--noises", default=None, help="folder with a manifest of noises; default: synthetic noise")
    parser.add_argument("--no-speech", action="store_true", help="do not listen to the answers, read them alone")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the tables")
    suites.options(parser)


def run(options: argparse.Namespace) -> int:
    if options.suite != "fdb" and (options.recordings is not None) != (options.suite == "turns"):
        raise ValueError(
            "a folder of recordings is what --suite turns measures, and --suite fdb where one is given: "
            "duologue eval --suite turns FOLDER"
        )
    if options.suite != "answers":
        tables, path = suites.SUITES[options.suite](options)
        return _shown(tables, path, options.json)
    tables = _duplex(options) if system.is_duplex(options) else _turn_taker(options)
    return _shown(tables, options.folder / "results.json", options.json)


def _shown(tables: Sequence[Table], path: Path, as_json: bool) -> int:
    if as_json:
        print(path.read_text())
    else:
        _print(tables)
    return 0


def _print(tables: Sequence[Table]) -> None:
    from rich.console import Console

    console = Console(highlight=False)
    for table in tables:
        console.print(table)


def _ears(options: argparse.Namespace) -> Ears | None:
    from duologue.evaluate.ears import answers_recogniser

    return None if options.no_speech else answers_recogniser()


def _recorded(options: argparse.Namespace, *names: str) -> list[tuple[list[dict[str, Any]], list[Audio]]]:
    """Test recordings of these names, made where they are not there yet: all are possible before one is made."""
    from duologue.evaluate.conversing import recorded
    from duologue.synthesis import Plan, check_plan

    plans = {}
    for name in names:
        if (count := getattr(options, name)) < 1:
            raise ValueError(f"--{name} {count}: give 1 or more")
        given = {"exchanges": EXCHANGES[name], "noises": options.noises, "seed": SEED}
        plans[name] = Plan(count, split="test", timing="prompt", **given)
        check_plan(options.folder / name, plans[name])
    return [recorded(options.folder / name, plan, AFTER_S) for name, plan in plans.items()]


def _told(hearing: Iterable[Any], name: str, total: int) -> list[Any]:
    from rich.console import Console
    from rich.progress import track

    return list(track(hearing, f"hearing {name}", total=total, console=Console(stderr=True)))


def _write(folder: Path, answers: Sequence[Answered], **figures: Any) -> None:
    from duologue.evaluate.answers import score
    from duologue.whole import whole_file

    found = {"answers": asdict(score(answers)), **figures, "each": [asdict(answer) for answer in answers]}
    lines = json.dumps(found, indent=1, ensure_ascii=False).encode()
    whole_file(folder / "results.json", lambda file: file.write(lines))


# ---------------------------------------------------------------- a system that takes turns


def _turn_taker(options: argparse.Namespace) -> list[Table]:
    from duologue.evaluate.answers import answers_table, score
    from duologue.evaluate.replies import answered, conversed, delays, delays_table

    make = system.turn_taker(options, datetime.now)
    ears, ((asked, users),) = _ears(options), _recorded(options, "questions")
    heard = (list(conversed(make(), row, user)) for row, user in zip(asked, users, strict=True))
    found = _told(heard, "questions", len(users))
    answers = [answered(row, replies, ears) for row, replies in zip(asked, found, strict=True)]
    took = delays([replies[-1] for replies in found])
    _write(options.folder, answers, delays=asdict(took))
    return [answers_table(score(answers)), delays_table(took)]


# ---------------------------------------------------------------- a duplex model


def _duplex(options: argparse.Namespace) -> list[Table]:
    from duologue.duplex import LayoutSession
    from duologue.evaluate.answers import score
    from duologue.evaluate.conversing import tracks
    from duologue.evaluate.duplex import answered, later_turns, turns
    from duologue.evaluate.duplex_table import alignment_table, turns_table

    make = system.duplex(options, datetime.now)
    session = make()
    if not isinstance(session, LayoutSession):
        return _by_ear(options, make)
    talking = session.talking
    ears, ((asked, users), (talked, callers)) = _ears(options), _recorded(options, *EXCHANGES)
    waits = [later_turns(row, talking.codec.unit_hz) for row in asked]
    heard = _told(tracks(talking, users, waits=waits), "questions", len(users))
    answers = [answered(talking, row, track, session.tools, ears) for row, track in zip(asked, heard, strict=True)]
    taken = turns(talked, _told(tracks(talking, callers), "dialogues", len(callers)), talking.codec.unit_hz)
    _write(options.folder, answers, turns=asdict(taken))
    _draw(session, talked, options.folder)
    chunk_ms = round(1000 * talking.chunk_units / talking.codec.unit_hz)
    return [alignment_table(score(answers)), turns_table(taken, chunk_ms)]


def _by_ear(options: argparse.Namespace, make: Callable[[], Duplex]) -> list[Table]:
    """Of a model that writes nothing: what is heard of it."""
    from duologue.evaluate import by_ear
    from duologue.evaluate.answers import answers_table
    from duologue.evaluate.duplex import turns
    from duologue.evaluate.duplex_table import turns_table

    ears, first = _ears(options), make()
    if ears is None:
        raise ValueError(f"{options.system} writes no text that could be read: leave --no-speech out")
    (asked, users), (talked, callers) = _recorded(options, *EXCHANGES)
    heard = _told(by_ear.all_listened(make, users), "questions", len(users))
    answers = [by_ear.answered(row, one, ears) for row, one in zip(asked, heard, strict=True)]
    heard = _told(by_ear.all_listened(make, callers), "dialogues", len(callers))
    tracks = [one.track(first.delay_frames) for one in heard]
    taken = turns(talked, tracks, 1 / first.frame_s)
    _write(options.folder, answers, turns=asdict(taken))
    return [answers_table(by_ear.score(answers)), turns_table(taken, round(1000 * first.frame_s))]


def _draw(session: LayoutSession, rows: Sequence[Row], folder: Path) -> None:
    """A conversation as a picture, `timeline.png`: the first in which the user cuts in, where there is one."""
    from duologue.evaluate import timeline
    from duologue.session import HEARD_HZ
    from duologue.sound.wav import read_channels
    from duologue.talk import converse

    cut_in = (row for row in rows if any(event["kind"] == "barge_in" for event in row["scene"]["events"]))
    heard = read_channels(folder / "dialogues" / next(cut_in, rows[0])["path"], HEARD_HZ)[:, 0]
    timeline.draw(converse(session, heard), folder / "timeline.png")
