"""What Fun-Audio-Chat remembers of many conversations: the states of language model and head, row by row.

Both are told of columns, at two rates. The language model reads them as they are placed. The head is told of a state of
it as soon as it is known what was spoken after that one; while nothing is spoken, that can wait, and is then done at
once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor
from torch.nn.utils.rnn import pad_sequence

from duologue import streaming
from duologue.layout import Driver, Grid, Tokens
from duologue.model.omni_ears import Hearing
from duologue.model.picking import Pick
from duologue.streaming import Memory, State
from duologue.systems.fun_audio_chat import STREAMS
from duologue.systems.fun_audio_chat_model import FunAudioChat


@dataclass
class Utterance:
    """One that is heard.

    start    column of its first placeholder
    states   of the ears [T, W]
    slots    groups of them [n, W']
    """

    hearing: Hearing
    start: int
    states: Tensor
    slots: Tensor
    samples: int = 0


@dataclass
class Call:
    """One conversation. Columns are counted from the beginning of its turn: a user's, and the answer to it.

    before      columns of the turns before; `past` are they
    states      what the head makes speech of, [D] for each column that the language model was fed
    hidden      state of the language model at the last of these, [D]
    open        whether a turn has begun
    began       columns before the answer, where it has begun
    opened      columns before the speech, where it has begun
    units       of the answer
    unit        that the head chose last
    """

    driver: Driver
    hidden: Tensor
    draw: Generator = field(default_factory=Generator)
    before: int = 0
    past: list[Grid] = field(default_factory=list)
    states: list[Tensor] = field(default_factory=list)
    utterance: Utterance | None = None
    open: bool = False
    began: int | None = None
    opened: int | None = None
    units: list[int] = field(default_factory=list)
    unit: int = 0

    def columns(self) -> Grid:
        """All that were placed."""
        grids = [*self.past, self.driver.placed()]
        return Grid(*(np.concatenate([getattr(grid, name) for grid in grids]) for name in ("tokens", "said", "stream")))


class Rows:
    def __init__(self, model: FunAudioChat, batch: int, memory: Memory, speaks: bool, speech: Pick) -> None:
        self.model, self.speaks, self._pick = model, speaks, speech
        self.lm = streaming.start(model.lm, batch, memory)
        self.head = model.head.start(batch, memory if speaks else Memory(1))
        self._layout, self._junk = model.layout(speaks), model.config.prompt_units == "junk"
        self._reads_all = model.config.head_reads == "all"
        nothing = torch.zeros(model.units.table.embedding_dim, dtype=model.lm.dtype, device=model.lm.device)
        self.calls = [Call(Driver(self._layout), nothing) for _ in range(batch)]

    # ------------------------------------------------------------ columns

    def give(self, row: int, ids: Sequence[int]) -> None:
        """Place what a row is given. Raises ValueError while it answers."""
        driver = self.calls[row].driver
        if driver.ask() is not None:
            raise ValueError(f"row {row} is being answered: end the answer before more is given")
        driver.hear("given", ids)
        driver.ask()

    def turn(self, row: int) -> None:
        """What was before is past: it is told to both, and is not gone back behind."""
        call = self.calls[row]
        self.read([row])
        if self.speaks and self._reads_all and self._waiting(row):
            self._tell([row], [self._waiting(row)])
        call.past.append(call.driver.placed())
        call.before += call.driver.columns
        call.driver, call.states, call.began, call.opened, call.open = Driver(self._layout), [], None, None, True

    def opens(self, row: int) -> None:
        """Speech begins with the column that is placed next."""
        self.calls[row].opened = self.calls[row].driver.columns
        if not self._reads_all:
            self.head.lengths[row] = self.head.dropped[row] = 0

    def back(self, row: int, columns: int) -> None:
        """Forget all but the first columns of a turn, as if the others had never been."""
        call = self.calls[row]
        call.driver = replayed(call.driver, columns)
        self.lm.rollback([call.before + call.driver.fed], [row])
        if self.speaks and (self._reads_all or call.opened is not None):
            told = max(0, columns - 1 + self._before(call)) * self.model.config.group
            self.head.rollback([min(told, int(self.head.fed[row]))], [row])
        call.states = call.states[: call.driver.fed]

    # ------------------------------------------------------------ the language model reads

    @torch.no_grad()
    def read(self, rows: Sequence[int]) -> None:
        """Feed the language model all that was placed."""
        rows = [row for row in rows if self.calls[row].driver.columns > self.calls[row].driver.fed]
        calls, model = [self.calls[row] for row in rows], self.model
        grids = [call.driver.placed(call.driver.fed) for call in calls]
        tokens = [torch.from_numpy(grid.tokens).to(model.lm.device) for grid in grids]
        sound = [self._sound(grid) for grid in grids]
        heard = [self._heard(call, places) for call, places in zip(calls, sound, strict=True)]
        vectors = [model.embedded(*each) for each in zip(tokens, sound, heard, strict=True)]
        hidden = stepped(model.lm, self.lm, vectors, rows)
        for call, read, places, states in zip(calls, tokens, sound, hidden, strict=True):
            silent = None if model.config.head_reads_places else places
            call.states += model.head_states(states, read, silent).unbind()
            call.hidden, call.driver.fed = states[-1], call.driver.columns

    def _sound(self, grid: Grid) -> Tensor:
        """Which columns are placeholders of sound; the model may write the token, too."""
        places = (grid.tokens[:, 0] == self.model.marks.heard) & ~grid.said[:, 0]
        return torch.from_numpy(places).to(self.model.lm.device)

    def _heard(self, call: Call, sound: Tensor) -> Tensor:
        """What is heard at those of the columns that are fed next."""
        if call.utterance is None:
            return torch.zeros(0, self.model.heard_width, device=sound.device)
        return call.utterance.slots[call.driver.fed + sound.nonzero()[:, 0] - call.utterance.start]

    # ------------------------------------------------------------ the head speaks

    @torch.no_grad()
    def refine(self, rows: Sequence[int]) -> None:
        """Tell the head of all states but the last one, where what was spoken after them is known."""
        told = [(row, count) for row in rows if (count := self._known(row)) > 0]
        if told:
            self._tell([row for row, _ in told], [count for _, count in told])

    def _known(self, row: int) -> int:
        """Released weights are told of junk after the prompt, which has to be made first."""
        call, waiting = self.calls[row], self._waiting(row)
        if self._junk and call.began is not None:
            return waiting - (call.driver.fed - (call.began - 1))
        return waiting - 1

    def _waiting(self, row: int) -> int:
        """States that the head has not been told of."""
        call = self.calls[row]
        waiting = call.driver.fed + self._before(call) - int(self.head.fed[row]) // self.model.config.group
        return max(0, waiting)

    def _before(self, call: Call) -> int:
        """Columns that the head reads before those of the turn; below 0 where it leaves some of these out."""
        if self._reads_all:
            return call.before
        return -call.driver.fed if call.opened is None else -call.opened

    def _tell(self, rows: Sequence[int], counts: Sequence[int]) -> None:
        entered = [self._entered(row, count) for row, count in zip(rows, counts, strict=True)]
        stepped(self.model.head.body, self.head, entered, rows)

    def _entered(self, row: int, count: int) -> Tensor:
        """What the head is told of the next `count` states of a row: [count * k, inner]."""
        call, model = self.calls[row], self.model
        first = call.driver.fed - self._waiting(row)
        states = torch.stack(call.states[first : first + count])
        nothing = np.full((1, model.config.group), model.unit_ids.pad)
        units = np.concatenate([call.driver.placed(first).tokens[:, 1:], nothing])
        before = model.before(torch.from_numpy(units).to(states.device))[:count]
        if self._junk:
            before = torch.full_like(before, model.unit_ids.bos)
        return model.head.entered(states, model.units.table(before))

    def spoken(self, rows: Sequence[int]) -> list[list[int]]:
        """The group that each row says next."""
        self.refine(rows)
        while late := [row for row in rows if self._waiting(row) > 1]:
            self._group(late)
        return self._group(rows) if rows else []

    def _group(self, rows: Sequence[int]) -> list[list[int]]:
        """The group that follows the next state of each row."""
        calls = [self.calls[row] for row in rows]
        places = [call.driver.fed - self._waiting(row) for row, call in zip(rows, calls, strict=True)]
        states = torch.stack([call.states[at] for call, at in zip(calls, places, strict=True)])
        before = [
            call.unit if self._junk else int(call.driver.placed(at).tokens[0, -1])
            for call, at in zip(calls, places, strict=True)
        ]

        def choose(logits: Tensor, groups: Sequence[Sequence[int]]) -> list[int]:
            return [self._unit(*each) for each in zip(calls, logits, groups, strict=True)]

        groups = self.model.head.speak(self.model.units, self.head, states, before, choose, rows)
        for call, group in zip(calls, groups, strict=True):
            call.unit = group[-1]
        return groups

    def _unit(self, call: Call, logits: Tensor, group: Sequence[int]) -> int:
        units = self.model.unit_ids
        if self.model.config.last_group == "eos" and units.eos in group:
            return units.eos
        if not self.model.config.free_units:
            logits = logits.clone()
            logits[units.pad :] = -torch.inf
        return self._pick(logits, lambda: [*call.units, *group], call.draw)


# ---------------------------------------------------------------- columns and rows


def replayed(driver: Driver, columns: int) -> Driver:
    """A driver that has heard and placed the first columns of another, and nothing else."""
    past, twin = driver.placed(), Driver(driver.layout)
    tokens: Tokens = past.tokens[:columns]
    given = past.stream[:columns, 0] == driver.layout.streams.index(STREAMS[0])
    twin.hear(STREAMS[0], tokens[given, 0].tolist())
    for placed, said in zip(tokens, past.said[:columns], strict=True):
        twin.place(placed[said].tolist())
    twin.fed = min(driver.fed, columns)
    return twin


def stepped(model: Any, state: State, inputs: Sequence[Tensor], rows: Sequence[int]) -> list[Tensor]:
    """`streaming.step` for rows of unequal length, each [N, D] → [N, D], in parts that memory can take."""
    most = max([1, *map(len, inputs)] if state.memory.sink is None else [state.memory.spare])
    found: list[list[Tensor]] = [[] for _ in rows]
    for start in range(0, max(map(len, inputs), default=0), most):
        parts = {n: part for n, of_one in enumerate(inputs) if len(part := of_one[start : start + most])}
        counts = [len(part) for part in parts.values()]
        padded = pad_sequence(list(parts.values()), batch_first=True)
        hidden = streaming.step(model, state, padded, rows=[rows[n] for n in parts], counts=counts)
        for n, of_one, count in zip(parts, hidden, counts, strict=True):
            found[n].append(of_one[:count])
    return [torch.cat(parts) for parts in found]
