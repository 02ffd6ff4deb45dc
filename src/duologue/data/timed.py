"""Turns in time, as the streams of a full-duplex layout: which token lies at which place, silence between.

The edge rules are those of OmniFlatten's chunks: speech keeps its place in time, text leads it in a queue.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import inf

import numpy as np

from duologue.layout import Tokens


@dataclass(frozen=True)
class TimedTurn:
    """Speech tokens from place `start` on, and their text. `cut`: how many were spoken before an interruption."""

    start: int
    speech: tuple[int, ...]
    text: tuple[int, ...] = ()
    cut: int | None = None

    @property
    def spoken(self) -> tuple[int, ...]:
        return self.speech[: self.cut]

    def last_chunk(self, chunk_tokens: int) -> float:
        """After this chunk no more of its text is written: what was never spoken must not be learned as spoken."""
        return inf if self.cut is None else (self.start + max(self.cut, 1) - 1) // chunk_tokens


def spoken(turns: Iterable[TimedTurn], length: int, silent: int) -> Tokens:
    """Speech [length]: every token in its place in time, nothing rounded to chunks. Raises ValueError for a turn that
    lies outside."""
    stream = np.full(length, silent, np.int64)
    for turn in turns:
        end = turn.start + len(turn.spoken)
        if turn.spoken and not 0 <= turn.start <= end <= length:
            raise ValueError(f"speech from place {turn.start} to {end} does not fit into {length}: give more places")
        stream[turn.start : end] = turn.spoken
    return stream


def written(turns: Sequence[TimedTurn], chunks: int, speech_chunk: int, text_chunk: int, silent: int) -> Tokens:
    """Text of `chunks` chunks or more, `text_chunk` tokens each: a queue that turns join as their speech starts."""
    chunks = max([chunks, *(turn.start // speech_chunk + 1 for turn in turns if turn.text)])
    stream: list[int] = []
    queue: deque[tuple[int, float]] = deque()
    while len(stream) < chunks * text_chunk or queue:
        chunk = len(stream) // text_chunk
        starting = [turn for turn in turns if turn.start // speech_chunk == chunk]
        queue.extend((token, turn.last_chunk(speech_chunk)) for turn in starting for token in turn.text)
        queue = deque((token, last) for token, last in queue if last >= chunk)
        leaving = [queue.popleft()[0] for _ in range(min(text_chunk, len(queue)))]
        stream += leaving + [silent] * (text_chunk - len(leaving))
    return np.array(stream, np.int64)
