"""Mini-Omni: any language model can talk, while it writes (Xie and Wu 2024, arXiv 2408.16725).

    sound → encoder → adapter ┐                              ┌ seven books of units, each a step later → sound
                              ├ eight lanes, averaged → LM → ┤
                   typed text ┘                              └ text

A step has eight tokens: one of each book of the codec, and one of text. Text runs ahead, so that the sound follows what
is written already. Three stages of training add speech to a language model; what it knew changes last. Here are sizes,
layouts and stages; `mini_omni_model` is the network, `mini_omni_decoding` answers, `mini_omni_examples` makes what the
stages learn from, `mini_omni_released` reads released weights. Sections are those of the paper.

Beyond the paper: the layout itself keeps the books apart and ends them (`Config.delay`), so that no step is asked for
what is known; earlier exchanges stand before a question; reading aloud is a task of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import count
from math import inf
from typing import Literal, NamedTuple

from torch import Tensor

from duologue.layout import Cell, Columns, Hear, Layout, Put, Say
from duologue.train.stage import Stage

# ---------------------------------------------------------------- sizes

BOOKS = 7
"""Of a frame: SNAC's three levels, flattened."""
AUDIO = tuple(f"audio{book}" for book in range(BOOKS))
LANES = (*AUDIO, "text")
STREAMS = ("user", *LANES)
"""`user` is what is heard: a placeholder for each feature."""

Delay = Literal["forced", "learned"]


@dataclass(frozen=True)
class Config:
    """
    text        tokens of the language model; `text_marks` ids follow for marks of our own
    codes       of each book; `book_marks` ids follow in each
    features    their width; `adapter` is the width inside the adapter
    tts_blocks  of the TTS adapter (section 3.3): blocks behind the language model that the books come from; 0: none
    delay       what keeps each book a step later than the one before: "forced" is the layout. "learned", as released,
                asks the model for the pads too, and feeds it whatever it says there
    speakers    who may answer, or styles of answering: a vector is learnt of each, and added in the seven lanes of the
                books from the mark on that asks for speech. The paper only suggests it, and nobody has released one:
                its place is ours, so that the row that writes beside the speech stays as it is
    """

    text: int
    codes: int
    features: int
    adapter: int
    text_marks: int = 64
    book_marks: int = 64
    tts_blocks: int = 0
    delay: Delay = "forced"
    speakers: int = 0

    @property
    def book(self) -> int:
        """Ids of a book."""
        return self.codes + self.book_marks

    @property
    def marks(self) -> Marks:
        return Marks(*range(self.text, self.text + 6), *range(self.codes, self.codes + 4))


class Marks(NamedTuple):
    """Ids that are neither words nor codes: six of text, of which `read` is ours, and four of every book."""

    eot: int
    pad_t: int
    input_t: int
    answer_t: int
    asr: int
    read: int
    eoa: int
    pad_a: int
    input_a: int
    answer_a: int


def released() -> Config:
    """`gpt-omni/mini-omni`: Qwen2-0.5B, features of Whisper small, SNAC."""
    return Config(text=151_936, codes=4096, features=768, adapter=4864, delay="learned")


def nano(text: int, codes: int = 256, features: int = 256) -> Config:
    """Beside a language model that trains from nothing, of `text` tokens."""
    return Config(text, codes, features, adapter=768, text_marks=8, book_marks=8)


# ---------------------------------------------------------------- tasks and prompts (section 3.2)

Task = Literal["A1A2", "A1T2", "A1T1", "T1A2", "T1T2", "T1A1"]
"""What is given and what is asked for, in audio (A) or text (T): the question (1) or its answer (2). A1T1 recognises,
T1A1 reads aloud; where an answer is spoken it is written too."""
TASKS: tuple[Task, ...] = ("A1A2", "A1T2", "A1T1", "T1A2", "T1T2", "T1A1")
Exchange = tuple[Sequence[int] | Tensor, Sequence[int]]
"""A question, as text or as features [T, F] of what was heard, and its answer as text."""


def speaks(task: Task) -> bool:
    return task[2] == "A"


@dataclass(frozen=True)
class Question:
    """`heard` are features [T, F], or there is `typed` text: by the task. `history` is what was said before. `speaker`
    1 and more is asked to answer; 0: nobody in particular."""

    task: Task
    heard: Tensor | None = None
    typed: Sequence[int] = ()
    history: Sequence[Exchange] = ()
    speaker: int = 0

    @property
    def features(self) -> int:
        """Of the question itself."""
        return 0 if self.heard is None else len(self.heard)

    @property
    def sounds(self) -> list[Tensor]:
        """The features [T, F] of all that is heard, in order."""
        before = [asked for asked, _ in self.history if isinstance(asked, Tensor)]
        return before if self.heard is None else [*before, self.heard]

    def check(self, config: Config) -> None:
        """Raises ValueError for what a model cannot be asked."""
        if self.task not in TASKS:
            raise ValueError(f"there is no task {self.task!r}, only {', '.join(TASKS)}")
        if (self.task[0] == "A") != (self.features > 0):
            raise ValueError(f"{self.features} features in the task {self.task}: A… hears some, T… reads typed text")
        if not 0 <= self.speaker <= config.speakers:
            raise ValueError(
                f"speaker {self.speaker}, but the model knows {config.speakers}: 0 is nobody in particular"
            )
        for heard in self.sounds:
            if heard.dim() != 2 or heard.shape[1] != config.features:
                raise ValueError(f"features {list(heard.shape)}, but the model hears [T, {config.features}]")
            if not heard.isfinite().all():
                raise ValueError("features that are no finite numbers: look at the sound and at its encoder")
        before = [text for exchange in self.history for text in exchange if not isinstance(text, Tensor)]
        texts = (self.typed, *before)
        check_ids("the text", (token for text in texts for token in text), config.text)


def check_ids(what: str, ids: Iterable[int], count: int) -> None:
    """Raises ValueError for an id that is not below `count`."""
    for token in ids:
        if not 0 <= token < count:
            raise ValueError(f"{what} holds the id {token}; the model knows 0 to {count - 1}")


def prompt(
    config: Config, task: Task, heard: int = 0, typed: Sequence[int] = (), history: Sequence[Exchange] = ()
) -> Columns:
    """`heard` features or typed text, then what is asked for. Earlier exchanges stand before it, answered in text."""
    m = config.marks
    for question, answer in history:
        if isinstance(question, Tensor):
            yield from prompt(config, "A1T2", len(question))
        else:
            yield from prompt(config, "T1T2", 0, question)
        for token in (*answer, m.eot):
            yield _column(m.pad_a, token)
    yield _column(m.input_a if heard else m.pad_a, m.input_t)
    for _ in range(heard):
        yield (Hear("user"), *_column(m.pad_a, m.pad_t)[1:])
    for token in typed:
        yield _column(m.pad_a, token)
    yield _column(m.eoa if heard else m.pad_a, m.eot)
    yield _column(m.answer_a if speaks(task) else m.pad_a, _asking(m, task))


def _column(audio: int, text: int) -> tuple[Cell, ...]:
    return (*[Put(audio)] * BOOKS, Put(text))


def _asking(m: Marks, task: Task) -> int:
    return m.asr if task == "A1T1" else m.read if task == "T1A1" else m.answer_t


# ---------------------------------------------------------------- answers (sections 3.2 and 3.3)


def answer(config: Config, text: Hear | Say, spoken: bool = True, most_frames: float = inf) -> Columns:
    """Text from step 0, code f of book q at step f + q + 1. Book 0 says how many frames there are; the other books
    follow it. Ends when nothing is left to be said.

    text     said, or heard: from the row beside it, or from a text to be read
    spoken   False: the books are padded
    """
    m = config.marks
    frames = most_frames if spoken else -inf
    lane: Cell = text
    for step in count():
        if step >= _last(frames) and not isinstance(lane, Say):
            return
        placed = yield (*(_of_book(m, book, step - book - 1, frames) for book in range(BOOKS)), lane)
        if spoken and placed[0] == m.eoa:
            frames = min(frames, step - 1)
        if placed[-1] == m.eot:
            lane = Put(m.pad_t)


def _of_book(m: Marks, book: int, frame: int, frames: float) -> Cell:
    if 0 <= frame < frames:
        return Say(AUDIO[book])
    return Put(m.eoa if frame == frames else m.pad_a)


def _last(frames: float) -> float:
    """The step at which no book is asked any more: behind the last code of book 6, or the end that book 0 says."""
    return frames + BOOKS if frames else 2


def learned_answer(config: Config, text: Hear | Say, spoken: bool = True) -> Columns:
    """The same for a model that keeps the delay by itself, as it was released: it is asked for everything up to the
    end of book 6 (or of the text, where nothing is spoken). At step 0 no end is looked for."""
    m = config.marks
    books: tuple[Cell, ...] = tuple(map(Say, AUDIO)) if spoken else (Put(m.pad_a),) * BOOKS
    lane: Cell = text
    for step in count():
        placed = yield (*books, lane)
        ended = placed[BOOKS - 1] == m.eoa if spoken else placed[-1] == m.eot
        if step and ended:
            return
        if step and placed[-1] == m.eot:
            lane = Put(m.pad_t)


def example_layout(
    config: Config, task: Task, heard: int = 0, typed: Sequence[int] = (), history: Sequence[Exchange] = ()
) -> Layout:
    """A whole sample of a task. In T1A1 the text is given and the sound alone is asked for."""
    text = Hear("text") if task == "T1A1" else Say("text")

    def columns() -> Columns:
        yield from prompt(config, task, heard, typed, history)
        yield from (answer if config.delay == "forced" else learned_answer)(config, text, speaks(task))

    return Layout(columns, STREAMS, lanes=len(LANES))


# ---------------------------------------------------------------- stages (section 3.4)


def _stage(name: str, trains: tuple[str, ...], steps: int, rate: float = 4e-4) -> Stage:
    return Stage(
        name,
        trains=trains,
        steps=steps,
        learning_rate=rate,
        final_rate=4e-6 / rate,
        batch_tokens=100_000,
        warmup_steps=500,
        mean_over="streams",
    )


STAGES: tuple[Stage, ...] = (
    _stage("modality_alignment", ("added.*",), 15_000),
    _stage("adaptation", ("lm.*", "added.marks.*"), 25_000),
    _stage("multimodal", ("*",), 55_000, rate=5e-5),
)
"""The adapters, with the new rows beside a language model that is frozen; the language model's skill in text, with the
adapters frozen; all of it."""
