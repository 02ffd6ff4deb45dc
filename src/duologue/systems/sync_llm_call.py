"""A conversation of SyncLLM's, chunk by chunk: what the user says is guessed until it is heard (section 3.3).

What is missing is guessed, so that the model can write its own next chunk; when the real chunk arrives it is put in the
place of the guess, by taking back the tokens from there on. A guess that was right stays.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from duologue.model.logits import logits
from duologue.model.picking import Pick
from duologue.streaming import Memory, start, step
from duologue.systems.sync_llm import Alphabet, Config
from duologue.systems.sync_llm_format import Chunk, Part, after, spread, units_after, written

# ---------------------------------------------------------------- the model of one conversation


class Mind(Protocol):
    """A language model and its context. Tokens at the end of it can be taken back."""

    @property
    def length(self) -> int:
        """Tokens that it was given."""
        ...

    def put(self, tokens: Sequence[int]) -> None: ...

    def back_to(self, length: int) -> None:
        """Forget all tokens but the first `length`."""
        ...

    def choose(self, units: Tensor, ends: Sequence[int]) -> int | None:
        """The token that comes next, one of `units`; None: one of `ends` does. It is not put."""
        ...


class StreamingMind:
    """A model of transformers, fed as it goes on: what is put waits until something is asked."""

    def __init__(self, lm: Any, memory: Memory, pick: Pick, seed: int = 0) -> None:
        self._lm, self._pick, self._state = lm, pick, start(lm, 1, memory)
        self._most = memory.slots if memory.sink is None else memory.spare
        self._generator = torch.Generator().manual_seed(seed)
        self._waiting: list[int] = []
        self._hidden: Tensor | None = None

    @property
    def length(self) -> int:
        return int(self._state.fed[0]) + len(self._waiting)

    def put(self, tokens: Sequence[int]) -> None:
        self._waiting += tokens

    def back_to(self, length: int) -> None:
        fed = int(self._state.fed[0])
        del self._waiting[max(0, length - fed) :]
        if length < fed:
            self._state.rollback([length])

    def choose(self, units: Tensor, ends: Sequence[int]) -> int | None:
        """The tags that end a part are one outcome: which of them it is belongs to what comes after."""
        following = self._logits()
        ended = following[list(ends)].logsumexp(-1, keepdim=True)
        chosen = self._pick(torch.cat((following[units], ended)), tuple, self._generator)
        return None if chosen == len(units) else int(units[chosen])

    def _logits(self) -> Tensor:
        """After all that was put: [V]."""
        while self._waiting:
            fed, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
            self._hidden = step(self._lm, self._state, torch.tensor([fed], device=self._state.keys.device))[:, -1]
        if self._hidden is None:
            raise RuntimeError("nothing was put yet: a conversation begins with a prompt")
        return logits(self._lm, self._hidden)[0].float().cpu()


# ---------------------------------------------------------------- a call, chunk by chunk


@dataclass(frozen=True)
class _Guess:
    """What the user was guessed to say new, and the length of the context after it and the own part behind it."""

    part: Part
    end: int


class Call:
    """The chunks of one conversation: `hear` and `speak` take turns, `speak` first.

    It begins with chunks of both sides (the units of each part); the user's are fewer by the latency and one: own
    chunks are written before it is known what the user says in them. Of the context, what stands behind the last real
    chunk of the user's and the own one after it may be taken back.
    """

    def __init__(
        self, mind: Mind, alphabet: Alphabet, config: Config, own: Sequence[Part], user: Sequence[Part]
    ) -> None:
        self._mind, self._alphabet, self._config = mind, alphabet, config
        self.latency_chunks = len(own) - len(user)
        if not user or self.latency_chunks < 0:
            raise ValueError(f"a call begins with a chunk of the user's and as many of its own, not with {len(user)}")
        self.said: Part = ()
        self.heard_chunks, self.guessed_right = 0, 0
        self._own_held, self._user_held = last_unit(own), last_unit(user)
        self._told: deque[Part] = deque()
        self._guesses: deque[_Guess] = deque()
        self._ahead = deque(own[len(user) :])
        for mine, theirs in zip(own, user, strict=False):
            self._put_own(mine)
            self._put_user(theirs)
        self._go_on()

    def hear(self, units: Sequence[int]) -> Part:
        """The real units of the user's next chunk, [slots], take the place of the guess. Gives what is new in them,
        against what was really heard before."""
        part = written(units, self._user_held, self._config.repeats)
        self._user_held = units[-1]
        self.heard_chunks += 1
        if self.expected == part:
            self.guessed_right += 1
            self._known = self._guesses.popleft().end
            self._ahead.popleft()
            return part
        self._guesses.clear()
        self._mind.back_to(self._known)
        self._put_user(part)
        self._go_on()
        return part

    def tell(self, units: Sequence[int]) -> None:
        """What it is to say in the chunks that it has not written yet: whole ones, of units [slots] each."""
        slots, held = self._config.slots, self._own_held
        if len(units) % slots:
            raise ValueError(f"it is told what to say in whole chunks of {slots} units, not {len(units)} units")
        for place in range(0, len(units), slots):
            self._told.append(written(units[place : place + slots], held, self._config.repeats))
            held = units[place + slots - 1]

    def speak(self) -> Part:
        """The next own chunk: what is new in it."""
        for _ in self.speaking():
            pass
        return self.said

    def speaking(self) -> Iterator[None]:
        """`speak`, by one pass of the model at a time; `said` is the chunk when it has come to its end."""
        for own in [*self._ahead][len(self._guesses) :]:
            guess = yield from self._guessed()
            self._put_own(own)
            self._guesses.append(_Guess(guess, self._mind.length))
        if not self.latency_chunks:
            yield from self._say()
            self._known = self._mind.length
            return
        guess = yield from self._guessed()
        yield from self._say()
        self._ahead.append(self.said)
        self._guesses.append(_Guess(guess, self._mind.length))

    def imagine(self, silence: int) -> Chunk:
        """The next chunk of both sides, when nobody is there: what the user is guessed to say is what was said. Raises
        ValueError where the user is known late: guesses are then others."""
        if self.latency_chunks:
            raise ValueError(f"with a latency of {self.latency_chunks} chunks nobody can be imagined; give 0")
        own, part = self.speak(), finished(self._guessed())
        return Chunk(own, self.hear(spread(part, self._config.slots, self._user_held, silence)))

    @property
    def expected(self) -> Part | None:
        """What the user is guessed to say new in the chunk that is heard next."""
        return self._guesses[0].part if self._guesses else None

    @property
    def passes(self) -> int:
        """Of the model, that `speaking` makes at most."""
        slots = self._config.slots
        return self.latency_chunks * (slots + 1) + slots

    # ------------------------------------------------------------ parts

    def _say(self) -> Iterator[None]:
        s0, s1, units = self._alphabet
        self._mind.put([s0])
        if self._told:
            self.said = self._told.popleft()
            self._mind.put([units[code] for code in self.said])
        else:
            self.said = yield from self._part(self._own_held, (s0, s1))
        self._own_held = self.said[-1] if self.said else self._own_held

    def _guessed(self) -> Generator[None, None, Part]:
        """What the user says new in the next chunk, as the model has it."""
        s0, s1, _ = self._alphabet
        held = last_unit([guess.part for guess in self._guesses], self._user_held)
        if after((), held, self._config).end:
            speaks = self._mind.choose(torch.tensor([s1]), (s0,))
            yield
            if speaks is None:
                return ()
        self._mind.put([s1])
        return (yield from self._part(held, (s0,), least=1))

    def _part(self, held: int | None, ends: Sequence[int], least: int = 0) -> Generator[None, None, Part]:
        """As the grammar has it, of so many units at least, up to one of the tags `ends`, which is left out."""
        part: Part = ()
        while len(units := units_after(part, held, self._alphabet, self._config)):
            may_end = len(part) >= least and after(part, held, self._config).end
            token = self._mind.choose(units, ends if may_end else ())
            yield
            if token is None:
                break
            self._mind.put([token])
            part = (*part, token - self._alphabet.units.start)
        return part

    def _put_own(self, part: Part) -> None:
        self._mind.put([self._alphabet.s0, *(self._alphabet.units[code] for code in part)])

    def _put_user(self, part: Part) -> None:
        if part:
            self._mind.put([self._alphabet.s1, *(self._alphabet.units[code] for code in part)])

    def _go_on(self) -> None:
        """What stands now is certain, and so is the own chunk that was written behind it."""
        if self._ahead:
            self._put_own(self._ahead.popleft())
        self._known = self._mind.length


def finished(work: Generator[None, None, Part]) -> Part:
    """What comes of it, without pausing."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            part: Part = end.value
            return part


def last_unit(parts: Sequence[Part], before: int | None = None) -> int | None:
    """The unit that sounds after the parts."""
    return next((part[-1] for part in reversed(parts) if part), before)
