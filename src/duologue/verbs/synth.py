"""`duologue synth`: conversations of the desk, spoken by many voices with people's timing."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

HELP = "Make conversations of the desk to learn from: two channels, many voices, noise, and a manifest."
EXAMPLE = """\
  duologue synth corpus --count 1000 --timing prompt --noises ../shared/data
  duologue synth questions --count 500 --kind utterances --split test     # run again to go on"""


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, help="where the recordings and manifest.jsonl go")
    parser.add_argument("--count", type=int, required=True, help="recordings to make")
    parser.add_argument("--kind", default="dialogues", choices=("dialogues", "utterances"))
    parser.add_argument("--says", default="questions", choices=("questions", "answers"), help="of utterances")
    parser.add_argument("--split", default="train", choices=("train", "test"), help="of combinations, voices, noises")
    parser.add_argument("--language", default="en", choices=("en", "zh"))
    parser.add_argument("--topics", nargs="+", default=None, help="of the desk; default: all")
    parser.add_argument("--exchanges", type=int, nargs=2, default=(2, 4), metavar=("LEAST", "MOST"))
    parser.add_argument("--timing", default="human", help="paper, paper_v2, human, prompt or people")
    parser.add_argument("--noises", default=None, help="folder with a manifest of noises; default: synthetic noise")
    parser.add_argument("--snr-db", type=float, nargs=2, default=(15.0, 30.0), metavar=("LEAST", "MOST"))
    parser.add_argument("--asr", default=None, help="a recogniser that has to follow the user, e.g. pocketsphinx")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)


def run(options: argparse.Namespace) -> int:
    from duologue.synthesis import Plan, synthesise

    plan = Plan(
        count=options.count,
        kind=options.kind,
        says=options.says,
        split=options.split,
        language=options.language,
        topics=tuple(options.topics) if options.topics else None,
        exchanges=tuple(options.exchanges),
        timing=options.timing,
        noises=options.noises,
        snr_db=tuple(options.snr_db),
        asr=options.asr,
        seed=options.seed,
    )
    made = synthesise(options.folder, plan, options.workers)
    print(f"{made.recordings} recordings, {made.hours:.2f} h, {made.dropped} dropped: {made.manifest}")
    return 0
