"""What weaving a layout, driving it and stepping a model cost, in milliseconds of CPU time on one thread.

python benchmarks/weaving_and_stepping.py
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from transformers import DynamicCache

from duologue.layout import Columns, Driver, Hear, Layout, Say, unweave, weave
from duologue.layout.weaving import weave_by_column
from duologue.model.backbone import backbone, nano
from duologue.streaming import Memory, start, step

CHUNKS = 372


def cpu_ms(work: Callable[[], Any], times: int = 20) -> str:
    """Median and least CPU time of `times` runs, after one that does not count."""
    work()
    taken = []
    for _ in range(times):
        began = time.thread_time()
        work()
        taken.append((time.thread_time() - began) * 1000)
    return f"{statistics.median(taken):8.3f} ms, at best {min(taken):.3f}"


def three_streams() -> Columns:
    while True:
        for cell, times in ((Hear("user"), 10), (Say("text"), 2), (Say("speech"), 10)):
            for _ in range(times):
                yield cell


def weaving() -> None:
    layout = Layout(three_streams, ("user", "text", "speech"), fixed=True)
    sizes = {"user": 10, "text": 2, "speech": 10}
    streams = {name: np.arange(size * CHUNKS, dtype=np.int64) for name, size in sizes.items()}
    grid, driver = weave(layout, streams), Driver(layout)

    def chunk() -> None:
        driver.hear("user", range(10))
        driver.talk(lambda ask: [0] * len(ask.streams))

    print(f"weave {len(grid)} columns by table     {cpu_ms(lambda: weave(layout, streams))}")
    print(f"weave {len(grid)} columns one by one   {cpu_ms(lambda: weave_by_column(layout, streams), 5)}")
    print(f"unweave {len(grid)} columns by table   {cpu_ms(lambda: unweave(layout, grid.tokens))}")
    print(f"drive a chunk of 22 columns      {cpu_ms(chunk, 100)}")


def stepping(model: Any, rows: int, used: int, tokens: int) -> str:
    """Feed `tokens` to each row behind `used` others, again and again."""
    state = start(model, rows, Memory(2048, sink=4, spare=512))
    inputs = torch.zeros((rows, 256), dtype=torch.int64)
    for _ in range(used // 256):
        step(model, state, inputs)

    def again() -> None:
        step(model, state, inputs[:, :tokens])
        state.rollback([used] * rows)

    return cpu_ms(again)


def dynamic_cache(model: Any, used: int) -> str:
    cache, token = DynamicCache(config=model.config), torch.zeros((1, 1), dtype=torch.int64)

    def again() -> None:
        model.model(token, past_key_values=cache, use_cache=True)
        cache.crop(-1)

    with torch.no_grad():
        model.model(token.expand(1, used), past_key_values=cache, use_cache=True)
        return cpu_ms(again)


if __name__ == "__main__":
    torch.set_num_threads(1)
    weaving()
    model = backbone(nano(5000))
    for rows in (1, 4, 8):
        for used in (256, 1024):
            for tokens in (1, 11):
                print(f"step {rows} x {tokens:2} tokens behind {used:4}   {stepping(model, rows, used, tokens)}")
    for used in (256, 1024):
        print(f"DynamicCache, 1 token behind {used:4} {dynamic_cache(model, used)}")
