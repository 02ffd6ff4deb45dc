"""What a call of the nano duplex model costs on one core: real-time factor, time of a frame, memory over the call.

    python benchmarks/duplex.py [--model runs/omni_flatten/model] [--seconds 120]

Without a model one with random weights talks, which never falls silent: the dearest call there is.
"""

from __future__ import annotations

import argparse
import resource
import time
from pathlib import Path

import numpy as np
import torch

from duologue.duplex import LayoutSession, Talking
from duologue.model.backbone import backbone, nano
from duologue.model.one_vocabulary import Codes
from duologue.model.words import words_tokenizer
from duologue.systems import omni_flatten
from duologue.systems.omni_flatten import OmniFlatten
from duologue.units.nano_codec import NanoCodec
from duologue.units.nano_decoder import DecoderConfig, NanoDecoder
from duologue.units.nano_tokenizer import NanoTokenizer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=None, help="folder of a trained model")
    parser.add_argument("--seconds", type=float, default=120.0, help="of conversation")
    options = parser.parse_args()
    torch.set_num_threads(1)
    session = LayoutSession(omni_flatten.loaded(options.model) if options.model else untrained())
    times_ms, before = list[float](), peak_mib()
    noise = np.random.default_rng(0).normal(0, 0.01, session.heard_samples).astype(np.float32)
    for _ in range(round(options.seconds / session.frame_s)):
        began = time.perf_counter()
        session.step(noise)
        times_ms.append(1000 * (time.perf_counter() - began))
    half = len(times_ms) // 2
    frame_ms = 1000 * session.frame_s
    print(f"frames of {frame_ms:.0f} ms, {len(times_ms)} of them, one thread")
    print(f"real-time factor  {sum(times_ms) / (frame_ms * len(times_ms)):.2f}")
    print("a frame, ms       " + "  ".join(f"p{p} {np.percentile(times_ms, p):.1f}" for p in (50, 90, 99, 100)))
    print(f"second half / first half of the call: {sum(times_ms[half:]) / sum(times_ms[:half]):.2f}")
    print(f"delay             {session.delay_frames} frames, {session.delay_frames * frame_ms:.0f} ms")
    print(f"memory            {peak_mib():.0f} MiB, {peak_mib() - before:+.0f} over the call")


def untrained() -> Talking:
    tokenizer = NanoTokenizer().eval()
    codec = NanoCodec(tokenizer, NanoDecoder(DecoderConfig(tokenizer.config.levels), (0,)).eval())
    words = words_tokenizer(f"word{n}" for n in range(600))
    model = OmniFlatten.grown(backbone(nano(len(words))), words, Codes(codec.codes), omni_flatten.nano())
    return model.talking(codec)


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
