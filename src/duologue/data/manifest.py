"""Recordings and what is said in them: one JSON object per line, paths relative to the manifest's folder.

    {"path": "audio/0_00.flac", "text": "zero", "speaker": "george", "language": "en", "sample_rate": 8000}

Only `path` must be there. All lines are looked at before anything is refused, so one reading names every
fault.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import soundfile

Row = dict[str, Any]
"""One line, as it is written."""

SHOWN_FAULTS = 20


class ManifestError(ValueError):
    """A manifest that cannot be used. `faults`: for each line file, number, what is wrong and what to do."""

    def __init__(self, faults: tuple[str, ...]) -> None:
        self.faults = faults
        more = len(faults) - SHOWN_FAULTS
        super().__init__("\n".join((*faults[:SHOWN_FAULTS], *([f"and {more} faults more"] if more > 0 else []))))


@dataclass(frozen=True)
class Clip:
    """A recording. `rest` holds the fields of its line that have no place here."""

    path: Path
    text: str | None = None
    speaker: str | None = None
    language: str | None = None
    duration_s: float = 0.0
    sample_rate_hz: int = 0
    rest: Row = field(default_factory=dict)


def read(path: str | Path, hz: int | None = None, where: Callable[[Row], bool] | None = None) -> list[Clip]:
    """The clips of a manifest, in its order: all, or those whose line `where` says yes to.

    Rate and duration are those of the files; with `hz`, every recording must have that rate. Raises
    FileNotFoundError where there is no manifest; ManifestError for lines that are no JSON objects or have fields of
    the wrong type, for audio that is missing or cannot be read, and for rates other than the line or `hz` says.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: there is no such manifest")
    clips, faults = [], []
    for number, line in _lines(Path(path)):
        try:
            row = _row(line)
            if where is None or where(row):
                clips.append(_clip(row, Path(path).parent, hz))
        except ValueError as fault:
            faults.append(f"{path}:{number}: {fault}")
    if faults:
        raise ManifestError(tuple(faults))
    return clips


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    with path.open("rb") as file:
        yield from ((number, line) for number, line in enumerate(file, 1) if line.strip())


# ---------------------------------------------------------------- one line


def _row(line: bytes) -> Row:
    try:
        row = json.loads(line)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"not JSON ({error}); write the line again or remove it") from error
    if not isinstance(row, dict):
        raise ValueError(f"a JSON {type(row).__name__} where an object is needed; write the line again or remove it")
    if not isinstance(row.get("path"), str):
        raise ValueError(f'no "path" of a recording, only {sorted(row)}; add it or remove the line')
    for name in ("text", "speaker", "language"):
        if not isinstance(row.get(name), str | None):
            raise ValueError(f'"{name}" is {row[name]!r}; give a string or null')
    return row


def _clip(row: Row, folder: Path, hz: int | None) -> Clip:
    path = folder / row["path"]
    if not path.is_file():
        raise ValueError(f"{path}: there is no such recording; bring it back or remove the line")
    try:
        found = soundfile.info(path)
    except soundfile.LibsndfileError as error:
        raise ValueError(f"{path}: not a sound file that can be read; make it again or remove the line") from error
    for wanted, who in ((row.get("sample_rate"), "the manifest says"), (hz, "needed are")):
        if wanted is not None and wanted != found.samplerate:
            raise ValueError(
                f"{path}: recorded at {found.samplerate} Hz, {who} {wanted} Hz; "
                f"correct the line or convert the file (sox in.wav -r {wanted} out.wav)"
            )
    named = {name: row[name] for name in ("text", "speaker", "language") if name in row}
    rest = {name: value for name, value in row.items() if name not in _PLACED}
    return Clip(path, **named, duration_s=found.duration, sample_rate_hz=found.samplerate, rest=rest)


_PLACED = {place.name for place in fields(Clip)} | {"sample_rate"}
