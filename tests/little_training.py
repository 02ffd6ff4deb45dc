"""A stage that takes a second: a small model with dropout, random sequences, ways to die in the middle.

As a program: `python little_training.py FOLDER [--die-at-forward N | --die-in-save N]`, alone or under
torchrun.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor, nn

from duologue.data.tensors import Example
from duologue.train import NextToken, Run, Stage, train
from duologue.train.curve import read

VOCABULARY = 24
STREAMS = ("text", "speech")


def stage() -> Stage:
    return Stage("little", learning_rate=3e-3, batch_tokens=60, epochs=3, warmup_steps=3, loss_weights={"speech": 0.5})


def run(folder: Path, **changes: Any) -> Run:
    usual = Run(folder, microbatch_tokens=24, save_every_steps=4, validate_every_steps=5, quiet=True)
    return replace(usual, **changes)


def learnt(folder: Path, stage: Stage, **changes: Any) -> Little:
    """The model after the stage. It draws nothing, so that its curve is the same however a batch is cut."""
    model = Little(noise=0)
    train(model, stage, run(folder, **changes), examples(0, 40), objective=NextToken(STREAMS))
    return model


def losses(folder: Path) -> list[float]:
    return [entry["loss"] for entry in read(folder / "log.jsonl") if "loss" in entry]


def examples(seed: int, count: int) -> list[Example]:
    """Sequences of 3 to 20 tokens of two streams, most of them said: counting by threes, with slips."""
    draw = np.random.default_rng(seed)
    return [_example(draw, int(steps)) for steps in draw.integers(3, 21, count)]


def _example(draw: np.random.Generator, steps: int) -> Example:
    stream = draw.integers(0, 2, steps)
    said = draw.random(steps) < 0.8
    said[1] = True
    counted = (np.arange(steps) * 3 + draw.integers(0, 5)) % VOCABULARY
    tokens = np.where(draw.random(steps) < 0.3, draw.integers(0, VOCABULARY, steps), counted)
    return {"tokens": tokens, "said": said, "stream": stream}


class Little(nn.Module):
    """Looks back by a recurrent layer. While it learns it draws from torch's, numpy's and python's randomness."""

    def __init__(self, width: int = 16, noise: float = 0.1) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.tokens = nn.Embedding(VOCABULARY, width)
        self.past = nn.GRU(width, width, batch_first=True)
        self.dropout = nn.Dropout(noise)
        self.head = nn.Linear(width, VOCABULARY)
        self.noise = noise

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        states: Tensor = self.dropout(self.past(self.tokens(batch["tokens"]))[0])
        if self.training and self.noise:
            states = states * (1 + self.noise * (random.random() + np.random.random()))
        logits: Tensor = self.head(states)
        return logits


class Mortal(nn.Module):
    """Before another class: kills its own process, as `kill -9` does, when `left` more forward passes begin."""

    left: int

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        logits: Tensor = super().forward(batch)
        return logits


class Dying(Mortal, Little):
    def __init__(self, at_forward: int) -> None:
        super().__init__()
        self.left = at_forward


def die_in_save(at_save: int) -> None:
    """Kill this process when the n-th last.pt has been written, but not yet renamed."""
    saves, rename = iter(range(1, 1_000_000)), os.replace

    def die_at_that(unfinished: str, path: Path) -> None:
        if path.name == "last.pt" and next(saves) == at_save:
            os.kill(os.getpid(), signal.SIGKILL)
        rename(unfinished, path)

    mock.patch("os.replace", die_at_that).start()


def main() -> None:
    asked = argparse.ArgumentParser()
    asked.add_argument("folder", type=Path)
    asked.add_argument("--die-at-forward", type=int, default=0)
    asked.add_argument("--die-in-save", type=int, default=0)
    asked.add_argument("--noise", type=float, default=0.1)
    given = asked.parse_args()
    torch.set_num_threads(1)
    if given.die_in_save:
        die_in_save(given.die_in_save)
    model = Dying(given.die_at_forward) if given.die_at_forward else Little(noise=given.noise)
    train(model, stage(), run(given.folder), examples(0, 40), examples(1, 6), NextToken(STREAMS))


if __name__ == "__main__":
    main()
