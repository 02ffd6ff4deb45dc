"""What the speech of a text token costs, in milliseconds of CPU time on one thread: from memory, and recomputed.

    python benchmarks/ctc_decoding.py [--sizes nano | half | released] [--tokens 32 64 128 256]

The slow twin runs the decoder over everything written so far for each token, as the reference's streaming does. It is
timed at every eighth token, and must give the same labels there. Of as many tokens, `together` is what one costs where
four are decoded at once, as talking does while no segment can be filled yet. Random weights, float32.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from statistics import mean

import torch
from torch import Tensor

from duologue.model.ctc import SpeechDecoder, SpeechSizes
from duologue.model.weights import Kept
from duologue.systems import llama_omni
from duologue.systems.llama_omni_released import FIELDS, parts_bytes

EVERY = 8
KEPT: tuple[Kept, ...] = ("fp32", "bf16", "int8", "int4")
L40_BYTES_A_SECOND = 864e9
"""By its data sheet."""
SIZES = {
    "nano": llama_omni.nano().speech,
    "half": SpeechSizes(width=1024, heads=8, ffn=2752),
    "released": SpeechSizes(),
}
"""All with heads of 64 or 128, as the released one has 128."""
ROPE = {"rope_type": "llama3", "rope_theta": FIELDS["rope_theta"]} | FIELDS["rope_scaling"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", choices=SIZES, default="nano")
    parser.add_argument("--tokens", type=int, nargs="+", default=[32, 64, 128, 256])
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    sizes = SIZES[options.sizes]
    decoder = SpeechDecoder(sizes, sizes.width, ROPE).eval()
    states = torch.randn(1, max(options.tokens), sizes.width)
    (cached, twin), at_once = both(decoder, states), together(decoder, states)
    weights = sum(p.numel() for p in decoder.parameters())
    print(
        f"{options.sizes}: width {sizes.width}, {weights / 1e6:.1f} M weights, {sizes.labels_per_token} labels a token"
    )
    print("ms  M   from memory: a token   the last 8   together   recomputed: a token   ratio")
    for tokens in options.tokens:
        ours, slow = upto(cached, tokens), upto(twin, tokens)
        last = mean(cached[n] for n in range(tokens - EVERY + 1, tokens + 1))
        four = upto(at_once, tokens)
        print(f"{tokens:5}   {ours:20.2f}   {last:10.2f}   {four:8.2f}   {slow:19.2f}   {slow / ours:5.1f}")
    counted(options.tokens)


@torch.no_grad()
def both(decoder: SpeechDecoder, states: Tensor) -> tuple[dict[int, float], dict[int, float]]:
    """Milliseconds by token, from memory and recomputed."""
    cached, twin, state = dict[int, float](), dict[int, float](), decoder.start(states.shape[1])
    for n in range(1, states.shape[1] + 1):
        cached[n], ours = timed(partial(decoder.step, states[:, n - 1 : n], state))
        if n % EVERY == EVERY // 2:
            twin[n], slow = timed(partial(decoder, states[:, :n]))
            assert torch.equal(ours.argmax(-1), slow[:, -ours.shape[1] :].argmax(-1))
    return cached, twin


@torch.no_grad()
def together(decoder: SpeechDecoder, states: Tensor, tokens: int = 4) -> dict[int, float]:
    """Milliseconds of one token, by token, where so many are decoded at once."""
    found, state = dict[int, float](), decoder.start(states.shape[1])
    for n, part in enumerate(torch.split(states, tokens, 1)):
        taken, _ = timed(partial(decoder.step, part, state))
        found |= {n * tokens + place + 1: taken / part.shape[1] for place in range(part.shape[1])}
    return found


def timed(work: Callable[[], Tensor]) -> tuple[float, Tensor]:
    began = time.thread_time()
    found = work()
    return 1000 * (time.thread_time() - began), found


def upto(times: dict[int, float], tokens: int) -> float:
    return mean(taken for token, taken in times.items() if token <= tokens)


def counted(tokens: list[int]) -> None:
    """What lies in memory at the released sizes, and what is read of it for a text token in bf16."""
    weighs = {kept: parts_bytes(kept) for kept in KEPT}
    print("released sizes, GB   " + "   ".join(f"{kept} {sum(own.values()) / 1e9:.1f}" for kept, own in weighs.items()))
    table = 2 * FIELDS["vocab_size"] * FIELDS["hidden_size"]
    text, speech = weighs["bf16"]["lm"] - table, weighs["bf16"]["speech"]
    sizes = SIZES["released"]
    row = 2 * 2 * sizes.layers * sizes.width
    print(f"read for a text token, bf16, GB: text {text / 1e9:.2f}, speech {speech / 1e9:.2f}, and at token")
    for token in tokens:
        remembered = token * sizes.labels_per_token * row
        times = (text + speech + remembered) / text
        ms = 1000 * (text + speech + remembered) / L40_BYTES_A_SECOND
        print(f"{token:5}   {remembered / 1e9:.2f} of speech said: {times:.2f} times text alone, {ms:.1f} ms on an L40")


if __name__ == "__main__":
    main()
