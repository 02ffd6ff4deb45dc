"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO


def whole_file(path: str | Path, save: Callable[[IO[bytes]], object]) -> None:
    """Let `save` write to a temporary file beside `path`, then rename it: a reader sees the old file or all of
    the new one. Raises OSError (disk full, no folder) with nothing left behind."""
    path = Path(path)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            save(file)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except BaseException as error:
        Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno and error.filename is None:
            error.filename = str(path)
        raise


def _sync_folder(folder: Path) -> None:
    """Make the rename itself last through a power cut, where folders can be synced."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def whole_folder(folder: str | Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill an empty folder, then move its files into this one. Raises OSError (disk full), and what was in
    the folder is still there."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".", suffix=".tmp") as unfinished:
        try:
            write(Path(unfinished))
        except Exception as error:
            raise OSError(f"{folder} could not be written ({error}); make room on the disk") from error
        for file in sorted(Path(unfinished).iterdir()):
            file.replace(folder / file.name)
