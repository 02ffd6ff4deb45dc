"""Rows that are made one by one, many at once, and kept in blocks: after a kill, a block at most is done again.

What an engine failed at (a service that is down, a program that is missing) is left for the next run.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from rich.progress import track

from duologue.engines import EngineError
from duologue.whole import whole_file

BLOCK = 32
"""Rows that are done together."""

Row = dict[str, Any]


class Made(NamedTuple):
    """The rows that there are, in the order in which they were asked for, and what engines failed at, as they say."""

    rows: list[Row]
    failed: list[str]

    def check(self) -> None:
        """Raises EngineError where not everything could be done."""
        if self.failed:
            raise EngineError(
                f"{len(self.failed)} rows could not be made ({self.failed[0]}): what is made is kept; see to it, and "
                "run this again"
            )


def made(folder: Path, asked: Sequence[Row], one: Callable[[int], Row], workers: int, what: str) -> Made:
    """A row for each thing that is asked, made by `one` of its number where the folder does not have it yet. Where an
    engine fails for a whole block, the rest is left.

    Raises ValueError for a folder whose rows were made of something else; `one` raises EngineError.
    """
    (folder / "blocks").mkdir(parents=True, exist_ok=True)
    blocks = [range(start, min(start + BLOCK, len(asked))) for start in range(0, len(asked), BLOCK)]
    known = {block.start: _known(folder, block, asked) for block in blocks}
    missing = [block for block in blocks if len(known[block.start]) < len(block)]
    failed = list[str]()
    with ThreadPoolExecutor(workers) as pool:
        for block in track(missing, what, disable=not missing):
            rows = known[block.start]
            left = [number for number in block if number not in rows]
            found = dict(zip(left, pool.map(lambda number: _tried(one, number), left), strict=True))
            rows |= {number: row for number, row in found.items() if isinstance(row, dict)}
            keep(_file(folder, block), (rows[number] for number in sorted(rows)))
            failed += [str(row) for row in found.values() if isinstance(row, EngineError)]
            if all(isinstance(row, EngineError) for row in found.values()):
                break
    return Made([rows[number] for rows in known.values() for number in sorted(rows)], failed)


def keep(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """As JSON lines."""
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    whole_file(path, lambda file: file.write(lines.encode()))


def _file(folder: Path, block: range) -> Path:
    return folder / "blocks" / f"{block.start:07}.jsonl"


def _tried(one: Callable[[int], Row], number: int) -> Row | EngineError:
    try:
        return one(number)
    except EngineError as fault:
        return fault


def _known(folder: Path, block: range, asked: Sequence[Row]) -> dict[int, Row]:
    """By its number, each row of a block that is there."""
    if not (file := _file(folder, block)).exists():
        return {}
    rows = {row["id"]: row for row in map(json.loads, file.read_text().splitlines()) if row["id"] in block}
    for number, row in rows.items():
        for name, value in asked[number].items():
            if row.get(name) != value:
                raise ValueError(
                    f"{folder} holds row {number} with the {name} {row.get(name)!r}, not {value!r}: what it holds was "
                    "made of something else; choose another folder"
                )
    return rows
