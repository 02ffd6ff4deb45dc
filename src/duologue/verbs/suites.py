"""The suites of `duologue eval` beside answers: each leaves a table, a JSON file and pictures in its own folder."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from duologue.verbs import system
from duologue.verbs.fingerprint import fingerprint
from duologue.verbs.talk import LOCK_STEP_CLOCK

if TYPE_CHECKING:
    from rich.table import Table

    from duologue.evaluate.answers import Ears
    from duologue.evaluate.full_duplex_cases import Case
    from duologue.session import Audio, Session

    Result = tuple[list[Table], Path]
    """Tables, and the file with the figures."""

CLOCK = datetime.fromisoformat(LOCK_STEP_CLOCK)
FDB_SEED = 78


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--cases", type=int, default=8, help="fdb: made, of each of the seven tasks (%(default)s)")
    parser.add_argument("--name", default=None, help="fdb: of the system in the table (default: what --system says)")
    parser.add_argument("--truth", type=Path, default=None, help="turns: folder of the true recordings, same names")
    parser.add_argument(
        "--link", type=float, nargs="+", default=[0, 160, 240], help="two_agents: latencies between them, ms"
    )
    parser.add_argument("--jitter", type=float, default=0, help="two_agents: of the link, ms (default: %(default)s)")
    parser.add_argument("--loss", type=float, default=0, help="two_agents: share of lost frames (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=120, help="two_agents: how long they talk")
    parser.add_argument("--temperature", type=float, default=0.8, help="two_agents, sync_llm: of what is drawn")


# ---------------------------------------------------------------- Full-Duplex-Bench


def fdb(options: argparse.Namespace) -> Result:
    """The system on made cases, or on those of a folder; the table shows all systems that were measured on them."""
    from rich.console import Console
    from rich.progress import track

    from duologue.evaluate import full_duplex_report, full_duplex_run
    from duologue.evaluate.ears import EARS_NAME

    make, described = system.session(options, lambda: CLOCK), _described(options)
    cases, inputs, folder = _made(options) if options.recordings is None else _public(options)
    name = options.name or options.system + ("" if options.latency is None else f" {options.latency}")
    heard = full_duplex_run.talked(cases, inputs, folder / name, make, described)
    shown = track(heard, f"{name} hears", total=len(cases), console=Console(stderr=True))
    full_duplex_run.scored(list(shown), folder / name, _ears(options), ears_name=EARS_NAME)
    found = full_duplex_report.results(folder)
    path = folder / "results.json"
    _write(path, found)
    full_duplex_report.draw(found, folder / "fdb.png")
    called = "made cases" if options.recordings is None else options.recordings.resolve().name
    return [full_duplex_report.table(found, called)], path


def _made(options: argparse.Namespace) -> tuple[Sequence[Case], Path, Path]:
    """Cases, where their inputs lie, where outputs go."""
    from duologue.evaluate import full_duplex_cases

    inputs = options.folder / "fdb" / "cases"
    return full_duplex_cases.made(inputs, options.cases, FDB_SEED, options.noises), inputs, options.folder / "fdb"


def _public(options: argparse.Namespace) -> tuple[Sequence[Case], Path, Path]:
    from duologue.evaluate import full_duplex_public

    inputs = options.recordings.resolve()
    return full_duplex_public.samples(inputs), inputs, options.folder / f"fdb_{inputs.name}"


def _described(options: argparse.Namespace) -> dict[str, Any]:
    """What makes a difference to what is said: the options, and what lies in the files that they name."""
    named = {name: getattr(options, name) for name in ("system", "model", "asr", "llm", "tts", *system.OWN)}
    places = [named["model"], *(named[name].partition(":")[2] for name in ("asr", "llm", "tts"))]
    return {**named, "files": [fingerprint(place) for place in places if place]}


def _ears(options: argparse.Namespace) -> Ears | None:
    from duologue.evaluate.ears import answers_recogniser

    return None if options.no_speech else answers_recogniser()


def _write(path: Path, found: Mapping[str, Any]) -> None:
    from duologue.whole import whole_file

    lines = json.dumps(found, indent=1).encode()
    whole_file(path, lambda file: file.write(lines))


# ---------------------------------------------------------------- turns of any recordings


def turns(options: argparse.Namespace) -> Result:
    """Of a folder of stereo files."""
    from duologue.evaluate import turns_report

    found = turns_report.heard(options.recordings)
    truth = None if options.truth is None else turns_report.heard(options.truth)
    report, folder = turns_report.report(found, truth), options.folder / "turns"
    turns_report.save(report, found, folder)
    return turns_report.tables(report), folder / "turns.json"


# ---------------------------------------------------------------- two of them talk


def two_agents(options: argparse.Namespace) -> Result:
    """Two sessions of the system talk with each other over links of several latencies."""
    from duologue.evaluate import agents_report
    from duologue.evaluate.two_agents import Link

    link = Link(jitter_ms=options.jitter, loss=options.loss)
    folder, names = options.folder / "two_agents", (f"{options.system}, first", "second, opens")
    one, opening = system.session(options, lambda: CLOCK), _opening()
    knows = options.system == "sync_llm"
    both: agents_report.Make = partial(_agents, options, opening) if knows else lambda: (one(), one())
    said = None if knows else opening
    found = agents_report.calls(both, options.link, options.seconds, folder, names, said, link=link)
    path = folder / "results.json"
    _write(path, found)
    return [agents_report.table(found)], path


def _opening() -> Audio:
    """The first of the test questions, in a test voice."""
    from duologue.desk import questions
    from duologue.synthesis.voice import Manner, speak, voices

    return speak(Manner(voices("test", "en")[0]), next(questions(FDB_SEED, "test", "en", ("sums",))).text)


def _agents(options: argparse.Namespace, opening: Audio) -> tuple[Session, Session]:
    """Two who draw what they say, each with a random generator of its own: the likeliest word is often none. The
    second knows that it opened the call."""
    from duologue.model.picking import Picking
    from duologue.systems import sync_llm_talk

    latency, drawn = (
        1 if options.latency is None else options.latency,
        Picking(temperature=options.temperature),
    )
    make = partial(sync_llm_talk.session, options.model, latency, drawn, voice=options.voice)
    return make(seed=1), make(seed=2, opening=opening)


# ---------------------------------------------------------------- what is synthesised


def timing(options: argparse.Namespace) -> Result:
    """Each manner of timing that dialogues are synthesised with, against people's: how long, and how often."""
    from duologue.evaluate import calibration

    found, folder = calibration.calibrated(), options.folder / "timing"
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / "results.json", {manner: asdict(one) for manner, one in found.items()})
    return [calibration.table(found)], folder / "results.json"


SUITES: dict[str, Callable[[argparse.Namespace], Result]] = {
    "fdb": fdb,
    "turns": turns,
    "two_agents": two_agents,
    "timing": timing,
}
