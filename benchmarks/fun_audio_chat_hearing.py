"""What is left to do for Fun-Audio-Chat when a turn ends: heard while somebody spoke, or not before then.

    python benchmarks/fun_audio_chat_hearing.py [--seconds 4 8 16] [--type bf16|fp32]

A middle size, random weights: Qwen3-0.6B's language model, ears of Qwen2.5-Omni's kind with 12 layers of width 512. The
time on the processor, of one thread, from the end of the turn to the first group of units.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch
from transformers import Qwen2_5OmniAudioEncoderConfig

from duologue.model.omni_ears import OmniEars
from duologue.session import HEARD_HZ, Audio
from duologue.sound.vad import WINDOW_SAMPLES
from duologue.streaming import Memory
from duologue.systems.fun_audio_chat_model import FunAudioChat
from duologue.systems.fun_audio_chat_talk import Talk
from duologue.turns import OVERHEARD_WINDOWS
from fun_audio_chat_step import model_of, never_ends

HEARD_SAMPLES = OVERHEARD_WINDOWS * WINDOW_SAMPLES
"""That a session hands on at a time, while the user speaks."""


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--type", choices=("bf16", "fp32"), default="bf16")
    asked.add_argument("--seconds", type=float, nargs="+", default=[4.0, 8.0, 16.0], help="that turns last")
    given = asked.parse_args()
    torch.set_num_threads(1)
    dtype = torch.bfloat16 if given.type == "bf16" else torch.float32
    model = model_of(dtype, ears(dtype))
    left_ms(model, voice(1.0), False)
    for seconds in given.seconds:
        at_once, overheard = (left_ms(model, voice(seconds), live) for live in (False, True))
        print(
            f"{seconds:4.0f} s: {at_once:7.0f} ms heard at once, {overheard:5.0f} ms overheard: "
            f"{at_once / overheard:.1f} times less",
            flush=True,
        )


def ears(dtype: torch.dtype) -> OmniEars:
    sizes = {"d_model": 512, "encoder_layers": 12, "encoder_attention_heads": 8, "encoder_ffn_dim": 2048}
    return OmniEars(Qwen2_5OmniAudioEncoderConfig(num_mel_bins=128, output_dim=1024, **sizes), dtype).eval()


def voice(seconds: float) -> Audio:
    return np.random.default_rng(0).normal(0, 0.1, int(seconds * HEARD_HZ)).astype(np.float32)


def left_ms(model: FunAudioChat, audio: Audio, live: bool) -> float:
    """From the end of a turn to its first group. With `live`, it was handed on as it was spoken."""
    talk = Talk(model, 1, Memory(len(audio) // HEARD_HZ * 5 + 80), speech=never_ends)
    parts = [audio[at : at + HEARD_SAMPLES] for at in range(0, len(audio), HEARD_SAMPLES)] if live else []
    for part in parts:
        talk.hear(0, part)
        talk.catch_up()
    began = time.thread_time()
    talk.hear(0, audio[:0] if live else audio, last=True)
    talk.ask(0)
    while not talk.step()[0].units:
        pass
    return 1000 * (time.thread_time() - began)


if __name__ == "__main__":
    main()
