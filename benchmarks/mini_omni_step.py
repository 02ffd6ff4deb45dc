"""What a step of Mini-Omni costs at the released size (random weights), beside what reading its weights must cost.

python benchmarks/mini_omni_step.py [--type fp32|bf16|int8] [--threads 1] [--steps 12]

Times are CPU time of the calling thread where there is one thread, else wall time: the median, the best in brackets.
The memory's speed is that of adding up half a gigabyte, at best.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from duologue.model.int8 import int8
from duologue.systems.mini_omni import BOOKS, Question, Task
from duologue.systems.mini_omni_decoding import Decoding, answered
from duologue.systems.mini_omni_model import MiniOmni
from duologue.systems.mini_omni_released import RELEASED, built

HEARD = 52
"""Features of about a second of sound: a prompt of 55 steps."""
Clock = Callable[[], float]


def model_of(kind: str) -> MiniOmni:
    """It says no end: the rows of `eot` and of book 0's end give 0 to all states."""
    model = built(RELEASED)
    model.added.marks.embedding.weight.data.zero_()
    model.added.books.embedding.weight.data[model.config.marks.eoa] = 0
    if kind == "bf16":
        return model.to(torch.bfloat16)
    return int8(model) if kind == "int8" else model


def step_ms(model: MiniOmni, task: Task, parallel: bool, steps: int, clock: Clock) -> list[float]:
    heard = torch.randn(HEARD, model.config.features) if task[0] == "A" else None
    asked = Question(task, heard, () if heard is not None else [7] * HEARD)
    answer = answered(model, asked, Decoding(parallel=parallel, most_steps=steps + BEHIND))
    next(answer)
    taken = []
    for _ in range(steps):
        began = clock()
        next(answer)
        taken.append(1000 * (clock() - began))
    return taken[2:]


BEHIND = 20
"""Steps that are not waited for: in the last ones, books end."""


def memory_gb_s(clock: Clock) -> float:
    block = torch.ones(128_000_000)
    taken = []
    for _ in range(5):
        began = clock()
        block.sum()
        taken.append(clock() - began)
    return 4 * len(block) / min(taken) / 1e9


def main() -> None:
    asked = argparse.ArgumentParser()
    asked.add_argument("--type", choices=("fp32", "bf16", "int8"), default="fp32")
    asked.add_argument("--threads", type=int, default=1)
    asked.add_argument("--steps", type=int, default=12)
    given = asked.parse_args()
    torch.set_num_threads(given.threads)
    clock = time.thread_time if given.threads == 1 else time.perf_counter
    speed, model = memory_gb_s(clock), model_of(given.type)
    print(f"{given.type}, {given.threads} thread(s), memory {speed:.1f} GB/s")
    size, width = {"fp32": 4, "bf16": 2, "int8": 1}[given.type], RELEASED["n_embd"]
    layers = RELEASED["n_layer"] * width * (1152 + width + 3 * RELEASED["intermediate_size"])
    text, books = width * RELEASED["text_vocab_size"], width * BOOKS * RELEASED["audio_vocab_size"]
    ways: tuple[tuple[str, Task, bool, int], ...] = (
        ("one row, text and books", "A1A2", False, layers + text + books),
        ("two rows, in parallel", "A1A2", True, layers + text + books),
        ("one row, text alone", "A1T2", False, layers + text),
        ("one row, books alone", "T1A1", False, layers + books),
    )
    for name, task, parallel, read in ways:
        taken = step_ms(model, task, parallel, given.steps, clock)
        limit = read * size / speed / 1e6
        print(
            f"{name:26} {statistics.median(taken):7.1f} ms ({min(taken):.1f}), {read * size / 1e9:.2f} GB: "
            f"{limit:.1f} ms at the memory's speed, {100 * limit / statistics.median(taken):.0f} % of it"
        )


if __name__ == "__main__":
    main()
