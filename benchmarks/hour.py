"""An hour-long call costs at its end what it cost at its beginning: time of a step, and memory, by ten minutes.

    python benchmarks/hour.py [--system sync_llm] [--model FOLDER] [--seconds 3600]

Frames are scripted, nobody waits for a clock. Without a model one with random weights talks, which never falls silent:
the dearest call there is. Times are of the processor (one thread), so that other work on the machine does not count.
"""

from __future__ import annotations

import argparse
import gc
import os
import resource
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean

import numpy as np
import torch

import duplex
from duologue.duplex import LayoutSession
from duologue.model.backbone import backbone, nano
from duologue.model.one_vocabulary import Codes
from duologue.model.picking import Picking
from duologue.model.words import words_tokenizer
from duologue.session import Audio, Session
from duologue.systems import omni_flatten, sync_llm, sync_llm_talk
from duologue.systems.sync_llm import SyncLLM
from duologue.systems.sync_llm_talk import SyncSession, Talking
from duologue.units.nano_codec import NanoCodec
from duologue.units.nano_decoder import DecoderConfig, NanoDecoder
from duologue.units.nano_tokenizer import NanoTokenizer

PARTS = 6
FLAT = 0.05
"""By how much the last part may cost more than the first."""
TALKS_S, LISTENS_S = 3, 3
"""The user, by turns."""


def main() -> None:
    options = parsed()
    torch.set_num_threads(1)
    session = SESSIONS[options.system](options.model)
    frame_s = session.heard_samples / 16_000
    parts = [measured(session, frames) for frames in in_parts(round(options.seconds / frame_s), session.heard_samples)]
    print(f"{options.system}, {options.seconds / 60:.0f} min in {PARTS} parts; frames of {1000 * frame_s:.0f} ms")
    print("a step, ms of processor  " + "  ".join(f"{step_ms:.2f}" for step_ms, _, _ in parts))
    print("the slowest of 100, ms   " + "  ".join(f"{p99_ms:.2f}" for _, p99_ms, _ in parts))
    print("memory, MiB              " + "  ".join(f"{mib:.0f}" for _, _, mib in parts))
    (first_ms, _, first_mib), (last_ms, _, last_mib) = parts[0], parts[-1]
    more_time, more_memory = last_ms / first_ms - 1, last_mib / first_mib - 1
    verdict = "flat" if max(more_time, more_memory) <= FLAT else "not flat"
    print(f"last against first: time {more_time:+.1%}, memory {more_memory:+.1%}: {verdict}")


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--system", choices=list(SESSIONS), default="sync_llm")
    parser.add_argument("--model", type=Path, default=None, help="folder of a trained model")
    parser.add_argument("--seconds", type=float, default=3600.0, help="of conversation")
    return parser.parse_args()


# ---------------------------------------------------------------- the call


def in_parts(frames: int, samples: int) -> Iterator[Iterator[Audio]]:
    """The scripted frames of each part."""
    for part in range(PARTS):
        yield scripted(range(frames * part // PARTS, frames * (part + 1) // PARTS), samples)


def scripted(places: range, samples: int) -> Iterator[Audio]:
    """Noise that comes and goes, each frame by its place in the call."""
    for place in places:
        loudness = 0.1 if place * samples / 16_000 % (TALKS_S + LISTENS_S) < TALKS_S else 0.001
        yield np.random.default_rng(place).normal(0, loudness, samples).astype(np.float32)


def measured(session: Session, frames: Iterator[Audio]) -> tuple[float, float, float]:
    """Mean and 99th percentile of a step in ms of processor time, and what the process holds at the end, MiB."""
    times_ms = []
    for frame in frames:
        began_s = time.process_time()
        session.step(frame)
        times_ms.append(1000 * (time.process_time() - began_s))
    gc.collect()
    return fmean(times_ms), float(np.percentile(times_ms, 99)), held_mib()


def held_mib() -> float:
    """Resident memory of the process now; its peak where the system does not tell."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


# ---------------------------------------------------------------- who talks


def omni_flatten_session(model: Path | None) -> LayoutSession:
    return LayoutSession(omni_flatten.loaded(model) if model else duplex.untrained())


def sync_llm_session(model: Path | None) -> SyncSession:
    """It draws what it says: each of its units is then another one, and a pass of the model."""
    return SyncSession(Talking(*(sync_llm_talk.loaded(model) if model else untrained()), picking=Picking(1.0)))


def untrained() -> tuple[SyncLLM, NanoCodec]:
    tokenizer = NanoTokenizer().eval()
    codec = NanoCodec(tokenizer, NanoDecoder(DecoderConfig(tokenizer.config.levels), (0,)).eval())
    words = words_tokenizer(f"word{n}" for n in range(600))
    return SyncLLM.grown(backbone(nano(len(words))), words, Codes(codec.codes), sync_llm.nano()), codec


SESSIONS = {"sync_llm": sync_llm_session, "omni_flatten": omni_flatten_session}


if __name__ == "__main__":
    main()
