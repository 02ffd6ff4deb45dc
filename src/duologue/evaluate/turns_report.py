"""One report of how two people, or a person and a machine, take turns: of any folder of stereo recordings.

Left is the user, right the assistant. Who speaks when is a VAD's to say, the same on both channels. Beside the figures:
how far they are from people's, and, where the true continuation of each recording is at hand, how they go with it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.table import Table

from duologue.evaluate.distribution import Interval
from duologue.evaluate.timing import SPEAKERS, Tracks
from duologue.evaluate.turn_statistics import (
    Correlation,
    Likeness,
    Rate,
    as_people_counted,
    correlations,
    likeness,
    rates,
)
from duologue.evaluate.turn_taking import Events, events
from duologue.sound import wav
from duologue.sound.vad import VAD_HZ, Vad
from duologue.synthesis.human_timing import HUMAN
from duologue.whole import whole_file

SOUNDS = (".wav", ".flac", ".ogg")
PEOPLE = {"gap": 4.4, "overlap": 3.3, "backchannel": 3.8, "interruption": 0.63}
"""A minute, in Switchboard; gaps and overlaps are transfers there. Back-channels and barge-ins: of the median call."""
PAPER = {"ipu": 0.60, "pause": 0.50, "fto": 0.20, "mean": 0.43}
TOPLINE = {"ipu": 0.92, "pause": 0.92, "fto": 0.53, "mean": 0.79}
"""SyncLLM's Table 2, Fisher, 160 ms: generated against true continuations, and the truth resynthesised."""
NAMES = {
    "ipu": "stretch of speech",
    "fto": "floor transfer",
    "interruption": "barge-in",
    "backchannel": "back-channel",
}


@dataclass(frozen=True)
class Report:
    """`speech_share` of user and assistant; `likeness` to people; `correlations` with the truth, where it is given."""

    recordings: int
    minutes: float
    speech_share: tuple[float, float]
    rates: Mapping[str, Rate]
    likeness: Mapping[str, Likeness]
    correlations: Mapping[str, Correlation] | None = None


# ---------------------------------------------------------------- the recordings


def heard(folder: str | Path, vad: Vad | None = None) -> dict[str, Events]:
    """What happens in each stereo recording of a folder, by its path without the suffix, but where several differ in
    that alone. Raises FileNotFoundError where there is none, ValueError for one that is not stereo, SoundError."""
    folder = Path(folder)
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SOUNDS)
    if not paths:
        raise FileNotFoundError(f"{folder} holds no recordings ({', '.join(SOUNDS)})")
    of = Counter(path.with_suffix("") for path in paths)
    names = (path if of[path.with_suffix("")] > 1 else path.with_suffix("") for path in paths)
    return {str(name.relative_to(folder)): _heard(path, vad) for name, path in zip(names, paths, strict=True)}


def _heard(path: Path, vad: Vad | None) -> Events:
    sound = wav.read_channels(path, VAD_HZ)
    if sound.shape[1] != 2:
        raise ValueError(f"{path} has one channel; turns are measured in two: the user left, the assistant right")
    return events(Tracks.of_sound(sound, VAD_HZ, vad))


# ---------------------------------------------------------------- the figures


def report(found: Mapping[str, Events], truth: Mapping[str, Events] | None = None, seed: int = 0) -> Report:
    """Raises ValueError where the truth has no recording of the same name."""
    each = list(found.values())
    total_ms = sum(one.tracks.duration_ms for one in each)
    spoken_ms = [sum(span.length_ms for one in each for span in one.ipus[speaker]) for speaker in SPEAKERS]
    return Report(
        recordings=len(each),
        minutes=total_ms / 60_000,
        speech_share=(spoken_ms[0] / total_ms, spoken_ms[1] / total_ms),
        rates=rates(each),
        likeness=likeness(each, seed),
        correlations=None if truth is None else correlations(each, _matched(found, truth), seed),
    )


def _matched(found: Mapping[str, Events], truth: Mapping[str, Events]) -> list[Events]:
    if missing := sorted(set(found) - set(truth)):
        raise ValueError(f"the truth has no {missing[0]} ({len(missing)} missing): give both the same names")
    return [truth[name] for name in found]


def mean_r(found: Mapping[str, Correlation]) -> float | None:
    """Over the kinds of events, as the paper averages; None where one is undefined."""
    values = [one.r.value for one in found.values()]
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known and len(known) == len(values) else None


# ---------------------------------------------------------------- as tables


def tables(report: Report) -> list[Table]:
    found = [_rates_table(report), _likeness_table(report)]
    return found if report.correlations is None else [*found, _correlations_table(report.correlations)]


def _table(title: str, columns: Sequence[str]) -> Table:
    table = Table(title=title, box=None, title_justify="left", header_style="dim")
    for column in columns:
        table.add_column(column, justify="right" if column else "left")
    return table


def _rates_table(report: Report) -> Table:
    shares = " and ".join(f"{share:.0%}" for share in report.speech_share)
    title = f"{report.recordings} recordings, {report.minutes:.1f} min; user and assistant speak {shares} of the time"
    table = _table(title, ("", "n", "a minute", "people", "s a minute", "mean s", "p10", "p50", "p90"))
    for kind, rate in report.rates.items():
        spread = rate.spread_s
        numbers = (rate.seconds_per_minute, spread.mean, spread.p10, spread.p50, spread.p90)
        people = PEOPLE.get(kind)
        row = (rate.per_minute, people, *numbers)
        table.add_row(NAMES.get(kind, kind), str(rate.count), *map(shown, row))
    return table


def _likeness_table(report: Report) -> Table:
    table = _table("distance to people (Wasserstein-1), s", ("", "n", "distance", "95 %", "by chance"))
    for kind, like in report.likeness.items():
        chance = shown(like.by_chance_s)
        table.add_row(kind, str(like.n), shown(like.distance_s.value), interval(like.distance_s), chance)
    return table


def _correlations_table(found: Mapping[str, Correlation]) -> Table:
    table = _table("with the true recordings (Pearson's r)", ("", "r", "95 %", "pairs", "SyncLLM", "top line"))
    for kind, one in found.items():
        theirs = (shown(PAPER[kind]), shown(TOPLINE[kind]))
        table.add_row(kind, shown(one.r.value), interval(one.r), str(one.pairs), *theirs)
    table.add_row("mean", shown(mean_r(found)), "", "", shown(PAPER["mean"]), shown(TOPLINE["mean"]))
    return table


def interval(found: Interval) -> str:
    """Its ends, as a table shows them."""
    return "–" if found.low is None or found.high is None else f"{found.low:.2f}…{found.high:.2f}"


def shown(value: float | None) -> str:
    """A number, as a table shows it."""
    return "–" if value is None else f"{value:.2f}"


# ---------------------------------------------------------------- on the disk


def save(report: Report, found: Mapping[str, Events], folder: Path) -> None:
    """`turns.json`, and `turns.png`: how offsets, gaps, pauses and overlaps are distributed, beside people's."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = json.dumps(asdict(report), indent=1).encode()
    whole_file(folder / "turns.json", lambda file: file.write(lines))
    draw(list(found.values()), folder / "turns.png")


DRAWN = {"fto": (-3.0, 3.0), "gap": (0.0, 3.0), "pause": (0.0, 3.0), "overlap": (-3.0, 0.0)}
"""What is drawn, and between which seconds."""


def draw(recordings: Sequence[Events], path: Path) -> None:
    """Distribution functions: the distance to people is the area between the two lines."""
    import matplotlib

    matplotlib.use("Agg", force=False)
    from matplotlib.figure import Figure

    each = [as_people_counted(one) for one in recordings]
    picture = Figure(figsize=(12, 3), layout="constrained")
    for panel, (kind, (least_s, most_s)) in zip(picture.subplots(1, len(DRAWN)), DRAWN.items(), strict=True):
        values = np.sort([value for one in each for value in one[kind]])
        people, heights = HUMAN[kind].sample, (np.arange(1000) + 0.5) / 1000
        panel.plot(people, heights, color="0.6", label="people (Switchboard)")
        panel.step(values, np.arange(1, len(values) + 1) / max(1, len(values)), color="#c2410c", label="here")
        panel.set(xlim=(least_s, most_s), title=f"{kind} (n = {len(values)})", xlabel="seconds")
        panel.spines[["top", "right"]].set_visible(False)
    panel.legend(fontsize=7, frameon=False)
    whole_file(path, lambda file: picture.savefig(file, format="png", dpi=110))
