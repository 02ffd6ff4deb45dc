"""Answers and turns of a duplex model as tables, beside OmniFlatten's (versions 1 and 2 of the paper)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.table import Table

from duologue.evaluate.acc_at_k import KS, Accuracy
from duologue.evaluate.answers import Score, answers_table, shown
from duologue.evaluate.duplex import Turns

PAPER: Mapping[str, Mapping[str, tuple[float | None, ...]]] = {
    "takes": {"v1": (None, 55.7, 71.3, None, 160), "v2": (20.6, 53.6, 66.3, 71.7, 193)},
    "yields": {"v1": (None, None, None, 30.0, 805), "v2": (10.9, 30.9, 41.8, 51.8, 287)},
}
"""Acc@1, 5, 10, 25 in percent and the mean in ms, by version, of its chunks of 10 tokens; None: not known of it."""
ALIGNMENT = {
    "hearing": {
        "OmniFlatten, LibriSpeech clean": "7.9, –",
        "OmniFlatten, LibriSpeech other": "19.2, –",
        "OmniFlatten, WenetSpeech meeting": "–, 26.1",
        "OmniFlatten, WenetSpeech net": "–, 19.0",
    },
    "speaking": {"OmniFlatten, LibriTTS": "4.5, –", "OmniFlatten, AISHELL-3": "–, 4.5"},
}
"""Words and letters wrong in percent (version 2, table 1): English in words, Mandarin in characters."""
MEASURED_ON = (
    "ours: the desk's spoken questions, its answers as the embedded recogniser hears them; OmniFlatten's (v2, table "
    "1): speech of those corpora, its own as Whisper and Paraformer hear it"
)


def alignment_table(score: Score) -> Table:
    """The table of answers, with OmniFlatten's figures beside what is heard and said wrong on the way."""
    table = answers_table(score, ALIGNMENT)
    table.caption, table.caption_justify = MEASURED_ON, "left"
    return table


def turns_table(turns: Turns, chunk_ms: int) -> Table:
    shape: dict[str, Any] = {"box": None, "title_justify": "left", "collapse_padding": True}
    table = Table(title="turns, % within K tokens of 40 ms", header_style="dim", **shape)
    columns = ("", "n", *(f"@{k}" for k in KS), "mean ms", "as heard", "early", "exact " + "/".join(map(str, KS)))
    for column in columns:
        table.add_column(column, justify="right" if column else "left")
    for name, found in (("takes", turns.takes), ("yields", turns.yields)):
        table.add_row(name, *_row(found, chunk_ms))
        for version, (*shares, mean_ms) in PAPER[name].items():
            theirs = (f"  OmniFlatten {version}", "", *map(shown, shares), str(mean_ms))
            table.add_row(*(f"[dim]{cell}[/]" for cell in theirs))
    table.add_row("goes on", str(turns.back_channels), shown(turns.goes_on))
    table.caption = "goes on: % of the user's back-channels that did not stop it"
    return table


def _row(found: Accuracy, chunk_ms: int) -> Iterator[str]:
    yield str(found.n)
    yield from (shown(found.within[k]) for k in KS)
    mean_ms = found.mean_response_ms
    yield "–" if mean_ms is None else f"{mean_ms:.0f}"
    yield "–" if mean_ms is None else f"{mean_ms + chunk_ms:.0f}"
    yield str(found.early)
    yield "/".join("–" if (share := found.exact[k]) is None else f"{share:.0f}" for k in KS)
