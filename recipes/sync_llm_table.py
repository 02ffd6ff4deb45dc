"""What a trained SyncLLM is worth: answers when the user is known late, turns beside people's and beside the paper's.

    python recipes/sync_llm_table.py runs/omni_flatten/sync_llm/model --folder runs/sync_llm_table

Single questions are asked in test voices at several latencies; dialogues that people's timing was drawn for are gone on
with from their beginning. Each part's figures are kept in the folder, so that it can be run again.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from duologue.evaluate import by_ear, calibration
from duologue.evaluate.continuation import Continued, compared
from duologue.evaluate.conversing import recorded
from duologue.evaluate.duplex import turns
from duologue.evaluate.ears import answers_recogniser
from duologue.evaluate.turn_statistics import correlations, likeness
from duologue.evaluate.turns_report import PAPER, TOPLINE, mean_r
from duologue.model.picking import Picking
from duologue.session import HEARD_HZ
from duologue.sound.wav import read_channels
from duologue.synthesis import Plan
from duologue.systems import sync_llm_talk
from duologue.systems.sync_llm_talk import SyncSession, Talking
from duologue.whole import whole_file

LATENCIES_MS = (0, 160, 200, 240, 320, 480)
AFTER_S = 2.5
"""Of silence after a question."""
PROMPT_S, REST_S = 8.0, 16.0
"""The paper has 30 and 90."""
NAIVE = "paper"
"""The manner of timing that replies at once and lets the user wait for N(0.6, 0.4²) s."""
KINDS = ("gap", "overlap", "fto", "pause")


def main() -> None:
    options = parsed()
    torch.set_num_threads(options.threads)
    options.folder.mkdir(parents=True, exist_ok=True)
    found = kept(options.folder / "latency.json", lambda: by_latency(options))
    turned = kept(options.folder / "turns.json", lambda: by_turns(options))
    for table in (latency_table(found), correlations_table(turned), distance_table(turned)):
        Console().print(table)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="folder of a trained model")
    parser.add_argument("--folder", type=Path, default=Path("runs/sync_llm_table"), help="recordings and figures")
    parser.add_argument("--questions", type=int, default=160)
    parser.add_argument("--dialogues", type=int, default=32, help="to go on with")
    parser.add_argument("--temperature", type=float, default=0.8, help="of what is drawn")
    parser.add_argument("--latencies", type=int, nargs="+", default=list(LATENCIES_MS), help="ms")
    parser.add_argument("--noises", default=None, help="folder with a manifest of noises; default: synthetic noise")
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


def kept(path: Path, make: Callable[[], Any]) -> Any:
    """What was found before, or is found now and kept."""
    if not path.exists():
        found = json.dumps(make(), indent=1).encode()
        whole_file(path, lambda file: file.write(found))
    return json.loads(path.read_text())


# ---------------------------------------------------------------- known late


@dataclass(frozen=True)
class Late:
    """With the user known so late: answers right in speech and chunks guessed right, percent; turns taken within 400 ms
    of the stream, percent, and after how long."""

    answers: float | None
    guessed: float | None
    takes_10: float | None
    takes_ms: float | None


def by_latency(options: argparse.Namespace) -> dict[str, Any]:
    """What the model knows late by whole chunks, it guesses; the rest of the latency it does not know of."""
    model, codec = sync_llm_talk.loaded(options.model)
    plan = Plan(options.questions, split="test", timing="prompt", exchanges=(1, 1), noises=options.noises, seed=77)
    rows, users = recorded(options.folder / "questions", plan, AFTER_S)
    ears, found = answers_recogniser(), {}
    for latency_ms in options.latencies:
        chunks = latency_ms // model.config.chunk_ms
        picking = Picking(options.temperature)
        talking, late_s = Talking(model, codec, chunks, picking), (latency_ms - chunks * model.config.chunk_ms) / 1000
        heard = by_ear.all_listened(partial(SyncSession, talking), users, late_s)
        each = list(track(heard, f"{latency_ms} ms", total=len(users), console=Console(stderr=True)))
        found[str(latency_ms)] = asdict(measured(rows, each, ears, codec))
    return found


def measured(rows: Sequence[Any], each: Sequence[by_ear.Listened], ears: Any, codec: Any) -> Late:
    answers = [by_ear.answered(row, one, ears) for row, one in zip(rows, each, strict=True)]
    taken = turns(rows, [one.track(codec.ahead_units) for one in each], codec.unit_hz).takes
    guessed = [one.guessed_right for one in each if one.guessed_right is not None]
    return Late(
        answers=by_ear.score(answers).speech,
        guessed=100 * fmean(guessed) if guessed else None,
        takes_10=taken.within[10],
        takes_ms=taken.mean_response_ms,
    )


def latency_table(found: Mapping[str, Mapping[str, Any]]) -> Table:
    table = _table("the user is known late", ("ms", "answers, %", "guessed, %", "takes @10, %", "after, ms"))
    for latency, late in found.items():
        table.add_row(latency, *(_shown(late[name], 1) for name in ("answers", "guessed", "takes_10", "takes_ms")))
    return table


# ---------------------------------------------------------------- turns


def by_turns(options: argparse.Namespace) -> dict[str, Any]:
    each = list(continuations(options))
    true = [one.true for one in each]
    sides = {name: [getattr(one, name) for one in each] for name in ("made", "prompt", "resynthesised")}
    naive, people = (calibration.simulated(timing) for timing in (NAIVE, "people"))
    measured_too = {"true": true, "naive": naive, "simulated people": people}
    return {
        "correlations": {
            name: {kind: asdict(one) for kind, one in correlations(side, true).items()} | {"mean": _mean(side, true)}
            for name, side in sides.items()
        },
        "distance": {
            name: {kind: asdict(one) for kind, one in likeness(side).items()}
            for name, side in ({"made": sides["made"]} | measured_too).items()
        },
    }


def _mean(side: Sequence[Any], true: Sequence[Any]) -> float | None:
    return mean_r(correlations(side, true))


def continuations(options: argparse.Namespace) -> Iterator[Continued]:
    """Of test dialogues, without noise, that are long enough; both speakers are people in when they speak."""
    model, codec = sync_llm_talk.loaded(options.model)
    plan = Plan(3 * options.dialogues, split="test", timing="people", exchanges=(4, 6), snr_db=None, seed=79)
    rows, _ = recorded(options.folder / "dialogues", plan)
    long = [row for row in rows if row["duration"] >= PROMPT_S + REST_S]
    chosen = list(islice(long, options.dialogues))
    for number, row in enumerate(track(chosen, "goes on", console=Console(stderr=True))):
        sound = read_channels(options.folder / "dialogues" / row["path"], HEARD_HZ)
        yield compared(model, codec, sound, PROMPT_S, REST_S, Picking(options.temperature), seed=number)


def correlations_table(found: Mapping[str, Any]) -> Table:
    table = _table("r with the true continuation", ("", "ipu", "pause", "fto", "mean"))
    names = {"made": "SyncLLM nano", "prompt": "the prompt alone", "resynthesised": "the truth in units"}
    for side, name in names.items():
        each = found["correlations"][side]
        table.add_row(
            name,
            *(_shown(each[kind]["r"]["value"]) for kind in ("ipu", "pause", "fto")),
            _shown(each["mean"]),
        )
    for name, theirs in (("SyncLLM, Fisher", PAPER), ("  its truth in units", TOPLINE)):
        table.add_row(f"[dim]{name}[/]", *(f"[dim]{theirs[kind]:.2f}[/]" for kind in ("ipu", "pause", "fto", "mean")))
    return table


def distance_table(found: Mapping[str, Any]) -> Table:
    table = _table("W1 to people, s", ("", *KINDS))
    for name, each in found["distance"].items():
        table.add_row(name, *(_shown(each[kind]["distance_s"]["value"]) for kind in KINDS))
    return table


def _table(title: str, columns: Sequence[str]) -> Table:
    table = Table(title=title, box=None, title_justify="left", header_style="dim")
    for number, name in enumerate(columns):
        table.add_column(name, justify="right" if number else "left")
    return table


def _shown(value: float | None, digits: int = 2) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


if __name__ == "__main__":
    main()
