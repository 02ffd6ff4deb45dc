"""How Mini-Omni answers: step by step, in one row or in two (batch-parallel decoding, section 3.3 of the paper).

In batch-parallel decoding one row writes, as if nothing were to be spoken, and its text goes into the text lane of the
row that speaks. The rows differ in the last column of their prompt alone: all before it is read once. Each row is asked
for its own lanes alone, and is left out as soon as it has said all.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers.generation.logits_process import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from duologue.layout import Column, Grid, Hear, Layout, Put, Say, weave
from duologue.layout.columns import Run
from duologue.streaming import Memory, finite, start, step
from duologue.systems.mini_omni import (
    AUDIO,
    BOOKS,
    LANES,
    STREAMS,
    Config,
    Marks,
    Question,
    Task,
    answer,
    learned_answer,
    prompt,
    speaks,
)
from duologue.systems.mini_omni_few_rows import for_rows
from duologue.systems.mini_omni_model import MiniOmni

# ---------------------------------------------------------------- what is asked, and how


@dataclass(frozen=True)
class Choosing:
    """A token out of logits: the top k of them, at a temperature, then the top p. Each lane for itself."""

    temperature: float = 0.9
    top_k: int | None = 1
    top_p: float = 1.0

    def __post_init__(self) -> None:
        if self.temperature < 0 or not 0 <= self.top_p <= 1 or (self.top_k is not None and self.top_k < 1):
            raise ValueError(f"{self}: needs temperature >= 0, top_k >= 1 or None, 0 <= top_p <= 1")

    @property
    def greedy(self) -> bool:
        return self.top_k == 1 or (self.temperature == 0 and self.top_p == 0)

    def distribution(self, logits: Tensor) -> Tensor:
        """Probabilities that tokens are drawn from: [..., n]. A temperature of 0 leaves the logits as they are."""
        warpers: list[Any] = [TopKLogitsWarper(self.top_k)] if self.top_k else []
        warpers += [TemperatureLogitsWarper(self.temperature)] if self.temperature > 0 else []
        warpers += [TopPLogitsWarper(self.top_p)] if self.top_p < 1 else []
        for warper in warpers:
            logits = warper(None, logits)
        return logits.softmax(-1)

    def chosen(self, logits: Tensor, draw: torch.Generator) -> list[int]:
        """[N, n] → [N]. Raises FloatingPointError where the likeliest is no finite number."""
        finite(logits.amax(-1))
        if self.greedy:
            return logits.argmax(-1).tolist()
        return torch.multinomial(self.distribution(logits.float()), 1, generator=draw)[:, 0].tolist()


@dataclass(frozen=True)
class Decoding:
    """
    parallel     two rows: the text is that of the task without speech
    exact        as released: nothing is masked, the model keeps the delay by itself. A frame may then hold ids
                 that are no codes, and the text is cut where the sound ends. Else the layout keeps the delay,
                 words and codes alone are chosen, and every frame that is begun becomes whole
    most_steps   of the answer; None: as many as the model has positions
    """

    choosing: Choosing = field(default_factory=Choosing)
    parallel: bool = False
    exact: bool = False
    most_steps: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.most_steps is not None and self.most_steps < 1:
            raise ValueError(f"most_steps is {self.most_steps}: at least 1 is needed")


@dataclass(frozen=True)
class Step:
    """What is new after a step.

    placed   a token of each book, and of text: the column of the row that speaks, and behind its end, or where
             nothing is spoken, of the one that writes
    text     the word in it, None where there is none
    frame    the codes [books] of the frame that became whole, None where none did
    """

    placed: tuple[int, ...]
    text: int | None = None
    frame: tuple[int, ...] | None = None


# ---------------------------------------------------------------- step by step


def answered(model: MiniOmni, question: Question, how: Decoding | None = None) -> Iterator[Step]:
    """The answer, each step when it is asked for: closing the iterator ends it.

    Raises ValueError for a question that does not fit the model, or leaves no room for an answer, FloatingPointError
    where numbers are too large for the precision.
    """
    rows = _Rows(model, question, how or Decoding())
    states, columns = rows.begin(), deque[tuple[int, ...]](maxlen=BOOKS + 1)
    for number in range(rows.most_steps):
        if number:
            states = rows.go_on()
        said = rows.say(states)
        columns.append(rows.column)
        yield _new(model.config.marks, said, columns)
        if rows.ended:
            return


def _new(marks: Marks, said: dict[str, int], columns: deque[tuple[int, ...]]) -> Step:
    text = said.get("text", marks.eot)
    whole = len(columns) == BOOKS + 1 and said.get(AUDIO[-1], marks.eoa) != marks.eoa
    frame = tuple(columns[book + 1][book] for book in range(BOOKS)) if whole else None
    return Step(columns[-1], None if text == marks.eot else text, frame)


# ---------------------------------------------------------------- rows


class States(NamedTuple):
    """What the rows that go on tell text and books from, each [B, D]."""

    text: Tensor
    audio: Tensor


class _Rows:
    """The rows of an answer: one; or in parallel the one that speaks and, behind it, the one that writes.

    column   what was placed last, in the first row that was asked
    """

    column: tuple[int, ...]

    def __init__(self, model: MiniOmni, question: Question, how: Decoding) -> None:
        config, tasks = model.config, _tasks(question.task, how.parallel)
        self._model, self._choosing, self._exact = model, how.choosing, how.exact
        question.check(config)
        self._features = torch.cat(question.sounds or [torch.zeros(0, config.features)])
        self._prompts = [_prompt(config, question, task) for task in tasks]
        self.most_steps = _room(model, len(self._prompts[0]), how.most_steps)
        self._runs = [Run(_layout(config, task, how, self.most_steps)) for task in tasks]
        self._read = iter((*question.typed, config.marks.eot))
        self._draw = torch.Generator(model.lm.device).manual_seed(how.seed)
        memory = Memory(len(self._prompts[0]) + self.most_steps)
        self._state = start(model.lm, 1, memory)
        self._tts_state = start(model.added.tts, 1, memory) if model.added.tts is not None else None
        self._placed: dict[int, tuple[int, ...]] = {}
        self._speaker = question.speaker if speaks(tasks[0]) else 0

    @property
    def ended(self) -> bool:
        return not self._placed or (self._exact and 0 not in self._placed)

    def begin(self) -> States:
        """Read the prompt: once, however many rows there are."""
        first = self._prompts[0]
        tokens, heard = torch.from_numpy(first.tokens)[None], torch.from_numpy(first.stream[None, :, 0] == 0)
        if len(self._runs) == 1:
            return self._fed([0], tokens, heard)
        self._fed([0], tokens[:, :-1], heard[:, :-1], speaking=False)
        self._state = self._state.fork([0, 0])
        ends = torch.stack([torch.from_numpy(prompt.tokens[-1:]) for prompt in self._prompts])
        return self._fed([0, 1], ends)

    def go_on(self) -> States:
        """Feed the rows that go on what was placed in them."""
        return self._fed([*self._placed], torch.tensor([*self._placed.values()])[:, None])

    def say(self, states: States) -> dict[str, int]:
        """Fill the next column of each row. Returns what is said in them, by stream."""
        columns = {row: run.column for row, run in enumerate(self._runs) if run.column is not None}
        said: dict[str, int] = {}
        for place, column in enumerate(columns.values()):
            said |= self._said(column, states, place)
        if "text" not in said and any(Hear("text") in column for column in columns.values()):
            said["text"] = next(self._read)
        self._placed = {row: _filled(column, said) for row, column in columns.items()}
        self.column = next(iter(self._placed.values()))
        for row, tokens in self._placed.items():
            self._runs[row].place(tokens)
        self._placed = {row: tokens for row, tokens in self._placed.items() if self._runs[row].column is not None}
        return said

    def _said(self, column: Column, states: States, place: int) -> dict[str, int]:
        """By the stream: what the model says to the column's row. Only the heads that are asked are computed."""
        asked = {cell.stream for cell in column if isinstance(cell, Say)}
        said: dict[str, int] = {}
        if asked - {"text"}:
            books = self._books(self._model.audio_logits(states.audio[place]))
            said |= dict(zip(AUDIO, self._choosing.chosen(books, self._draw), strict=True))
        if "text" in asked:
            words = self._words(self._model.text_logits(states.text[place]))
            said |= dict(zip(["text"], self._choosing.chosen(words[None], self._draw), strict=True))
        return {stream: token for stream, token in said.items() if stream in asked}

    def _words(self, logits: Tensor) -> Tensor:
        """[ids of text] → those that may be chosen: the words and their end."""
        return logits if self._exact else logits[: self._model.config.marks.eot + 1]

    def _books(self, logits: Tensor) -> Tensor:
        """[books, ids of a book] → codes, and in book 0 the end of all."""
        if self._exact:
            return logits
        logits[1:, self._model.config.marks.eoa] = -torch.inf
        return logits[:, : self._model.config.marks.eoa + 1]

    @torch.no_grad()
    def _fed(self, rows: list[int], tokens: Tensor, heard: Tensor | None = None, speaking: bool = True) -> States:
        """Feed rows their tokens [B, S, K]; the states at the last one. The TTS adapter hears the first row alone, and
        the first row alone is anybody's, from the end of its prompt on."""
        device = self._model.lm.device
        heard = torch.zeros(tokens.shape[:2], dtype=torch.bool) if heard is None else heard
        features = self._features if heard.any() else self._features[:0]

        def feed(lm: Any, embedded: Tensor) -> Tensor:
            if lm is self._model.lm:
                return step(lm, self._state, embedded, rows)
            assert self._tts_state is not None
            return step(lm, self._tts_state, embedded[:1]) if rows[0] == 0 else embedded

        speaker = torch.zeros(tokens.shape[:2], dtype=torch.int64)
        speaker[0, -1] = self._speaker if speaking and rows[0] == 0 else 0
        places = (each.to(device) for each in (tokens, heard, features, speaker))
        embedded = self._model.embedded(*places)
        with for_rows(len(rows), embedded.shape[-1]):
            text, audio = self._model.states(embedded, feed)
        return States(finite(text[:, -1]), finite(audio[:, -1]))


def _filled(column: Column, said: dict[str, int]) -> tuple[int, ...]:
    return tuple(cell.token if isinstance(cell, Put) else said[cell.stream] for cell in column)


# ---------------------------------------------------------------- what a question becomes


def _tasks(task: Task, parallel: bool) -> list[Task]:
    """Of each row: the first one speaks, where anything is spoken."""
    writing: dict[Task, Task] = {"A1A2": "A1T2", "T1A2": "T1T2"}
    if parallel and task not in writing:
        raise ValueError(f"the task {task} has nothing to write beside speech: decode it without `parallel`")
    return [task, writing[task]] if parallel else [task]


def _prompt(config: Config, question: Question, task: Task) -> Grid:
    heard, before = question.features, question.history
    columns = Layout(lambda: prompt(config, task, heard, question.typed, before), ("user",), len(LANES))
    return weave(columns, {"user": [config.marks.pad_a] * sum(map(len, question.sounds))})


def _room(model: MiniOmni, prompt_steps: int, most_steps: int | None) -> int:
    positions: int = model.lm.config.get_text_config(decoder=True).max_position_embeddings
    if prompt_steps >= positions:
        raise ValueError(f"a prompt of {prompt_steps} steps for a model of {positions} positions: shorten it")
    return min(positions - prompt_steps, most_steps or positions)


def _layout(config: Config, task: Task, how: Decoding, most_steps: int) -> Layout:
    text = Hear("text") if task == "T1A1" or (how.parallel and speaks(task)) else Say("text")
    if how.exact:
        return Layout(lambda: learned_answer(config, text, speaks(task)), STREAMS, len(LANES))
    most_frames = max(0, most_steps - BOOKS)
    return Layout(lambda: answer(config, text, speaks(task), most_frames), STREAMS, len(LANES))
