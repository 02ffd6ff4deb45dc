"""Two sessions of one system talk with each other over links of several latencies: files of each call, one table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from rich.table import Table

from duologue.evaluate.timeline import Names
from duologue.evaluate.turns_report import shown as as_shown
from duologue.evaluate.two_agents import Link, exchange, save
from duologue.session import Audio, Session
from duologue.sound.vad import Vad

EVEN = Link()
"""Nothing comes late or is lost."""
Make = Callable[[], tuple[Session, Session]]
"""The two who talk, anew for each call; the second opens."""


def calls(
    make: Make,
    latencies_ms: Sequence[float],
    duration_s: float,
    folder: Path,
    names: Names,
    opening: Audio | None = None,
    vad: Vad | None = None,
    link: Link = EVEN,
) -> dict[str, dict[str, Any]]:
    """The figures of a call over each link, by its latency in ms, and how many frames of each were lost on it;
    `160ms.wav` and the like are left in the folder. `opening`, [N] at 16 kHz, is said by a second that cannot open the
    call itself. The links are otherwise as `link` is."""
    folder.mkdir(parents=True, exist_ok=True)
    found = {}
    for latency_ms in latencies_ms:
        call = exchange(*make(), duration_s, replace(link, latency_ms=latency_ms), opening)
        figures = asdict(save(call, folder / f"{latency_ms:g}ms.wav", vad, names))
        found[f"{latency_ms:g}"] = {**figures, "link": asdict(call.link), "lost_frames": call.lost_frames}
    return found


def table(found: Mapping[str, Mapping[str, Any]]) -> Table:
    """A column for each call."""
    shown = Table(title=", ".join(("two agents", *_alike(found))), box=None, title_justify="left", header_style="dim")
    shown.add_column("latency of the link, ms")
    for latency in found:
        shown.add_column(latency, justify="right")
    each = list(found.values())
    if any(any(one["lost_frames"]) for one in each):
        shown.add_row("frames lost", *(_both(one["lost_frames"], "{}") for one in each))
    shown.add_row("turns", *(_both(one["turns"], "{}") for one in each))
    shown.add_row("speech, %", *(_both([100 * share for share in one["speech_share"]], "{:.0f}") for one in each))
    for name in ("silence", "overlap"):
        shown.add_row(f"{name}, %", *(f"{100 * one[name + '_share']:.0f}" for one in each))
        shown.add_row(f"longest {name}, s", *(f"{one[f'longest_{name}_s']:.1f}" for one in each))
    for kind in ("gap", "overlap", "pause", "backchannel", "interruption"):
        shown.add_row(f"{kind}s a minute", *(as_shown(one["rates"][kind]["per_minute"]) for one in each))
    for kind in ("gap", "fto"):
        shown.add_row(f"median {kind}, s", *(as_shown(one["rates"][kind]["spread_s"]["p50"]) for one in each))
    shown.add_row("deadlock, babble", *(f"{_yes(one['deadlock'])}, {_yes(one['babble'])}" for one in each))
    return shown


def _alike(found: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """What is the same in all calls."""
    for one in list(found.values())[:1]:
        yield f"{one['duration_s']:.0f} s"
        if one["link"]["jitter_ms"]:
            yield f"jitter {one['link']['jitter_ms']:g} ms"
        if one["link"]["loss"]:
            yield f"loss {100 * one['link']['loss']:g} %"


def _both(values: Sequence[float], how: str) -> str:
    return " + ".join(how.format(value) for value in values)


def _yes(flag: bool) -> str:
    return "yes" if flag else "no"
