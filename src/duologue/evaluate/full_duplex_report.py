"""Full-Duplex-Bench for several systems in one table and one picture: the benchmark's own figure, and the corrected."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from rich.table import Table

from duologue.evaluate.full_duplex_cases import GOES_ON, Task
from duologue.whole import whole_file


class Row(NamedTuple):
    """A figure: its name in the table, its task, and its names by the official rules and by the corrected ones.
    `percent`: a share."""

    name: str
    task: Task
    official: str | None
    corrected: str | None
    percent: bool = True


ROWS = (
    Row("pause: takes the turn, % ↓", "pause", "tor", "tor"),
    Row("turn: answers, % ↑", "turn", "tor", "tor"),
    Row("  after, s", "turn", "latency_s", "latency_s", percent=False),
    Row("  too early, %", "turn", None, "early"),
    Row("interruption: answers, % ↑", "interruption", "tor", "tor"),
    Row("  after, s", "interruption", "latency_s", "latency_s", percent=False),
    Row("  was talking, %", "interruption", None, "was_talking"),
    Row("  gives way, % ↑", "interruption", None, "yielded"),
    Row("  stops after, s", "interruption", None, "stop_s", percent=False),
    Row("back-channel: takes the turn, % ↓", "backchannel", "tor", "tor"),
    Row("  a minute", "backchannel", "per_minute", "per_minute", percent=False),
    Row("  distance to people ↓, skill ↑", "backchannel", "jsd", "skill", percent=False),
    *(
        row
        for task, name in zip(GOES_ON, ("user's back-channel", "talk to others", "background speech"), strict=True)
        for row in (
            Row(f"{name}: goes on, % ↑", task, None, "goes_on"),
            Row("  overlap, stops after, s", task, "stop_s", "stop_s", percent=False),
        )
    ),
)
HEADLINES = tuple(row for row in ROWS if "↑" in row.name or "↓" in row.name)

Results = Mapping[str, Mapping[str, Any]]
"""Of each system the `tasks` of its scores.json."""


def results(folder: Path) -> dict[str, Mapping[str, Any]]:
    """Of the systems that were measured in the folder, by name."""
    found = sorted(folder.glob("*/scores.json"))
    return {path.parent.name: json.loads(path.read_text())["tasks"] for path in found}


def table(systems: Results, cases: str = "made cases") -> Table:
    """A column for each system; official and corrected beside each other. `cases`: what they heard."""
    made = {task: shown["samples"] for tasks in systems.values() for task, shown in tasks.items()}
    shown = Table(title=f"Full-Duplex-Bench, {cases} ({sum(made.values())}): official | corrected", box=None)
    shown.title_justify = "left"
    shown.add_column("")
    for name in systems:
        shown.add_column(name, justify="right")
    for row in ROWS:
        shown.add_row(row.name, *(cell(tasks, row) for tasks in systems.values()))
    return shown


def cell(tasks: Mapping[str, Any], row: Row) -> str:
    both = (figure(tasks, row.task, side, name) for side, name in sides(row))
    return " | ".join(
        "–" if value is None else f"{100 * value:.0f}" if row.percent else f"{value:.2f}" for value in both
    )


def sides(row: Row) -> tuple[tuple[str, str | None], tuple[str, str | None]]:
    return ("official", row.official), ("corrected", row.corrected)


def figure(tasks: Mapping[str, Any], task: Task, side: str, name: str | None) -> float | None:
    """A mean over the task's cases; None where it does not exist."""
    if name is None or task not in tasks or name not in tasks[task][side]:
        return None
    mean: float | None = tasks[task][side][name]["mean"]
    return mean


def draw(systems: Results, path: Path) -> None:
    """The headlines as bars, official pale and corrected full."""
    import matplotlib

    matplotlib.use("Agg", force=False)
    from matplotlib.figure import Figure

    picture = Figure(figsize=(12, 1.2 + 0.32 * max(2, len(systems)) * -(-len(HEADLINES) // 3)), layout="constrained")
    panels = picture.subplots(-(-len(HEADLINES) // 3), 3).flatten()
    for panel, row in zip(panels, HEADLINES, strict=False):
        for shift, colour, (side, name) in zip((0.2, -0.2), ("#99c7c2", "#0f766e"), sides(row), strict=True):
            means = [figure(tasks, row.task, side, name) or 0.0 for tasks in systems.values()]
            at = [place + shift for place in range(len(systems))]
            panel.barh(
                at,
                [mean * (100 if row.percent else 1) for mean in means],
                height=0.38,
                color=colour,
                label=side,
            )
        panel.set_yticks(range(len(systems)), list(systems))
        panel.set_title(row.name, fontsize=9, loc="left")
        panel.invert_yaxis()
        panel.spines[["top", "right"]].set_visible(False)
    for panel in panels[len(HEADLINES) :]:
        panel.axis("off")
    panels[0].legend(fontsize=7, frameon=False)
    whole_file(path, lambda file: picture.savefig(file, format="png", dpi=110))
