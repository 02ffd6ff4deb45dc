"""OmniFlatten: one ordinary language model that listens and speaks at once (Zhang et al. 2024, arXiv 2410.17799).

    user speech ┐
    user text   ├ cut into chunks, laid end to end in one lane → decoder-only model → text and units → sound
    text        │
    speech      ┘

Three stages of training peel the streams off: samples of recognition and of speaking align units with text; half
duplex has all four streams turn by turn; full duplex has the user's speech, the text and the speech of the assistant
chunk by chunk, and in the end the two kinds of speech alone. Sections are those of the paper.

Beyond the paper: the model may write down what it hears while it hears it (`Config.heard_chunk`), and users cut in and
say "mm-hm" in the data.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from math import ceil
from pathlib import Path
from typing import Literal, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from duologue.data.timed import TimedTurn, spoken, written
from duologue.desk import Desk
from duologue.dialogue import Tool, ToolCall
from duologue.duplex import LayoutSession, Talking
from duologue.layout import Cell, Columns, Hear, Layout, Put, Say, Tokens
from duologue.model.calls import said_and_called
from duologue.model.one_vocabulary import OneVocabulary
from duologue.streaming import Memory
from duologue.train.stage import Stage
from duologue.units import nano_codec
from duologue.units.codec import Codec

# ---------------------------------------------------------------- sizes


@dataclass(frozen=True)
class Config:
    """Tokens of each stream in a chunk (section 2.3): at 25 units a second, 10 are 400 ms.

    speech_chunk   units, of the user and of the assistant
    text_chunk     of the assistant's text; 0: two streams, without it
    heard_chunk    of what the model writes of the user's words, before its own; 0: as the paper has it
    """

    speech_chunk: int = 10
    text_chunk: int = 2
    heard_chunk: int = 0

    @property
    def chunk_tokens(self) -> int:
        """Of all streams."""
        return 2 * self.speech_chunk + self.text_chunk + self.heard_chunk


def paper() -> Config:
    return Config()


def nano() -> Config:
    """It also writes what it hears: a small model answers better what it has in words."""
    return Config(heard_chunk=3)


BASE = "Qwen/Qwen2-0.5B"
"""The paper's backbone."""
MEMORY = Memory(slots=1500, sink=50, spare=300)
"""Of a call: the 24 s that the nano size is trained on at once, of which at least 19 s are remembered."""

# ---------------------------------------------------------------- tokens


class Tags(NamedTuple):
    """Ids of the tokens that are neither text nor units (section 2.1). Silence is no unit of the tokenizer's."""

    asr: int
    tts: int
    sos: int
    eos: int
    sot: int
    eot: int
    silent_speech: int
    silent_text: int


TAG_TOKENS = ("[ASR]", "[TTS]", "[SOS]", "[EOS]", "[SOT]", "[EOT]", "[silent speech]", "[silent text]")
STREAMS = ("user", "heard", "text", "speech")
"""In the order of their training: what the user says, what is understood of it, what is answered, how it sounds."""

# ---------------------------------------------------------------- layouts


def alignment(task: Literal["asr", "tts"], tags: Tags) -> Layout:
    """A sample of recognition or of speaking (section 2.1): what is given, then what is asked for."""
    speech, text = (Hear, Say) if task == "asr" else (Say, Hear)

    def columns() -> Columns:
        parts = [_part(tags.sos, speech("speech"), tags.eos), _part(tags.sot, text("text"), tags.eot)]
        yield Put(tags.asr if task == "asr" else tags.tts)
        for part in parts if task == "asr" else reversed(parts):
            yield from part

    return Layout(columns, ("speech", "text"))


def half_duplex(tags: Tags, user_text: type[Hear | Say] = Say) -> Layout:
    """Four streams by turn (section 2.2): hear, write what was heard, answer in text, speak."""

    def columns() -> Columns:
        while True:
            yield from _part(tags.sos, Hear("user"), tags.eos)
            yield from _part(tags.sot, user_text("heard"), tags.eot)
            yield from _part(tags.sot, Say("text"), tags.eot)
            yield from _part(tags.sos, Say("speech"), tags.eos)

    return Layout(columns, STREAMS)


def half_duplex_by_ear(config: Config, tags: Tags) -> Layout:
    """The same for a model that writes what it hears while it hears it: whole chunks of listening, then the answer."""

    def columns() -> Columns:
        while True:
            yield Put(tags.sos)
            while (yield Hear("user")) != tags.eos:
                for _ in range(config.speech_chunk - 1):
                    yield Hear("user")
                for _ in range(config.heard_chunk):
                    yield Say("heard")
            yield from _part(tags.sot, Say("text"), tags.eot)
            yield from _part(tags.sos, Say("speech"), tags.eos)

    return Layout(columns, STREAMS)


def _part(opens: int, cell: Cell, closes: int) -> Columns:
    """`cell` again and again, up to and with its closing tag; the opening tag is put."""
    yield Put(opens)
    while (yield cell) != closes:
        pass


@lru_cache
def full_duplex(config: Config) -> Layout:
    """Three streams by chunk (section 2.3), two without text (2.4), four with what is heard."""
    sizes = (config.speech_chunk, config.heard_chunk, config.text_chunk, config.speech_chunk)
    return _by_chunk(sizes)


@lru_cache
def hearing(config: Config) -> Layout:
    """Of these four, the two of listening: what the user says, and its words as soon as they are known."""
    return _by_chunk((config.speech_chunk, config.heard_chunk, 0, 0))


def _by_chunk(sizes: Sequence[int]) -> Layout:
    kinds: tuple[Hear | Say, ...] = (Hear("user"), Say("heard"), Say("text"), Say("speech"))
    chunk = [(cell, size) for cell, size in zip(kinds, sizes, strict=True) if size]

    def columns() -> Columns:
        while True:
            for cell, size in chunk:
                for _ in range(size):
                    yield cell

    return Layout(columns, tuple(cell.stream for cell, _ in chunk), fixed=True)


# ---------------------------------------------------------------- streams


def streams(
    config: Config,
    tags: Tags,
    user: Sequence[TimedTurn],
    assistant: Sequence[TimedTurn],
    length: int,
    heard: Sequence[TimedTurn] = (),
) -> dict[str, Tokens]:
    """Turns in time as the streams of `full_duplex`: whole chunks of at least `length` units, more where the text
    needs them. `heard` are the words of the user, each at the place where it can be known."""
    chunks = ceil(length / config.speech_chunk)
    sizes = {"heard": config.heard_chunk, "text": config.text_chunk}
    texts = {
        name: written(turns, chunks, config.speech_chunk, sizes[name], tags.silent_text)
        for name, turns in (("heard", heard), ("text", assistant))
        if sizes[name]
    }
    chunks = max([chunks, *(len(text) // sizes[name] for name, text in texts.items())])
    for name, text in texts.items():
        missing = chunks * sizes[name] - len(text)
        texts[name] = np.pad(text, (0, missing), constant_values=tags.silent_text)
    speech = {
        name: spoken(turns, chunks * config.speech_chunk, tags.silent_speech)
        for name, turns in (("user", user), ("speech", assistant))
    }
    return {"user": speech["user"], **texts, "speech": speech["speech"]}


# ---------------------------------------------------------------- the model


@dataclass(frozen=True)
class OmniFlatten(OneVocabulary):
    """Tags and units are added to a text model (section 2)."""

    tag_tokens = TAG_TOKENS
    sizes, sizes_file = Config, "omni_flatten.json"
    called, made_by = "OmniFlatten", "recipes/omni_flatten.py makes one"

    config: Config

    def without_text(self) -> Self:
        """The same model, of two streams (section 2.4): it writes neither what it hears nor what it says."""
        return replace(self, config=replace(self.config, text_chunk=0, heard_chunk=0))

    @property
    def tags(self) -> Tags:
        return Tags(*self.ids["tags"].ids)

    @property
    def texts(self) -> range:
        """Ids of the words, all that the tokenizer had before."""
        return range(self.tags.asr)

    def may_hold(self, stream: str) -> Tensor:
        """Ids that the model may place in a stream of `full_duplex`, in rising order."""
        if stream == "speech":
            return torch.tensor([self.tags.silent_speech, *self.ids["units"].ids])
        return torch.tensor([*self.texts, self.tags.silent_text])

    # ------------------------------------------------------------ talking (section 2.6)

    def talking(self, codec: Codec, memory: Memory = MEMORY) -> Talking:
        """What its sessions share."""
        return Talking(
            lm=self.lm,
            codec=codec,
            layout=full_duplex(self.config),
            chunk_units=self.config.speech_chunk,
            may_hold={stream: self.may_hold(stream) for stream in STREAMS},
            first_unit=self.ids["units"].offset,
            silent=self.tags.silent_speech,
            silent_text=self.tags.silent_text,
            text_of=self.text_of,
            memory=memory,
        )

    def text_of(self, ids: Sequence[int], tools: Sequence[Tool]) -> tuple[str, tuple[ToolCall, ...]]:
        """What is said of a text, and the calls of tools in it."""
        return said_and_called(self.words, ids, tools)


# ---------------------------------------------------------------- a conversation

SHIPPED = Path(__file__).parents[1] / "weights" / "omni_flatten_nano"


def session(model: str | Path | None = None, now: Callable[[], datetime] = datetime.now) -> LayoutSession:
    """A conversation with a trained model (a folder with its codec; None: the nano one that comes along), the desk's
    tools at hand. Raises ValueError, FileNotFoundError where there is none."""
    return LayoutSession(loaded(Path(model or SHIPPED)), Desk(now))


@lru_cache(maxsize=2)
def loaded(folder: Path) -> Talking:
    """What the sessions of the model in a folder share."""
    return OmniFlatten.load(folder).talking(nano_codec.load(folder / nano_codec.CODEC))


# ---------------------------------------------------------------- stages (section 4)


def _stage(name: str) -> Stage:
    return Stage(
        name, learning_rate=2e-5, batch_tokens=200_000, epochs=5, warmup_steps=100, final_rate=0.1, mean_over="streams"
    )


STAGES: tuple[Stage, ...] = (_stage("alignment"), _stage("half_duplex"), _stage("full_duplex"), _stage("two_streams"))
