"""Many recordings in a folder: in parallel, to be gone on with after a kill, the same whoever makes them.

folder/plan.json         what was asked for
folder/audio/000017.flac one recording, 16 kHz
folder/blocks/           lines of the blocks that are done, until all are
folder/manifest.jsonl    one line per recording, with all that is needed to make it again
folder/dropped.jsonl     those that the screening dropped, and why
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn, TimeRemainingColumn

from duologue.desk import Question
from duologue.desk.rules import Language
from duologue.engines.named import recogniser
from duologue.session import HEARD_HZ, Audio
from duologue.sound.wav import write
from duologue.synthesis import casting, screen
from duologue.synthesis.alone import alone
from duologue.synthesis.mix import noises
from duologue.synthesis.plan import Plan
from duologue.synthesis.scene import Scene, sound
from duologue.synthesis.script import Script, endless, scripts
from duologue.whole import whole_file

BLOCK = 32
"""Recordings that are made, or after a kill made again, together."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Made:
    """What lies in the folder: recordings, their hours, how many the screening dropped."""

    manifest: Path
    recordings: int
    hours: float
    dropped: int


def synthesise(folder: str | Path, plan: Plan, workers: int = 1, quiet: bool = False) -> Made:
    """Make the plan's recordings in `folder`, or what is still missing of them.

    The files are the same, byte for byte, for any number of workers and however often it was interrupted. While
    another process makes them, it waits. Raises ValueError for a folder that holds another plan, EngineError where a
    voice or the recogniser is missing.
    """
    folder = Path(folder)
    found = noises(plan.noises, plan.split) if plan.noises and plan.snr_db else ()
    if plan.asr:
        recogniser(plan.asr).transcribe(np.zeros(HEARD_HZ, np.float32))
    check_plan(folder, plan)
    folder.mkdir(parents=True, exist_ok=True)
    with alone(folder):
        _begun(folder, plan)
        return _made(folder, plan, found, workers, quiet)


def _made(folder: Path, plan: Plan, found: tuple[str, ...], workers: int, quiet: bool) -> Made:
    manifest, dropped = folder / "manifest.jsonl", folder / "dropped.jsonl"
    if not manifest.is_file():
        _make_blocks(folder, plan, found, workers, quiet)
        rows = [row for path in sorted((folder / "blocks").glob("*.jsonl")) for row in _read(path)]
        _write(dropped, (row for row in rows if "dropped" in row))
        _write(manifest, (row for row in rows if "dropped" not in row))
    shutil.rmtree(folder / "blocks", ignore_errors=True)
    kept = _read(manifest)
    return Made(manifest, len(kept), sum(row["duration"] for row in kept) / 3600, len(_read(dropped)))


def check_plan(folder: Path, plan: Plan) -> None:
    """Raises ValueError for a folder that holds another plan."""
    written = folder / "plan.json"
    if written.is_file() and written.read_bytes() != _as_json(plan):
        raise ValueError(f"{folder} holds the recordings of another plan ({written}); choose another folder")


def _as_json(plan: Plan) -> bytes:
    return json.dumps(plan.to_json(), indent=1).encode()


def _begun(folder: Path, plan: Plan) -> None:
    """The folder with this plan in it, and without what a kill left half written."""
    check_plan(folder, plan)
    (folder / "audio").mkdir(exist_ok=True)
    whole_file(folder / "plan.json", lambda file: file.write(_as_json(plan)))
    for place in (folder, folder / "audio", folder / "blocks"):
        for half in place.glob(".*.tmp"):
            half.unlink()


# ---------------------------------------------------------------- blocks


@dataclass(frozen=True)
class Block:
    """Recordings `first`, `first` + 1 ... of a plan: their scripts, or questions alone."""

    first: int
    asks: tuple[Script | Question, ...]

    @property
    def name(self) -> str:
        return f"{self.first:06}.jsonl"


def _blocks(plan: Plan) -> Iterator[Block]:
    if plan.kind == "dialogues":
        asks: Iterator[Script | Question] = scripts(plan.seed, plan.split, plan.language, plan.topics, plan.exchanges)
    else:
        asks = endless(plan.seed, plan.split, plan.language, plan.topics)
    for first in range(0, plan.count, BLOCK):
        yield Block(first, tuple(islice(asks, min(BLOCK, plan.count - first))))


_COLUMNS = (
    "{task.description}",
    BarColumn(),
    MofNCompleteColumn(),
    TimeElapsedColumn(),
    TimeRemainingColumn(),
)


def _make_blocks(folder: Path, plan: Plan, found: tuple[str, ...], workers: int, quiet: bool) -> None:
    (folder / "blocks").mkdir(exist_ok=True)
    done = {path.name for path in (folder / "blocks").glob("*.jsonl")}
    with Progress(*_COLUMNS, console=Console(stderr=True), disable=quiet) as progress:
        task = progress.add_task(f"{plan.split} {plan.kind}", total=plan.count)
        missing = [block for block in _blocks(plan) if block.name not in done]
        progress.advance(task, plan.count - sum(len(block.asks) for block in missing))
        for made in _in_parallel(folder, plan, missing, found, workers):
            progress.advance(task, made)


def _in_parallel(folder: Path, plan: Plan, blocks: list[Block], found: tuple[str, ...], workers: int) -> Iterator[int]:
    """Make the blocks in so many processes; how many recordings each had, as they are done."""
    if workers <= 1:
        yield from (make_block(folder, plan, block, found) for block in blocks)
        return
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        running = [pool.submit(make_block, folder, plan, block, found) for block in blocks]
        try:
            yield from (future.result() for future in as_completed(running))
        finally:
            pool.shutdown(cancel_futures=True)


def make_block(folder: Path, plan: Plan, block: Block, found: tuple[str, ...]) -> int:
    """Make the recordings of a block; its file of lines comes last and says that they are there."""
    rows = [make(folder, plan, block.first + n, ask, found) for n, ask in enumerate(block.asks)]
    _write(folder / "blocks" / block.name, rows)
    return len(rows)


# ---------------------------------------------------------------- one recording


def make(folder: Path, plan: Plan, index: int, ask: Script | Question, found: tuple[str, ...]) -> Row:
    """Make recording `index` and give its line; one that is dropped is not written, and its line says why."""
    script = ask if isinstance(ask, Script) else Script.of((ask,))
    asked = [asdict(q) | {"turn": turn} for q, turn in zip(script.questions, script.asked_in, strict=True)]
    row: Row = {"path": f"audio/{index:06}.flac", "index": index, "questions": asked}
    if fault := next(filter(None, (screen.text_fault(line.spoken) for line in script.lines)), None):
        return row | {"dropped": fault}
    rng = np.random.default_rng([plan.seed, index, int(plan.split == "test"), int(plan.kind == "utterances")])
    scene = _scene(plan, ask, found, rng)
    whole = sound(scene, plan.noises)
    heard = whole if plan.kind == "dialogues" else whole[:, int(plan.says == "answers")]
    row |= _line(plan, scene, script.language)
    if fault := _fault(plan, scene, whole, heard):
        return row | {"dropped": fault}
    write(folder / row["path"], heard, HEARD_HZ)
    return row


def _scene(plan: Plan, ask: Script | Question, found: tuple[str, ...], rng: np.random.Generator) -> Scene:
    if isinstance(ask, Script):
        return casting.dialogue(plan, ask, found, rng)
    return casting.utterance(plan, Script.of((ask,)), found, rng)


def _fault(plan: Plan, scene: Scene, whole: Audio, heard: Audio) -> str | None:
    rules = screen.sound_fault(heard) or screen.pace_fault(scene)
    return rules or (screen.words_fault(scene, whole, recogniser(plan.asr)) if plan.asr else None)


def _line(plan: Plan, scene: Scene, language: Language) -> Row:
    """What the manifest says of a recording: what readers look for, then all that it was made of."""
    alone = scene.events[0] if plan.kind == "utterances" else None
    return {
        "text": alone.text if alone else None,
        "speaker": scene.manners[alone.speaker if alone and alone.speaker == "assistant" else "user"].voice,
        "language": language,
        "sample_rate": HEARD_HZ,
        "duration": scene.duration_s,
        "kind": plan.kind.removesuffix("s"),
        "split": plan.split,
        "seed": plan.seed,
        "timing": plan.timing if plan.kind == "dialogues" else None,
        "scene": scene.to_json(),
    }


# ---------------------------------------------------------------- lines


def _write(path: Path, rows: Iterable[Row]) -> None:
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    whole_file(path, lambda file: file.write(text.encode()))


def _read(path: Path) -> list[Row]:
    rows: list[Row] = []
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                rows.append(json.loads(line))
            except ValueError as error:
                fault = f"{path}:{number}: not a line of JSON ({error})"
                raise ValueError(f"{fault}; remove the file, and run again") from error
    return rows
