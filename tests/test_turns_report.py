"""The report on a folder of stereo files, and two agents on links: figures that are known, files that are left."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from duologue.evaluate import agents_report, turns_report
from duologue.evaluate.timing import Span, Tracks
from duologue.evaluate.turn_taking import Events, events
from duologue.evaluate.two_agents import Link
from duologue.session import HEARD_HZ
from duologue.sound import wav
from duologue.sound.vad import EnergyVad
from test_full_duplex_suite import tones
from test_two_agents import DRAWN, Player

Stretches = list[tuple[float, float]]


def stereo(folder: Path, name: str, user: Stretches, assistant: Stretches) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    sides = [tones(*side, duration_s=12.0) for side in (user, assistant)]
    wav.write(folder / name, np.stack(sides, axis=1), HEARD_HZ)


def test_a_folder_of_stereo_files_is_heard_on_both_channels(tmp_path: Path) -> None:
    stereo(tmp_path / "made", "one.wav", [(1.024, 3.008), (6.016, 8.0)], [(3.52, 5.504), (7.04, 9.024)])
    stereo(tmp_path / "made" / "more", "two.flac", [(1.024, 3.008)], [(3.52, 5.504)])
    found = turns_report.heard(tmp_path / "made", EnergyVad())
    assert list(found) == ["more/two", "one"]
    report = turns_report.report(found)
    assert (report.recordings, report.minutes) == (2, pytest.approx(0.4))
    assert report.rates["gap"].count == 3
    assert report.rates["overlap"].count == 1
    assert report.rates["overlap"].spread_s.mean == pytest.approx(0.96, abs=0.07)
    assert report.rates["gap"].spread_s.p50 == pytest.approx(0.51, abs=0.07)
    assert report.speech_share == pytest.approx((6 / 24, 6 / 24), abs=0.02)


def test_recordings_of_one_name_and_other_suffixes_are_all_counted(tmp_path: Path) -> None:
    for name in ("a.wav", "a.flac", "b.wav"):
        stereo(tmp_path, name, [(1.024, 3.008)], [(3.52, 5.504)])
    found = turns_report.heard(tmp_path, EnergyVad())
    assert list(found) == ["a.flac", "a.wav", "b"]
    assert turns_report.report(found).recordings == 3


def test_what_is_no_stereo_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="holds no recordings"):
        turns_report.heard(tmp_path)
    wav.write(tmp_path / "mono.wav", tones(), HEARD_HZ)
    with pytest.raises(ValueError, match=r"mono\.wav has one channel"):
        turns_report.heard(tmp_path)


def told(seed: int) -> Events:
    """Turns of drawn lengths, gaps and pauses."""
    draw, at, spans = np.random.default_rng(seed), 0, ([], [])
    for number in range(24):
        start = at + int(draw.integers(210, 900))
        at = start + int(draw.integers(400, 3000))
        spans[number % 3 == 0].append(Span(start, at))
    return events(Tracks(tuple(spans[0]), tuple(spans[1]), at))


def test_recordings_go_with_themselves_and_not_with_others() -> None:
    found = {str(seed): told(seed) for seed in range(12)}
    same, other = (
        turns_report.report(found, truth).correlations
        for truth in (found, {str(seed): told(seed + 99) for seed in range(12)})
    )
    assert same is not None
    assert other is not None
    assert turns_report.mean_r(same) == pytest.approx(1)
    for kind, one in same.items():
        assert one.pairs == 12
        assert abs(other[kind].r.value or 0) < 0.8
    with pytest.raises(ValueError, match="the truth has no 1 \\(11 missing\\)"):
        turns_report.report(found, {"0": told(0)})
    assert turns_report.report(found).correlations is None


def test_the_report_is_shown_and_kept(tmp_path: Path) -> None:
    found = {str(seed): told(seed) for seed in range(3)}
    report = turns_report.report(found, found)
    rates, likeness, correlated = turns_report.tables(report)
    assert rates.row_count == len(report.rates)
    assert likeness.row_count == len(report.likeness)
    assert correlated.row_count == len(turns_report.PAPER) == len(turns_report.TOPLINE)
    turns_report.save(report, found, tmp_path / "turns")
    kept = json.loads((tmp_path / "turns" / "turns.json").read_text())
    assert kept["rates"]["gap"]["count"] == report.rates["gap"].count
    assert kept["likeness"]["gap"]["distance_s"]["value"] == report.likeness["gap"].distance_s.value
    assert (tmp_path / "turns" / "turns.png").read_bytes().startswith(b"\x89PNG")


def test_a_call_over_each_link_leaves_its_files_and_a_column(tmp_path: Path) -> None:
    def both() -> tuple[Player, Player]:
        return Player(DRAWN), Player(tones((0.5, 1.0)))

    found = agents_report.calls(both, [0, 160], 2.0, tmp_path / "calls", ("left", "right"), vad=EnergyVad())
    for latency in ("0", "160"):
        kept = json.loads((tmp_path / "calls" / f"{latency}ms.json").read_text())
        assert kept["link"]["latency_ms"] == float(latency)
        assert kept["figures"]["duration_s"] == found[latency]["duration_s"] == pytest.approx(2.0)
        assert (tmp_path / "calls" / f"{latency}ms.png").exists()
    table = agents_report.table(found)
    assert [column.header for column in table.columns] == ["latency of the link, ms", "0", "160"]
    assert table.title == "two agents, 2 s"


def test_the_link_may_be_uneven_and_lossy(tmp_path: Path) -> None:
    def both() -> tuple[Player, Player]:
        return Player(DRAWN), Player(tones((0.5, 1.0)))

    link = Link(jitter_ms=40, loss=0.5)
    found = agents_report.calls(both, [160], 2.0, tmp_path, ("left", "right"), vad=EnergyVad(), link=link)
    kept = json.loads((tmp_path / "160ms.json").read_text())
    assert kept["link"] == found["160"]["link"] == asdict(replace(link, latency_ms=160))
    assert tuple(kept["lost_frames"]) == found["160"]["lost_frames"]
    assert min(kept["lost_frames"]) > 0
    table = agents_report.table(found)
    assert table.title == "two agents, 2 s, jitter 40 ms, loss 50 %"
    lost = next(
        cells for cells in zip(*(column.cells for column in table.columns), strict=True) if "lost" in str(cells[0])
    )
    assert lost[1] == "{} + {}".format(*kept["lost_frames"])
