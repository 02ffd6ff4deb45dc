"""Talking with LLaMA-Omni: a step of the language model for each token, 25 labels of each, and as soon as Ω units wait,
a segment (2.6).

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
from duologue.streaming import Memory, finite, start, step
from duologue.systems.llama_omni import LlamaOmni

MEMORY = Memory(slots=4096)
"""Half a GB of keys and values at the size of the paper, in half precision."""
UNSPOKEN = 32
"""Tokens whose states wait at most: more at once need memory, and are hardly faster."""
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
        self,
        omega: float = inf,
        most: int = 256,
        temperature: float = 0.0,
        seed: int = 0,
        speak: bool = True,
        thrifty: bool = False,
    ) -> Iterator[Step]:
        """Token by token; closing the iterator ends the answer there.

        omega        Ω, the units that make a segment; infinity speaks when everything is written
        most         tokens, the end token included
        temperature  0 takes the likeliest token. Above, tokens are drawn with `seed`; a state that predicts does not
                     know what was drawn, so speech may then differ from text
        speak        without it there are no units
        thrifty      the speech decoder runs only where a segment could be filled: the same segments for less, while
                     `Step.units` come out with a later token

        Raises ValueError for Ω below 1 and the like, FloatingPointError where numbers are too large for the precision.
        """
        self._check(omega, most, temperature)
        self._turn = "answered"
        return self._answered(omega, most, temperature, torch.Generator().manual_seed(seed), speak, thrifty)

    def _check(self, omega: float, most: int, temperature: float) -> None:
        longest = self.model.config.speech.longest_tokens
        check_omega(omega)
        if not 1 <= most <= longest:
            raise ValueError(f"most {most}: the speech decoder knows positions for 1 to {longest} tokens")
        if not 0 <= temperature < inf:
            raise ValueError(f"temperature {temperature}: give 0 for the likeliest tokens, or more")
        if self._turn != "asked":
            raise ValueError("nothing was asked since the last answer: call hear() first")

    @torch.no_grad()
    def _answered(
        self, omega: float, most: int, temperature: float, draw: torch.Generator, speak: bool, thrifty: bool
    ) -> Iterator[Step]:
        model, predictive = self.model, self.model.config.states == "predictive"
        head, pick = model.lm.get_output_embeddings(), Picking(temperature)
        speaker = _Speaker(model, omega, most, thrifty) if speak else None
        for number in range(1, most + 1):
            state, token = self._hidden, pick(head(self._hidden).float().cpu(), tuple, draw)
            self.said.append(token)
            last = token in model.stops or number == most
            if not (last and predictive):
                self._read(model.embedded([token]), "the next token")
            state = state if predictive else self._hidden
            units, segment = speaker.hear(state, last) if speaker else ((), ())
            yield Step(token, units, segment, last)
            if last:
                return

    # ------------------------------------------------------------ reading

    def _heard(self, audio: Audio) -> Tensor:
        """Sound for which there is surely no room is not heard at all."""
        sound = f"{len(audio) / _HEARD_HZ:.0f} s of sound"
        self._room(self.model.ears.fewest(len(audio)) // self.model.config.stacked, sound)
        vectors = self.model.heard(audio)
        self._room(len(vectors), sound)
        return vectors

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
        if memory.sink is not None and positions > (most := memory.slots - memory.sink - memory.spare):
            raise ValueError(
                f"no room for {what}: it takes {positions} positions, and of what is said at once {most} are surely "
                "remembered; give a larger Memory, or less at once"
            )


class _Speaker:
    """What an answer's states say, in segments of Ω units or more. A thrifty one lets states wait until they could
    fill a segment: a token has at most as many units as labels. So a segment goes out with the same token."""

    def __init__(self, model: LlamaOmni, omega: float, most: int, thrifty: bool) -> None:
        self._decoder, self._omega, self._thrifty = model.speech, omega, thrifty
        self._state, self._collapse = model.speech.start(most), Collapse(model.speech.blank)
        self._unspoken: list[Tensor] = []
        self._waiting: list[int] = []

    def hear(self, state: Tensor, last: bool) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The state [D] of one more token: units that are known by it, and the segment that goes out."""
        self._unspoken.append(state)
        most_units = len(self._waiting) + len(self._unspoken) * self._decoder.sizes.labels_per_token
        due = last or not self._thrifty or most_units >= self._omega or len(self._unspoken) == UNSPOKEN
        units = self._units() if due else []
        self._waiting += units
        segment = tuple(self._waiting) if last or len(self._waiting) >= self._omega else ()
        self._waiting = [] if segment else self._waiting
        return tuple(units), segment

    def _units(self) -> list[int]:
        states, self._unspoken = torch.stack(self._unspoken)[None], []
        labels: list[int] = finite(self._decoder.step(states, self._state))[0].argmax(-1).tolist()
        return self._collapse.push(labels)


def check_omega(omega: float) -> None:
    """Raises ValueError for Ω below 1."""
    if not omega >= 1:
        raise ValueError(f"omega {omega}: a segment has at least 1 unit (10 answers soonest, inf sounds best)")
