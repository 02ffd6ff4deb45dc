"""Fun-Audio-Chat: text and speech beside each other, at two rates (technical report, arXiv 2512.20156).

    sound → ears → group of 5 ┐                                ┌ text, one token for 200 ms
                              ├ prompt → language model (5 Hz) ┤
    text, beside 5 units ─────┘                                └ Speech Refined Head (25 Hz) → 5 units → sound

The language model thinks in groups of five units: what it reads of its own speech is the mean of the token it wrote and
of the group it spoke (equations 1 and 5). From each of its states a small causal transformer speaks the five units of
the next group, one by one (equation 2). So the large model is asked five times a second, the small one 25 times.

The released code differs from the report and, in places, from itself; what its weights need is named in `Config`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import ceil
from typing import Any, Literal, NamedTuple

from torch import Tensor
from transformers import PreTrainedConfig, Qwen3Config

from duologue.layout import Cell, Columns, Hear, Layout, Put, Say
from duologue.model import words as small_world
from duologue.streaming import Memory
from duologue.train.loss import NextToken, Tensors, asked
from duologue.train.stage import Stage

UNIT_HZ, HEARD_HZ = 25, 16_000

# ---------------------------------------------------------------- sizes


@dataclass(frozen=True)
class Chat:
    """How a conversation is written. `header` opens a turn of a role, `end` closes it."""

    header: str = "<|im_start|>{role}\n"
    end: str = "<|im_end|>\n"
    system: str = "You are a helpful assistant."


TEXT_ONLY = "You are asked to generate text tokens."
TEXT_AND_SPEECH = "You are asked to generate both text and speech tokens at the same time."
"""System prompts that choose what is answered, as released; the persona's text may follow."""


@dataclass(frozen=True)
class Config:
    """The two rates, and what released weights need.

    group               units that are one step of the language model: 5 are 200 ms
    heard_group         states of the ears that are one step; 0: as many as units
    hears               "mean": of these states, as released; "stacked": side by side, through two layers; or "words":
                        of ears that give a state a word, each is a step, and `heard_group` the room left for a word
    lead                groups by which text is ahead of speech: 2 are 400 ms
    last_group          "eos": the group in which speech ends holds its last units and is filled up with ends. "pad":
                        it is filled up with padding that is not trained, a group of ends follows, and units beside an
                        end are lost
    history             what is remembered of an answer: "spoken" as it was said; "text" alone, read anew
    text_too_long       for its speech: "refuse" such an example, or "cut" its text
    head_reads          "all" steps, as released; or "speech": only what is being said, from where it begins
    free_units          the head may say padding and spare rows of its table, too
    halve_heard         in training, what is heard is averaged with nothing: it has half the size it has in a call
    head_reads_places   in a call, the head is told of the placeholder of sound; in training never
    prompt_units        in a call, what the head is told was spoken while there was no speech: "pad" as in training; or
                        "junk", begin units over a prompt, and then whatever it says itself
    """

    group: int = 5
    heard_group: int = 0
    hears: Literal["mean", "stacked", "words"] = "mean"
    lead: int = 2
    last_group: Literal["eos", "pad"] = "eos"
    history: Literal["spoken", "text"] = "spoken"
    text_too_long: Literal["refuse", "cut"] = "refuse"
    head_reads: Literal["all", "speech"] = "all"
    free_units: bool = False
    halve_heard: bool = False
    head_reads_places: bool = False
    prompt_units: Literal["pad", "junk"] = "pad"
    chat: Chat = Chat()

    @property
    def stacked(self) -> int:
        """States of the ears that are one step of what is heard; a word is one by itself."""
        return 1 if self.hears == "words" else self.heard_group or self.group

    def __post_init__(self) -> None:
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} is {getattr(self, name)!r}: choose one of {', '.join(allowed)}")
        if (self.head_reads, self.prompt_units) == ("speech", "junk"):
            raise ValueError("prompt_units is 'junk', but head_reads is 'speech': no prompt is read then, choose 'pad'")
        if self.group < 1 or self.lead < 0 or self.heard_group < 0:
            raise ValueError(
                f"group {self.group}, heard_group {self.heard_group}, lead {self.lead}: a group has at least one unit, "
                "the others are no fewer than 0"
            )


_CHOICES = {
    "head_reads": ("all", "speech"),
    "hears": ("mean", "stacked", "words"),
    "last_group": ("eos", "pad"),
    "history": ("spoken", "text"),
    "text_too_long": ("refuse", "cut"),
    "prompt_units": ("pad", "junk"),
}


def released() -> Config:
    """Of Fun-Audio-Chat-8B."""
    return Config(
        last_group="pad",
        history="text",
        text_too_long="cut",
        free_units=True,
        halve_heard=True,
        head_reads_places=True,
        prompt_units="junk",
    )


def nano(group: int = 5) -> Config:
    """For the words tokenizer; text leads by 400 ms, whatever the group."""
    return Config(
        group,
        heard_group=5,
        hears="words",
        lead=ceil(10 / group),
        head_reads="speech",
        chat=Chat("<|{role}|>", small_world.END, ""),
    )


def nano_head(positions: int = 10_240) -> PreTrainedConfig:
    """Of the nano size: 1.2 M parameters, beside a language model of width 256."""
    return Qwen3Config(
        vocab_size=1,
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=positions,
    )


MEMORY = Memory(slots=2048, sink=64, spare=512)
"""Of a call, in steps of the language model: the last five minutes at least, and how it began."""

# ---------------------------------------------------------------- ids


class Marks(NamedTuple):
    """Ids of the words' vocabulary that are no words. `answer` opens an answer, `ends` close a turn."""

    heard: int
    opens: int
    closes: int
    silent: int
    answer: tuple[int, ...]
    ends: tuple[int, ...]


TAG_TOKENS = ("<|AUDIO|>", "<|audio_bos|>", "<|audio_eos|>", "<|sil|>")
"""200 ms of sound; speech begins; speech ends; nothing is written beside speech."""


class UnitIds(NamedTuple):
    """Ids of the units' table: codes come first, then what is no sound. It may have spare rows."""

    codes: int
    bos: int
    eos: int
    pad: int
    rows: int


def unit_ids(codes: int) -> UnitIds:
    return UnitIds(codes, codes, codes + 1, codes + 2, codes + 3)


def marks_of(words: Any, chat: Chat, tags: Sequence[int]) -> Marks:
    """`tags` are the ids of TAG_TOKENS."""
    heard, opens, closes, silent = tags
    answer, ends = (
        tuple(words(text, add_special_tokens=False).input_ids)
        for text in (chat.header.format(role="assistant"), chat.end)
    )
    return Marks(heard, opens, closes, silent, answer, ends)


# ---------------------------------------------------------------- layout

STREAMS = ("given", "text", "speech")


def half_duplex(marks: Marks, units: UnitIds, group: int = 5, speaks: bool = True) -> Layout:
    """A lane of text beside as many of units as a group has: what is given up to where the answer opens, the answer,
    and so on. The given stream has a placeholder for each group of sound."""
    answer = _answer(marks, units, group, speaks)

    def columns() -> Columns:
        while True:
            read: tuple[int, ...] = ()
            while read != marks.answer:
                placed = yield _beside(Hear("given"), Put(units.pad), group)
                read = (*read, placed[0])[-len(marks.answer) :]
            yield from answer()

    return Layout(columns, STREAMS, lanes=1 + group)


def _answer(marks: Marks, units: UnitIds, group: int, speaks: bool) -> Any:
    """Text; as soon as it opens speech, a group beside each token, until there is an end in one."""

    def columns() -> Columns:
        text, speaking = -1, False
        while text != marks.ends[0]:
            cell = Say("speech") if speaking else Put(units.pad)
            text, *spoken = yield _beside(Say("text"), cell, group)
            speaking = units.eos not in spoken if speaking else speaks and text == marks.opens
        for _ in marks.ends[1:]:
            yield _beside(Say("text"), Put(units.pad), group)

    return columns


def _beside(text: Cell, unit: Cell, group: int) -> tuple[Cell, ...]:
    return (text, *[unit] * group)


@lru_cache
def full_duplex(group: int = 5) -> Layout:
    """Text, a group of units and 200 ms of the user's sound in each step, which is heard while the assistant speaks."""

    def columns() -> Columns:
        while True:
            yield (Say("text"), *[Say("speech")] * group, Hear("user"))

    return Layout(columns, ("text", "speech", "user"), lanes=2 + group, fixed=True)


# ---------------------------------------------------------------- stages


class TwoRates(NextToken):
    """The objective: text and speech, each the mean over its own cells, from a model that gives nats."""

    def nats(self, output: Tensor, batch: Tensors) -> Tensors:
        return self._by_stream(batch, asked(batch), output)


LEARNT = ("text", "speech")
"""Streams of the objective, in the order of an example's `stream`."""


def pre_alignment() -> Stage:
    """Everything but the language model; the rates are not published."""
    learnt = ("ears.*", "adapter.*", "units.*", "head.*")
    return Stage(
        "pre_alignment",
        learning_rate=1e-4,
        batch_tokens=49_152,
        epochs=1,
        trains=learnt,
        row_tokens=2048,
        mean_over="streams",
    )


def fine_tuning() -> Stage:
    """Everything, as the released recipe: 24 rows of 2048 tokens, 1e-5 down to 1e-6."""
    return Stage(
        "fine_tuning",
        learning_rate=1e-5,
        batch_tokens=49_152,
        epochs=1,
        warmup_steps=10,
        row_tokens=2048,
        mean_over="streams",
    )


STAGES: tuple[Stage, ...] = (pre_alignment(), fine_tuning())
