"""Talking with LLaMA-Omni: one step of the language model, 25 labels, and as soon as Ω units wait, a segment (2.6).

    talk = Conversation(model)
    talk.hear(audio)
    for step in talk.answer(omega=40):
        ...                                # step.token is written, step.segment goes to the vocoder
    talk.keep(12)                          # where it was interrupted: of the answer, 12 tokens were heard
    talk.hear(more)                        # the next turn; nothing is read anew

Beyond the paper: several turns, whose history stays in the model's memory. Letters: L positions, D width.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass
from math import inf
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from duologue.model.ctc import Collapse
from duologue.model.picking import Picking
from duologue.model.prompt import SPEECH
from duologue.sound import Audio
from duologue.streaming import Memory, start, step
from duologue.systems.llama_omni import LlamaOmni

MEMORY = Memory(slots=4096)
"""Half a GB of keys and values at the size of the paper, in half precision."""
_HEARD_HZ = 16_000


@dataclass(frozen=True)
class Step:
    """A text token of an answer, its end token included, and the units that begin with it.

    segment   all units that wait, where they are Ω or more and where nothing follows; else empty
    last      the answer is over: by an end token, or because it is as long as was allowed
    """

    token: int
    units: tuple[int, ...]
    segment: tuple[int, ...]
    last: bool


class Place(NamedTuple):
    """In a conversation, to go back to: tokens that the model was fed, and the answer that was the last."""

    fed: int
    began: int
    said: tuple[int, ...]
    turn: Literal["nobody", "asked", "answered"]


class Conversation:
    """What was said so far, as the language model remembers it. `said` are the tokens of the last answer."""

    def __init__(self, model: LlamaOmni, memory: Memory = MEMORY, system: str | None = None) -> None:
        """Nobody has said anything yet. `system` are other instructions than the model's own."""
        self.model, self.state, self.system = model, start(model.lm, 1, memory), system
        self.said: list[int] = []
        self._turn: Literal["nobody", "asked", "answered"] = "nobody"
        self._began = 0
        self._hidden = torch.empty(0)

    def fork(self) -> Conversation:
        """A copy that goes its own way: of a conversation that is only open, to begin others faster."""
        other = copy(self)
        other.state, other.said = self.state.fork(), list(self.said)
        return other

    @property
    def place(self) -> Place:
        return Place(int(self.state.fed[0]), self._began, tuple(self.said), self._turn)

    def back_to(self, place: Place) -> None:
        """As if nothing had been said since. Raises ValueError for what memory has let go of."""
        self.state.rollback([place.fed])
        self._began, self.said, self._turn = place.began, list(place.said), place.turn

    # ------------------------------------------------------------ the user's turn

    @torch.no_grad()
    def open(self) -> None:
        """Read the instructions, before the first turn is there."""
        if opening := self.model.ids_of(self.model.config.chat.opening(self.system)):
            self._read(self.model.embedded(opening), "instructions")

    @torch.no_grad()
    def hear(self, audio: Audio | None = None, text: str | None = None) -> None:
        """A user's turn: sound [N] at 16 kHz, text, or both. Raises ValueError for no sound, and where memory has no
        room for it; what was said before is then as it was."""
        if audio is None and text is None:
            raise ValueError("a turn of nothing: give sound, text or both")
        if not int(self.state.fed[0]):
            self.open()
        clips = [] if audio is None else [self._heard(audio)]
        chat = self.model.config.chat
        said = text if audio is None else chat.request if text is None else f"{SPEECH}\n{text}"
        self.feed(self.model.embedded(self.model.ids_of(chat.question(said or "")), clips))

    @torch.no_grad()
    def feed(self, vectors: Tensor) -> None:
        """Vectors [L, D] up to where an answer begins, behind what is still to be read of the last one."""
        if unread := self._unread():
            vectors = torch.cat([self.model.embedded(unread), vectors])
        self._read(vectors, f"{len(vectors)} positions")
        self.said, self._turn, self._began = [], "asked", int(self.state.fed[0])

    def keep(self, tokens: int) -> None:
        """Forget all but the first tokens of the answer, those that were heard. Raises ValueError for more than there
        are."""
        if not 0 <= tokens <= len(self.said):
            raise ValueError(f"the answer has {len(self.said)} tokens: it cannot be cut after {tokens}")
        self.said, self._turn = self.said[:tokens], "answered"
        self.state.rollback([min(int(self.state.fed[0]), self._began + tokens)])

    def told(self, answer: str) -> None:
        """The last turn was answered so, elsewhere."""
        self.said, self._turn = self.model.ids_of(answer), "answered"

    # ------------------------------------------------------------ the answer

    def answer(
        self, omega: float = inf, most: int = 256, temperature: float = 0.0, seed: int = 0, speak: bool = True
    ) -> Iterator[Step]:
        """Token by token; closing the iterator ends the answer there.

        omega        Ω, the units that make a segment; infinity speaks when everything is written
        most         tokens, the end token included
        temperature  0 takes the likeliest token. Above, tokens are drawn with `seed`; a state that predicts does not
                     know what was drawn, so speech may then differ from text
        speak        without it there are no units

        Raises ValueError for Ω below 1 and the like, FloatingPointError where numbers are too large for the precision.
        """
        self._check(omega, most, temperature)
        self._turn = "answered"
        return self._answered(omega, most, temperature, torch.Generator().manual_seed(seed), speak)

    def _check(self, omega: float, most: int, temperature: float) -> None:
        longest = self.model.config.speech.longest_tokens
        if not omega >= 1:
            raise ValueError(f"omega {omega}: a segment has at least 1 unit (10 answers soonest, inf sounds best)")
        if not 1 <= most <= longest:
            raise ValueError(f"most {most}: the speech decoder knows positions for 1 to {longest} tokens")
        if not 0 <= temperature < inf:
            raise ValueError(f"temperature {temperature}: give 0 for the likeliest tokens, or more")
        if self._turn != "asked":
            raise ValueError("nothing was asked since the last answer: call hear() first")

    @torch.no_grad()
    def _answered(
        self, omega: float, most: int, temperature: float, draw: torch.Generator, speak: bool
    ) -> Iterator[Step]:
        model, predictive = self.model, self.model.config.states == "predictive"
        head, pick = model.lm.get_output_embeddings(), Picking(temperature)
        spoken, collapse, waiting = (
            model.speech.start(most if speak else 1),
            Collapse(model.speech.blank),
            list[int](),
        )
        for number in range(1, most + 1):
            state, token = self._hidden, pick(head(self._hidden).float().cpu(), tuple, draw)
            self.said.append(token)
            last = token in model.stops or number == most
            if not (last and predictive):
                self._read(model.embedded([token]), "the next token")
            states = (state if predictive else self._hidden)[None, None]
            units = collapse.push(_labels(finite(model.speech.step(states, spoken)))) if speak else []
            waiting += units
            segment = tuple(waiting) if last or len(waiting) >= omega else ()
            waiting = [] if segment else waiting
            yield Step(token, tuple(units), segment, last)
            if last:
                return

    # ------------------------------------------------------------ reading

    def _heard(self, audio: Audio) -> Tensor:
        """Sound for which there is no room is not heard at all."""
        seconds = len(audio) / _HEARD_HZ
        self._room(int(seconds * self.model.ears.hz / self.model.config.stacked), f"{seconds:.0f} s of sound")
        return self.model.heard(audio)

    def _unread(self) -> list[int]:
        """What the model has not been fed of its last answer. One that was cut is closed."""
        if self._turn == "nobody":
            return []
        closed = bool(self.said) and self.said[-1] in self.model.stops
        end = [] if closed else self.model.ids_of(self.model.config.chat.end)
        return self.said[int(self.state.fed[0]) - self._began :] + end

    def _read(self, vectors: Tensor, what: str) -> None:
        self._room(len(vectors), what)
        for part in torch.split(vectors, self.state.memory.spare or len(vectors)):
            self._hidden = finite(step(self.model.lm, self.state, part[None])[0, -1])

    def _room(self, positions: int, what: str) -> None:
        memory, used = self.state.memory, int(self.state.lengths[0])
        if memory.sink is None and used + positions > memory.slots:
            raise ValueError(
                f"no room for {what}: {memory.slots - used} of {memory.slots} positions are left, and it takes "
                f"{positions}; give a larger Memory, one with a sink, or less at once"
            )


def finite(numbers: Tensor) -> Tensor:
    """The numbers as they are. Raises FloatingPointError where some are too large for their precision."""
    if not torch.isfinite(numbers).all():
        dtype = str(numbers.dtype).removeprefix("torch.")
        raise FloatingPointError(f"states that are no finite numbers in {dtype}: load the model in bfloat16 or float32")
    return numbers


def _labels(logits: Tensor) -> list[int]:
    """The likeliest of one row's logits [1, R, C]."""
    labels: list[int] = logits[0].argmax(-1).tolist()
    return labels
