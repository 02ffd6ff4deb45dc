"""SyncLLM: one language model writes both sides of a conversation, chunk by chunk, on a clock (Veluri et al. 2024,
arXiv 2409.15594).

    units of the model  ┐ repeats removed, in chunks of 160 ms
                        ├ [S0] its own new units [S1] the user's new units [S0] … → decoder-only model → the same, on
    units of the user   ┘

The tag [S0] opens every chunk and is the clock: how long a unit lasted is told by the tags around it. Live, one of the
two sides is a person who is heard late; the model guesses what it has not heard yet. Here are sizes, layouts, model and
stages; `sync_llm_format` writes and reads chunks, `sync_llm_call` guesses, `sync_llm_talk` is a session of it. Sections
are those of the paper.

Beyond the paper: ways of writing that lose less of the timing, or nothing (`Repeats`), and a grammar under which no
malformed chunk can be generated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import zip_longest
from typing import Literal, NamedTuple, get_args

from duologue.layout import Columns, Layout, Put, Say
from duologue.model.one_vocabulary import OneVocabulary
from duologue.streaming import Memory
from duologue.train.stage import Stage

# ---------------------------------------------------------------- sizes

Repeats = Literal["removed", "carried", "exact", "kept"]
"""What is written of a channel's chunk. Only a chunk that holds what was before it is always empty (but in "kept").

removed   the units that differ from the one before, the paper's way: half the tokens. A change's place is told to the
          chunk, and within it by how many there are
carried   in a chunk with a change, the unit before it too where it still sounds at the start
exact     the shortest part that `spread` lays back as it was: nothing is lost
kept      every unit, one a slot: nothing is removed
"""
Filling = Literal["even", "centred"]
"""How durations are put back: evenly, or centred on where changes are expected, which only decoding needs to know."""


@dataclass(frozen=True)
class Config:
    """A chunk is `chunk_ms` of both speakers, of units that last `unit_ms`. Raises ValueError for what makes none."""

    chunk_ms: int = 160
    unit_ms: int = 40
    repeats: Repeats = "removed"
    filling: Filling = "even"

    def __post_init__(self) -> None:
        for name in ("chunk_ms", "unit_ms"):
            if type(value := getattr(self, name)) is not int or value < 1:
                raise ValueError(f"{name} is {value!r}: give whole milliseconds, 1 or more")
        for name, known in (("repeats", get_args(Repeats)), ("filling", get_args(Filling))):
            if (value := getattr(self, name)) not in known:
                raise ValueError(f"{name} is {value!r}: choose of {', '.join(known)}")
        if self.chunk_ms < self.unit_ms or self.chunk_ms % self.unit_ms:
            raise ValueError(
                f"chunk_ms is {self.chunk_ms}: a chunk holds whole units of {self.unit_ms} ms, one at least"
            )
        if self.filling == "centred" and self.repeats != "removed":
            raise ValueError(f"repeats {self.repeats!r} say where changes are; filling 'centred' is for 'removed'")

    @property
    def slots(self) -> int:
        """Units of a speaker in a chunk."""
        return self.chunk_ms // self.unit_ms

    @property
    def chunk_tokens(self) -> int:
        """That a chunk has at most: both speakers' units, and a tag before each."""
        return 2 * self.slots + 2


def paper() -> Config:
    """The best of its three sizes on Fisher; 200 and 240 ms are the others."""
    return Config()


def nano() -> Config:
    return Config()


BASE, BASE_UNITS = "meta-llama/Meta-Llama-3-8B", 501
"""The paper's backbone and its units: HuBERT's, 25 a second. Its weights were not released."""
MEMORY = Memory(slots=3000, sink=50, spare=500)
"""Of a call: a minute or two, by how much changes in it. What is older is forgotten."""
TAG_TOKENS = ("[S0]", "[S1]")
STREAMS = ("own", "user")
"""Speaker 0 is the model, speaker 1 the user."""

# ---------------------------------------------------------------- layouts (section 3)


class Alphabet(NamedTuple):
    """Ids of the tags that open a part of speaker 0 and of speaker 1, and of the units."""

    s0: int
    s1: int
    units: range


@lru_cache
def full_duplex(alphabet: Alphabet) -> Layout:
    """Chunks without end. The tag that ends a part belongs to that part: it says who comes next. A user with nothing
    new has no part; the clock is always there. Everything but the first tag is learnt, the user's side too: guesses
    depend on it."""
    s0, s1, _ = alphabet

    def columns() -> Columns:
        yield Put(s0)
        while True:
            while (token := (yield Say("own"))) not in (s0, s1):
                pass
            if token == s1:
                while (yield Say("user")) != s0:
                    pass

    return Layout(columns, STREAMS)


def turn_based(alphabet: Alphabet, speakers: Sequence[int]) -> Layout:
    """Stage 1: turns of the speakers, 0 or 1 each. A turn ends with the tag of the next one."""
    tags = [(alphabet.s0, alphabet.s1)[speaker] for speaker in speakers]

    def columns() -> Columns:
        yield Put(tags[0])
        for speaker, following in zip_longest(speakers, tags[1:]):
            while (yield Say(STREAMS[speaker])) != following:
                pass

    return Layout(columns, STREAMS)


# ---------------------------------------------------------------- the model


@dataclass(frozen=True)
class SyncLLM(OneVocabulary):
    tag_tokens = TAG_TOKENS
    sizes, sizes_file = Config, "sync_llm.json"
    called, made_by = "SyncLLM", "`SyncLLM.grown` makes one of a text model"

    config: Config

    @property
    def alphabet(self) -> Alphabet:
        s0, s1 = self.ids["tags"].ids
        return Alphabet(s0, s1, self.ids["units"].ids)

    @property
    def memory(self) -> Memory:
        """`MEMORY`, or what the language model has places for."""
        places = getattr(self.lm.config.get_text_config(), "max_position_embeddings", MEMORY.slots)
        slots = min(MEMORY.slots, places)
        return replace(MEMORY, slots=slots, spare=min(MEMORY.spare, slots // 4))


# ---------------------------------------------------------------- stages (section 4)

PARTS_OF_TURN_BASED = 4
"""Stage 1 is run in parts: from each to the next more of the sentences are speech."""


def _turn_based(part: int) -> Stage:
    return Stage(
        f"turn_based_{part + 1}",
        learning_rate=3e-5,
        batch_tokens=1_000_000,
        steps=40_000 // PARTS_OF_TURN_BASED,
        warmup_steps=500 if part == 0 else 0,
        schedule="constant",
    )


STAGES: tuple[Stage, ...] = (
    *(_turn_based(part) for part in range(PARTS_OF_TURN_BASED)),
    Stage("no_overlap", learning_rate=2.2e-5, batch_tokens=512_000, steps=6_000, warmup_steps=200),
    Stage("two_channels", learning_rate=1.5e-5, batch_tokens=256_000, steps=2_000, warmup_steps=100),
)
