"""SyncLLM: one language model writes both sides of a conversation, chunk by chunk, on a clock (Veluri et al. 2024,
arXiv 2409.15594).

    units of the model  ┐ repeats removed, in chunks of 160 ms
                        ├ [S0] its own new units [S1] the user's new units [S0] … → decoder-only model → the same, on
    units of the user   ┘

The tag [S0] opens every chunk and is the clock: how long a unit lasted is told by the tags around it. Live, one of the
two sides is a person who is heard late; the model guesses what it has not heard yet (`sync_llm_talk`). Sections are
those of the paper, which left many cases open: what is done in each is said at the function that does it.

Beyond the paper: ways of writing that lose less of the timing, or nothing (`Repeats`), and a grammar under which no
malformed chunk can be generated.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import pairwise, zip_longest
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

import torch
from torch import Tensor

from duologue.layout import Columns, Layout, Put, Say
from duologue.model.backbone import backbone, tokenizer_of
from duologue.model.tokens import Drawn, Group, IdMap, Vectors, add_tokens
from duologue.streaming import Memory
from duologue.train.stage import Stage
from duologue.whole import whole_folder

# ---------------------------------------------------------------- sizes

Repeats = Literal["removed", "carried", "exact", "kept"]
"""What is written of a channel's chunk. Only a chunk that holds what was before it is always empty (but in "kept").

removed   the units that differ from the one before, the paper's way: half the tokens. A change's place is told to the
          chunk, and within it by how many there are
carried   in a chunk with a change, the unit before it too where it still sounds at the start
exact     the shortest part that `spread` lays back as it was: nothing is lost
kept      every unit, one a slot: nothing is removed
"""


@dataclass(frozen=True)
class Config:
    """A chunk is `chunk_ms` of both speakers, of units that last `unit_ms`. `filling` is how durations are put back:
    "even", or "centred" on where changes are expected, which only decoding needs to know."""

    chunk_ms: int = 160
    unit_ms: int = 40
    repeats: Repeats = "removed"
    filling: Literal["even", "centred"] = "even"

    def __post_init__(self) -> None:
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


# ---------------------------------------------------------------- writing (section 3.2)

Part = tuple[int, ...]


class Chunk(NamedTuple):
    """What the two speakers write in a chunk, in codes of units."""

    own: Part
    user: Part


def encode(own: Sequence[int], user: Sequence[int], config: Config) -> list[Chunk]:
    """Codes of two channels, [T] each, as chunks. The last one may have fewer slots: who reads it back is told T.
    Raises ValueError for channels of unequal length."""
    if len(own) != len(user):
        raise ValueError(
            f"two channels of one recording have one length, not {len(own)} and {len(user)} units: "
            "fill the shorter one up with silence"
        )
    return [Chunk(*parts) for parts in zip(_parts(own, config), _parts(user, config), strict=True)]


def _parts(raw: Sequence[int], config: Config) -> Iterator[Part]:
    held = None
    for start in range(0, len(raw), config.slots):
        slots = raw[start : start + config.slots]
        yield written(slots, held, config.repeats)
        held = slots[-1]


def written(slots: Sequence[int], held: int | None, repeats: Repeats = "removed") -> Part:
    """What one speaker writes of the units in a chunk's slots, `held` sounding before it (None: nothing was)."""
    if repeats == "kept":
        return tuple(slots)
    new = tuple(unit for before, unit in zip((held, *slots), slots, strict=False) if unit != before)
    if new and repeats == "exact":
        return _shortest(slots)
    if new and repeats == "carried" and slots[0] == held:
        return (slots[0], *new)
    return new


def _shortest(slots: Sequence[int]) -> Part:
    """The shortest part that `spread` lays out as these slots: each of its units stands for a block of equal ones."""
    count = len(slots)
    sizes = (size for size in range(1, count + 1) if _blocks_are_equal(slots, size))
    size = next(sizes)
    return tuple(slots[-(-block * count // size)] for block in range(size))


def _blocks_are_equal(slots: Sequence[int], size: int) -> bool:
    block_of = [slot * size // len(slots) for slot in range(len(slots))]
    return all(slots[a] == slots[b] for a, b in pairwise(range(len(slots))) if block_of[a] == block_of[b])


def streams(chunks: Sequence[Chunk], alphabet: Alphabet) -> dict[str, list[int]]:
    """The ids of `full_duplex`'s streams: each part with the tag that ends it; after the last part comes none."""
    s0, s1, units = alphabet
    own: list[int] = []
    user: list[int] = []
    for number, chunk in enumerate(chunks, 1):
        clock = [s0] if number < len(chunks) else []
        own += [*(units[code] for code in chunk.own), *([s1] if chunk.user else clock)]
        user += [*(units[code] for code in chunk.user), *clock] if chunk.user else []
    return {"own": own, "user": user}


# ---------------------------------------------------------------- reading back


def decode(
    chunks: Sequence[Chunk], config: Config, silence: int, length: int | None = None
) -> tuple[list[int], list[int]]:
    """Codes of both channels, [T] each: whole chunks, or `length` units, over whose rest the last chunk is spread."""
    total = len(chunks) * config.slots if length is None else length
    own, user = (_sounded([chunk[speaker] for chunk in chunks], config, silence, total) for speaker in (0, 1))
    return own, user


def _sounded(parts: Sequence[Part], config: Config, silence: int, length: int) -> list[int]:
    """One channel. Where nothing is written, the last written unit sounds on; at the very beginning silence does."""
    raw: list[int] = []
    held: int | None = None
    for part in parts:
        raw += spread(part, min(config.slots, length - len(raw)), held, silence, config.filling)
        held = part[-1] if part else held
    return raw


def spread(part: Part, slots: int, held: int | None, silence: int, filling: str = "even") -> list[int]:
    """The units of a part in the slots of a chunk, [slots].

    even      slot j takes part[j * k // slots] of k units: each lasts ⌊slots/k⌋ or ⌈slots/k⌉. Of more units than
              slots (other models' text) some are left out
    centred   each change at its expected place, the held unit before the first one
    """
    count = len(part)
    if not part:
        return [silence if held is None else held] * slots
    if filling == "even" or held is None or count > slots:
        return [part[slot * count // slots] for slot in range(slots)]
    onsets = [(2 * (n + 1) * (slots + 1) - (count + 1)) // (2 * (count + 1)) for n in range(count)]
    return [(held, *part)[bisect_right(onsets, slot)] for slot in range(slots)]


def read(
    ids: Iterable[int], alphabet: Alphabet, config: Config, strict: bool = True
) -> tuple[list[Chunk], Counter[str]]:
    """The chunks in any ids, and what is wrong in them:

    stray        ids before the first [S0], and those that are neither unit nor tag: dropped
    double_tag   [S1] twice in a chunk: its units join the part
    empty_tag    [S1] without a unit after it: nothing new
    overflow     units that have no slot: some are not heard, the last one is held
    repeat       units that are written again: they take their share of the slots

    Raises ValueError for any of these where `strict`.
    """
    parts, counts, speaker = list[tuple[list[int], list[int]]](), Counter[str](), 0
    s0, s1, units = alphabet
    for token in [*ids, s0]:
        if token == s0:
            counts["empty_tag"] += speaker == 1 and not parts[-1][1]
            parts.append(([], []))
            speaker = 0
        elif not parts or (token != s1 and token not in units):
            counts["stray"] += 1
        elif token == s1:
            counts["double_tag"] += speaker
            speaker = 1
        else:
            parts[-1][speaker].append(token - units.start)
    chunks = [Chunk(tuple(own), tuple(user)) for own, user in parts[:-1]]
    counts += _trouble(chunks, config)
    if strict and counts:
        raise ValueError(f"malformed chunks: {dict(counts)}; read with strict=False to repair them")
    return chunks, counts


def _trouble(chunks: Sequence[Chunk], config: Config) -> Counter[str]:
    """Units too many, and units again that the format would not write again."""
    counts: Counter[str] = Counter()
    for channel in zip(*chunks, strict=True):
        held = None
        for part in channel:
            counts["overflow"] += max(0, len(part) - config.slots)
            again = [unit == before for before, unit in pairwise((held, *part))]
            first = 1 if config.repeats == "carried" and len(part) > 1 else 0
            counts["repeat"] += sum(again[first:]) if config.repeats in ("removed", "carried") else 0
            held = part[-1] if part else held
    return counts


# ---------------------------------------------------------------- grammar


class Next(NamedTuple):
    """What may follow in a part: the unit before once more, another unit, the part's end."""

    same: bool
    other: bool
    end: bool


def after(part: Part, held: int | None, config: Config) -> Next:
    """What may follow, so that the part becomes one that `written` can write, and no other. A speaker who was never
    heard (`held` is None) begins with a unit."""
    again = tuple(unit == before for before, unit in pairwise((held, *part)))
    if held is None and not part:
        return Next(same=False, other=True, end=False)
    return _after(again, config.slots, config.repeats)


@lru_cache(maxsize=100_000)
def _after(again: tuple[bool, ...], slots: int, repeats: Repeats) -> Next:
    """Of a part whose units are told only as far as each is the one before it again."""
    room = len(again) < slots
    same, other = (room and _can_be_ended((*again, unit), slots, repeats) for unit in (True, False))
    return Next(same, other, end=_is_written(again, slots, repeats))


def _can_be_ended(again: tuple[bool, ...], slots: int, repeats: Repeats) -> bool:
    return _is_written(again, slots, repeats) or any(_after(again, slots, repeats)[:2])


def _is_written(again: tuple[bool, ...], slots: int, repeats: Repeats) -> bool:
    """Whether reading such a part and writing it anew gives the same."""
    part, unit = list[int](), 0
    for same in again:
        unit += not same
        part.append(unit)
    return written(spread(tuple(part), slots, 0, 0), 0, repeats) == tuple(part)


def units_after(part: Part, held: int | None, alphabet: Alphabet, config: Config) -> Tensor:
    """Ids of the units that may follow."""
    may, before = after(part, held, config), part[-1] if part else held
    allowed = torch.full((len(alphabet.units),), may.other)
    if before is not None:
        allowed[before] = may.same
    return allowed.nonzero()[:, 0] + alphabet.units.start


# ---------------------------------------------------------------- the model


@dataclass(frozen=True)
class SyncLLM:
    """A causal language model of transformers with its tokenizer, to which tags and units were added."""

    lm: Any
    words: Any
    ids: IdMap
    config: Config

    @classmethod
    def grown(
        cls, lm: Any, words: Any, codes: int, config: Config, vectors: Tensor | None = None, seed: int = 0
    ) -> Self:
        """Of a text model: tags and `codes` units are added to both, in place. `vectors`: what the codec knows of each
        unit, [codes, any width]."""
        units = [f"<unit {n}>" for n in range(codes)]
        start = Drawn("normal") if vectors is None else Vectors(vectors)
        groups = [Group("tags", TAG_TOKENS, special=True), Group("units", units, start, special=True, book=0)]
        return cls(lm, words, add_tokens(lm, words, groups, seed), config)

    @property
    def alphabet(self) -> Alphabet:
        s0, s1 = self.ids["tags"].ids
        return Alphabet(s0, s1, self.ids["units"].ids)

    def text_ids(self, text: str) -> list[int]:
        ids: list[int] = self.words(text, add_special_tokens=False).input_ids
        return ids

    # ------------------------------------------------------------ on the disk

    def save(self, folder: str | Path) -> None:
        """As a folder of transformers, with `ids.json` and `sync_llm.json` beside the weights. Raises OSError (disk
        full), and what was in the folder is still there."""
        whole_folder(folder, self._write)

    def _write(self, folder: Path) -> None:
        self.lm.save_pretrained(folder)
        self.words.save_pretrained(folder)
        self.ids.save(folder)
        (folder / "sync_llm.json").write_text(json.dumps(asdict(self.config), indent=1))

    @classmethod
    def load(cls, folder: str | Path, dtype: torch.dtype = torch.float32) -> Self:
        """What `save` wrote. Raises ValueError for a folder with something else."""
        folder = Path(folder)
        if not (folder / "sync_llm.json").is_file():
            raise ValueError(f"{folder} holds no SyncLLM model; `SyncLLM.grown` makes one of a text model")
        try:
            config = Config(**json.loads((folder / "sync_llm.json").read_text()))
            words = tokenizer_of(folder)
            return cls(backbone(str(folder), dtype), words, IdMap.load(folder, words), config)
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise ValueError(f"{folder} holds a SyncLLM model that cannot be read: {error}") from error


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
