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

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby, islice
from math import ceil
from typing import Any, Literal, NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedConfig, Qwen3Config

from duologue.layout import Cell, Columns, Hear, Layout, Put, Say
from duologue.model import words as small_world
from duologue.model.adapter import FrameStack
from duologue.model.omni_ears import LiveEars
from duologue.model.refined_head import GroupedUnits, RefinedHead
from duologue.model.tokens import Group, add_tokens
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
    hears               "mean": of these states, as released; or "stacked": side by side, through two layers, which
                        loses nothing of ears that tell each word in one of their states
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
    hears: Literal["mean", "stacked"] = "mean"
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
    "hears": ("mean", "stacked"),
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
        group, hears="stacked", lead=ceil(10 / group), head_reads="speech", chat=Chat("<|{role}|>", small_world.END, "")
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


# ---------------------------------------------------------------- the model


class FunAudioChat(nn.Module):
    """Ears, a causal language model of transformers with its tokenizer, a table of units, and a head that speaks.

    Letters in shapes: B rows, S steps, H steps of sound, k units of a group, W width of the ears, W' of a group of
    their states, D width of the language model.
    """

    def __init__(
        self,
        ears: LiveEars,
        lm: Any,
        words: Any,
        marks: Marks,
        units: UnitIds,
        head: PreTrainedConfig,
        config: Config,
        seed: int = 0,
    ) -> None:
        """What lies between ears, words and units is drawn with `seed`, in the language model's precision."""
        super().__init__()
        width = lm.get_input_embeddings().embedding_dim
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.adapter = _adapter(config, ears.width, width, lm.dtype)
            self.units = GroupedUnits(units.rows, units.pad, width, lm.dtype)
            self.head = RefinedHead(head, config.group, width, lm.dtype)
        self.ears, self.lm, self.words = ears, lm, words
        self.marks, self.unit_ids, self.config = marks, units, config

    @classmethod
    def grown(
        cls,
        ears: LiveEars,
        lm: Any,
        words: Any,
        codes: int,
        config: Config,
        head: PreTrainedConfig,
        seed: int = 0,
    ) -> Self:
        """Of a text model: tags are added to it and to its tokenizer, in place."""
        tags = add_tokens(lm, words, [Group("tags", TAG_TOKENS, special=True)], seed)["tags"].ids
        return cls(ears, lm, words, marks_of(words, config.chat, tags), unit_ids(codes), head, config, seed).eval()

    def layout(self, speaks: bool = True) -> Layout:
        return half_duplex(self.marks, self.unit_ids, self.config.group, speaks)

    def text_ids(self, text: str) -> list[int]:
        ids: list[int] = self.words(text, add_special_tokens=False).input_ids
        return ids

    def codes(self, units: Sequence[int]) -> list[int]:
        """Those units that are sound."""
        return [unit for unit in units if unit < self.unit_ids.codes]

    # ------------------------------------------------------------ hearing

    @property
    def heard_group(self) -> int:
        """States of the ears that are one step."""
        return self.config.heard_group or self.config.group

    @property
    def heard_width(self) -> int:
        """W' of what is heard in one step."""
        return self.ears.width * (self.heard_group if self.config.hears == "stacked" else 1)

    def places(self, samples: int) -> int:
        """Groups of so much sound at 16 kHz: the last one may be part full."""
        return ceil(int(samples / HEARD_HZ * UNIT_HZ) / self.heard_group)

    def grouped(self, states: Tensor, places: int | None = None) -> Tensor:
        """States of the ears [T, W] → groups of them [places, W'], means or stacks, the states cut or filled up with
        zeros to as many groups; without `places`, those of full groups."""
        group = self.heard_group
        whole = len(states) // group if places is None else places
        states = functional.pad(states[: whole * group], (0, 0, 0, max(0, whole * group - len(states))))
        groups = states.reshape(whole, group, states.shape[1])
        return groups.mean(1) if self.config.hears == "mean" else groups.flatten(1)

    # ------------------------------------------------------------ the language model's input (equations 1, 5)

    def embedded(self, tokens: Tensor, sound: Tensor, heard: Tensor, share: float = 1.0) -> Tensor:
        """Columns [..., 1 + k] → vectors [..., D].

        sound   which columns are placeholders of sound, [...]
        heard   groups of what the ears hear there, in order [n, W']
        share   of them that counts
        """
        text, units = tokens[..., 0], tokens[..., 1:]
        vectors: Tensor = self.lm.get_input_embeddings()(text)
        spoken = (units != self.unit_ids.pad).any(-1) & (units != self.unit_ids.eos).all(-1)
        both = (vectors[spoken] + self.units(units[spoken])) / 2
        vectors = vectors.index_put((spoken,), both.to(vectors))
        heard_there: Tensor = share * self.adapter(heard.to(vectors).reshape(-1, self.ears.width))
        return vectors.index_put((sound,), heard_there.to(vectors))

    # ------------------------------------------------------------ the head's input (equation 2)

    def head_states(self, hidden: Tensor, tokens: Tensor, sound: Tensor | None = None) -> Tensor:
        """What the head makes speech of: states [..., D] and the text that was read there, but where there was `sound`;
        nothing is learnt of text this way."""
        read = self.lm.get_input_embeddings()(tokens[..., 0]).detach()
        if sound is not None:
            read = read.masked_fill(sound[..., None], 0)
        told: Tensor = hidden + read
        return told

    def before(self, units: Tensor) -> Tensor:
        """Groups of units by step [..., S, k] → the unit before each that a step's state is to speak: those of the next
        step but the last, and its own last one."""
        group = self.config.group
        return units.flatten(-2).roll(1 - group, -1).reshape(units.shape)

    # ------------------------------------------------------------ learning

    def forward(self, batch: Tensors) -> Tensor:
        """Nats of the cells that are asked for, in the order of `asked`: [cells].

        tokens, said   [B, S, 1 + k]
        position       [B, S]
        heard          [B, H, W'], of each row as many groups as it has placeholders; or
        mel            [B, H, 4 * k + 4, M] and mel_frames [B, H]: spectra cut into groups, for ears that learn
        """
        tokens, cells = batch["tokens"], asked(batch)
        text, speech = cells[..., 0], cells[..., 1:]
        words, units = self.logits(batch)
        nats = torch.zeros(cells.shape, device=tokens.device)
        nats[..., 0][text] = _nats(words, tokens[:, 1:, 0][text])
        nats[..., 1:][speech] = _nats(units, tokens[:, 1:, 1:][speech])
        return nats[cells]

    def logits(self, batch: Tensors) -> tuple[Tensor, Tensor]:
        """Of the cells that are asked for, in order: of those of text [cells, words], of those of speech
        [cells, units]."""
        cells, hidden = asked(batch), self.states(batch)
        words: Tensor = self.lm.get_output_embeddings()(hidden[:, :-1][cells[..., 0]])
        return words, self.units.logits(self.head.leave(self._spoken(batch, hidden, cells[..., 1:])))

    def states(self, batch: Tensors) -> Tensor:
        """Of the language model, [B, S, D]."""
        tokens, sound = batch["tokens"], batch["tokens"][..., 0] == self.marks.heard
        heard = self._placed(batch["heard"], sound) if "heard" in batch else self._heard(batch)
        vectors = self.embedded(tokens, sound, heard, 0.5 if self.config.halve_heard else 1.0)
        decoder = self.lm.get_decoder()
        hidden: Tensor = decoder(
            inputs_embeds=vectors, position_ids=batch["position"], use_cache=False
        ).last_hidden_state
        return hidden

    def _spoken(self, batch: Tensors, hidden: Tensor, speech: Tensor) -> Tensor:
        """Of the head, at the cells of the speech that is asked for: [cells, inner]."""
        read = self.head_inputs(batch, hidden)
        if self.config.head_reads == "all":
            every: Tensor = self.head(*read, batch["position"])
            return every[:, :-1][speech]
        groups = speech.any(-1)
        run, place = _runs(groups)
        size = [1 + max([0, *of.tolist()]) for of in (run, place)]
        alone = [each.new_zeros(*size, *each.shape[2:]).index_put((run, place), each[:, :-1][groups]) for each in read]
        position = torch.arange(size[1], device=hidden.device).expand(size)
        spoken: Tensor = self.head(*alone, position)
        return spoken[run, place][speech[groups]]

    def head_inputs(self, batch: Tensors, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """What the head is told at each step [B, S, D], and of the units before those that follow [B, S, k, D]."""
        tokens = batch["tokens"]
        told = self.head_states(hidden, tokens, tokens[..., 0] == self.marks.heard)
        return told, self.units.table(self.before(tokens[..., 1:]))

    def _placed(self, heard: Tensor, sound: Tensor) -> Tensor:
        """Those of [B, H, ...] that have a place, in order."""
        return heard[torch.arange(heard.shape[1], device=heard.device) < sound.sum(1, keepdim=True)]

    def _heard(self, batch: Tensors) -> Tensor:
        """What ears that learn hear of all utterances of a batch: a group for each placeholder."""
        spectra = list(self._utterances(batch))
        states = self.ears([torch.cat(parts) for parts in spectra])  # type: ignore[operator]
        groups = [self.grouped(s, len(parts)) for s, parts in zip(states, spectra, strict=True)]
        return torch.cat([*groups, torch.zeros(0, self.heard_width, device=batch["mel"].device)])

    def _utterances(self, batch: Tensors) -> Iterator[list[Tensor]]:
        """The spectra of each utterance, in the pieces of its placeholders."""
        for text, mel, frames in zip(batch["tokens"][..., 0], batch["mel"], batch["mel_frames"], strict=True):
            pieces = (piece[:count] for piece, count in zip(mel, frames, strict=True))
            for here, places in groupby((text == self.marks.heard).tolist()):
                if here:
                    yield list(islice(pieces, len(list(places))))


def _runs(there: Tensor) -> tuple[Tensor, Tensor]:
    """Of the steps [B, S] that are there, in order: which run of neighbours each belongs to, and its place in it."""
    begins = there.clone()
    begins[:, 1:] &= ~there[:, :-1]
    run = begins[there].cumsum(0) - 1
    steps = torch.arange(len(run), device=there.device)
    return run, steps - steps[begins[there]][run]


def _adapter(config: Config, heard: int, width: int, dtype: torch.dtype) -> nn.Module:
    """From W of a mean, or of each of the states of a group, to D."""
    if config.hears == "mean":
        return nn.Linear(heard, width, bias=False, dtype=dtype)
    return FrameStack(heard, config.heard_group or config.group, 2 * width, width, dtype)


def _nats(logits: Tensor, targets: Tensor) -> Tensor:
    return functional.cross_entropy(logits.float(), targets, reduction="none")


class TwoRates(NextToken):
    """The objective: text and speech, each the mean over its own cells, from a model that gives nats."""

    def nats(self, output: Tensor, batch: Tensors) -> Tensors:
        return self._by_stream(batch, asked(batch), output)


LEARNT = ("text", "speech")
"""Streams of the objective, in the order of an example's `stream`."""

# ---------------------------------------------------------------- stages


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
