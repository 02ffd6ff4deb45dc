"""What a training step of the nano model costs in bfloat16: torch's fused attention, and attention in blocks.

python benchmarks/training_attention.py --threads 1
"""

from __future__ import annotations

import argparse
import statistics
import time
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from duologue.model.backbone import backbone, nano
from duologue.train.attention import in_blocks

TOKENS = 3_072


def step_s(model: Any, tokens: torch.Tensor, attending: AbstractContextManager[None]) -> float:
    """Median of 7, forward and back."""
    taken = []
    with attending:
        for _ in range(8):
            began = time.perf_counter()
            with torch.autocast("cpu", torch.bfloat16):
                loss = model(tokens, labels=tokens, use_cache=False).loss
            loss.backward()
            taken.append(time.perf_counter() - began)
    return statistics.median(taken[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    torch.set_num_threads(parser.parse_args().threads)
    model = backbone(nano(1650)).train()
    for length in (256, 512, 1536):
        tokens = torch.randint(0, 1650, (TOKENS // length, length))
        fused, blocks = step_s(model, tokens, nullcontext()), step_s(model, tokens, in_blocks(model))
        print(f"rows of {length:5} tokens: {fused:.3f} s fused, {blocks:.3f} s in blocks: {fused / blocks:.2f} times")


if __name__ == "__main__":
    main()
