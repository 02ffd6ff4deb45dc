"""The loss curve of a stage: log.jsonl, tensorboard's events and loss.png, from the first step to the last
one, as if nothing had ever been interrupted."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib.figure
import numpy as np
from numpy.typing import NDArray
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from duologue.train.checkpoint import writing
from duologue.whole import whole_file

Entry = dict[str, float]

LOG = "log.jsonl"
EVENTS = "events.out.tfevents.duologue"
SMOOTH_POINTS = 20


class Curve:
    """Entries are `step`, `elapsed_s` and what was measured there. Those after the step gone on from are dropped.

    Everything raises CheckpointError where it cannot be written.
    """

    def __init__(self, folder: Path, step: int) -> None:
        self._folder = folder
        self._entries = [entry for entry in read(folder / LOG) if entry["step"] <= step]
        self._begin(LOG, b"".join(map(_line, self._entries)))
        self._begin(EVENTS, b"".join([_VERSION, *map(_event, self._entries)]))

    def _begin(self, name: str, content: bytes) -> None:
        with writing(self._folder / name):
            whole_file(self._folder / name, lambda file: file.write(content))

    def add(self, entry: Entry) -> None:
        self._entries.append(entry)
        for name, content in ((LOG, _line(entry)), (EVENTS, _event(entry))):
            with writing(self._folder / name), (self._folder / name).open("ab") as file:
                file.write(content)

    def draw(self) -> None:
        """Write loss.png."""
        path = self._folder / "loss.png"
        with writing(path):
            whole_file(path, lambda file: picture(self._entries).savefig(file, format="png"))


def _line(entry: Entry) -> bytes:
    return json.dumps(entry).encode() + b"\n"


def _event(entry: Entry) -> bytes:
    """The entry as tensorboard has it; its clock begins with the stage."""
    scalars = [
        Summary.Value(tag=name, simple_value=value)
        for name, value in entry.items()
        if name not in ("step", "elapsed_s")
    ]
    return _record(Event(wall_time=entry["elapsed_s"], step=int(entry["step"]), summary=Summary(value=scalars)))


def _record(event: Event) -> bytes:
    file = BytesIO()
    RecordWriter(file).write(event.SerializeToString())
    return file.getvalue()


_VERSION = _record(Event(file_version="brain.Event:2"))


def read(path: Path) -> list[Entry]:
    """The entries of a log; a last line that was cut off is left out."""
    if not path.exists():
        return []
    whole_lines = path.read_text().rpartition("\n")[0]
    return [json.loads(line) for line in whole_lines.splitlines()]


def picture(entries: list[Entry]) -> matplotlib.figure.Figure:
    """Loss by step: each one in a light tone, their running mean, and the validations with the best one marked."""
    figure = matplotlib.figure.Figure(figsize=(8, 4.5))
    axes = figure.subplots()
    steps, losses = _column(entries, "loss")
    axes.plot(steps, losses, color="#b8c4d6", linewidth=1)
    axes.plot(steps, _smooth(losses), color="#2a5599", label="training")
    validated, validations = _column(entries, "validation_loss")
    if len(validated):
        best = int(np.argmin(validations))
        axes.plot(validated, validations, "o-", color="#d9822b", markersize=4, label="validation")
        axes.annotate(
            f"best {validations[best]:.3f}",
            (validated[best], validations[best]),
            (4, 8),
            textcoords="offset points",
        )
    axes.set(xlabel="step", ylabel="loss (nats per cell)")
    axes.legend()
    return figure


def _column(entries: list[Entry], name: str) -> tuple[NDArray[Any], NDArray[Any]]:
    rows = [(entry["step"], entry[name]) for entry in entries if name in entry]
    steps, values = np.array(rows, float).reshape(-1, 2).T
    return steps, values


def _smooth(values: NDArray[Any]) -> NDArray[Any]:
    """The mean of each value and of those before it, as far as a twentieth of the curve."""
    width = max(1, len(values) // SMOOTH_POINTS)
    sums = np.concatenate([[0.0], np.cumsum(values)])
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - width, 0)
    means: NDArray[Any] = (sums[ends] - sums[starts]) / (ends - starts)
    return means
