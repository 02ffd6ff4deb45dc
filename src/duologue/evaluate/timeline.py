"""A conversation as a picture: two lanes with names, waveforms, words, and the moments that matter."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from duologue.dialogue import Speaker
from duologue.session import Audio
from duologue.talk import Conversation
from duologue.whole import whole_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Names = tuple[str, str]
"""Of the left channel and of the right one."""

_LANES: dict[Speaker, tuple[str, float]] = {"user": ("#0f766e", 1.0), "assistant": ("#c2410c", -1.0)}
_COLUMNS_PER_S = 80
_S_PER_ROW = 12.0


def draw(conversation: Conversation, path: str | Path, names: Names = ("person", "duologue")) -> None:
    """Save the timeline as a picture (.png, .svg, .pdf): whole or not at all."""
    import matplotlib

    matplotlib.use("Agg", force=False)
    from matplotlib.figure import Figure

    duration_s = len(conversation.sound) / conversation.hz
    rows = max(1, int(np.ceil(duration_s / _S_PER_ROW)))
    row_s = duration_s / rows
    figure = Figure(figsize=(12, 2.6 * rows), layout="constrained")
    for row, axes in enumerate(np.atleast_1d(figure.subplots(rows, 1))):
        _draw_row(axes, conversation, names, row * row_s, (row + 1) * row_s)
    axes.set_xlabel("seconds")
    kind = Path(path).suffix.lstrip(".") or "png"
    whole_file(path, lambda file: figure.savefig(file, format=kind, dpi=110))


def _draw_row(axes: Axes, conversation: Conversation, names: Names, start_s: float, end_s: float) -> None:
    for channel, (speaker, (colour, centre)) in enumerate(_LANES.items()):
        _draw_wave(axes, conversation.sound[:, channel], conversation.hz, start_s, end_s, centre, colour)
        for utterance in conversation.dialogue.of(speaker):
            if utterance.start_s < end_s and utterance.end_s > start_s:
                axes.axvspan(
                    utterance.start_s, utterance.end_s, 0.5 if centre > 0 else 0.0, 1.0 if centre > 0 else 0.5,
                    color=colour, alpha=0.10, linewidth=0,
                )  # fmt: skip
            if start_s <= utterance.start_s < end_s:
                text = utterance.text + (" —" if utterance.cut else "")
                axes.text(utterance.start_s, centre * 1.62, text, color=colour, va="center", fontsize=8, clip_on=True)
        height = 0.75 if centre > 0 else 0.25
        axes.text(-0.008, height, names[channel], transform=axes.transAxes, ha="right", color=colour)
    _draw_marks(axes, conversation, start_s, end_s)
    axes.set(xlim=(start_s, end_s), ylim=(-2, 2), yticks=[])
    axes.spines[["top", "left", "right"]].set_visible(False)
    axes.axhline(0, color="0.85", linewidth=0.8)


def _draw_wave(axes: Axes, sound: Audio, hz: int, start_s: float, end_s: float, centre: float, colour: str) -> None:
    """The loudest sample of each column, up and down: a waveform's outline."""
    part = np.abs(sound[int(start_s * hz) : int(end_s * hz)])
    width = max(1, hz // _COLUMNS_PER_S)
    columns = np.pad(part, (0, -len(part) % width)).reshape(-1, width).max(axis=1)
    loudest = max(float(np.abs(sound).max(initial=0.0)), 1e-3)
    height = 0.42 * columns / loudest
    at_s = start_s + np.arange(len(columns)) * width / hz
    axes.fill_between(at_s, centre - height, centre + height, color=colour, linewidth=0)


def _draw_marks(axes: Axes, conversation: Conversation, start_s: float, end_s: float) -> None:
    for event in conversation.events:
        if not start_s <= event.at_s < end_s:
            continue
        if event.kind == "stopped":
            axes.axvline(event.at_s, color="#b91c1c", linewidth=1.2, linestyle=(0, (3, 2)))
            axes.text(event.at_s, 0.08, " gives way", color="#b91c1c", fontsize=7, va="bottom")
        elif event.kind == "resumed":
            axes.axvline(event.at_s, color="#15803d", linewidth=1.2, linestyle=(0, (3, 2)))
            axes.text(event.at_s, 0.08, " goes on", color="#15803d", fontsize=7, va="bottom")
        elif event.kind == "tool_call":
            axes.plot(event.at_s, 0, marker="D", color="#5b3fa8", markersize=5)
            axes.text(event.at_s, 0.08, f" {event.data['name']}", color="#5b3fa8", fontsize=7, va="bottom")
