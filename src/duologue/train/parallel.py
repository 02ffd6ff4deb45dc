"""Several processes that learn as one: who is who, sums over all, and seeds.

Run a recipe by `torchrun --nproc-per-node 2 recipe.py`, or by `accelerate launch recipe.py`. Whether the model is
sharded is accelerate's configuration (`accelerate launch --use_fsdp --fsdp_version 2 ...`). A process alone needs
neither.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import GradientAccumulationPlugin

from duologue.train.loss import Tensors


def accelerator() -> Accelerator:
    """This process's part in the group. How a step is cut into microbatches is not left to it."""
    alone = GradientAccumulationPlugin(num_steps=1, sync_with_dataloader=False)
    return Accelerator(cpu=not torch.accelerator.is_available(), gradient_accumulation_plugin=alone)


def total(group: Accelerator, parts: Sequence[Tensors]) -> dict[str, float]:
    """Sums by name over the parts and over all processes. All parts have the same names, in every process."""
    names = sorted(parts[0])
    sums = np.sum([torch.stack([part[name] for name in names]).tolist() for part in parts], axis=0)
    if group.num_processes > 1:
        sums = group.reduce(torch.tensor(sums, dtype=torch.float64, device=group.device)).tolist()
    return dict(zip(names, map(float, sums), strict=True))


def seed(*numbers: int) -> None:
    """Begin the randomness of python, numpy and torch anew from these numbers.

    Done at each step, from the stage's seed, the step and the process: no state of a generator has to be
    saved, and nothing that happens between two steps has an influence on what is learnt.
    """
    words = np.random.SeedSequence(numbers).generate_state(3, np.uint64)
    random.seed(int(words[0]))
    np.random.seed(int(words[1]) % 2**32)
    torch.manual_seed(int(words[2]) % 2**63)
