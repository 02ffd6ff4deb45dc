"""How far a stage is and how long it will still take: a bar in a terminal, now and then a line elsewhere."""

from __future__ import annotations

import time
from datetime import timedelta

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

LINE_EVERY_S = 20.0


class Shown:
    """Shows steps `first` to `steps` of what is called `name`. Shows nothing where `quiet`."""

    def __init__(self, name: str, first: int, steps: int, quiet: bool) -> None:
        self._console = Console(stderr=True, quiet=quiet)
        self._name, self._first, self._steps = name, first, steps
        self._began_s = self._line_s = time.monotonic()
        columns = (
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        self._bar = Progress(
            TextColumn("{task.description}"),
            *columns,
            console=self._console,
            disable=quiet or not self._console.is_terminal,
        )
        self._task = self._bar.add_task(name, total=steps, completed=first)
        self._bar.start()

    def step(self, step: int, loss: float) -> None:
        self._bar.update(self._task, completed=step, description=f"{self._name}  loss {loss:.4f}")
        now_s = time.monotonic()
        if self._bar.disable and (now_s - self._line_s >= LINE_EVERY_S or step == self._steps):
            self._line_s = now_s
            left_s = (now_s - self._began_s) / (step - self._first) * (self._steps - step)
            left = timedelta(seconds=round(left_s))
            self._console.print(
                f"{self._name}  step {step}/{self._steps}  loss {loss:.4f}  left {left}", highlight=False
            )

    def close(self) -> None:
        self._bar.stop()
