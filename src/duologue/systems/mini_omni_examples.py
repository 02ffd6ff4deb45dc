"""What Mini-Omni's stages learn from: a question, and the text and the codes of its answer, woven by its layout."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from duologue.data.tensors import Example
from duologue.layout import Tokens, weave
from duologue.systems.mini_omni import (
    AUDIO,
    BOOKS,
    STREAMS,
    TASKS,
    Config,
    Question,
    Task,
    check_ids,
    example_layout,
    speaks,
)

STAGE_TASKS: Mapping[str, tuple[Task, ...]] = {
    "modality_alignment": ("A1T1", "T1A1"),
    "adaptation": ("A1T1", "A1T2", "T1T2"),
    "multimodal": TASKS,
}
"""What each stage is taught: to hear and to read aloud, then to answer in text, then everything."""


@dataclass(frozen=True)
class Sample:
    """
    text    of the answer; in A1T1 what was heard. T1A1 reads what is typed
    codes   [books, frames] of the spoken answer
    """

    question: Question
    text: Sequence[int] = ()
    codes: Tokens | None = None


# ---------------------------------------------------------------- streams


def streams(config: Config, sample: Sample) -> dict[str, Sequence[int] | Tokens]:
    """What `example_layout` weaves. Raises ValueError for a sample that does not fit its task or the model."""
    _check(config, sample)
    marks, question = config.marks, sample.question
    books = np.zeros((BOOKS, 0), np.int64) if sample.codes is None else np.asarray(sample.codes, np.int64)
    audio = {name: _book(config, number, books[number]) for number, name in enumerate(AUDIO)}
    if not speaks(question.task):
        audio = dict.fromkeys(AUDIO, books[0])
    heard = sum(map(len, question.sounds))
    return {"user": [marks.pad_a] * heard, **audio, "text": [*_text(sample), marks.eot]}


def _book(config: Config, number: int, codes: Tokens) -> Tokens:
    """Where the delay is forced, only the first book says its end; where it is learned, the pads are said too."""
    marks = config.marks
    if config.delay == "learned":
        return np.array([*[marks.pad_a] * (number + 1), *codes, marks.eoa, *[marks.pad_a] * (BOOKS - 1 - number)])
    return codes if number else np.array([*codes, marks.eoa])


def _check(config: Config, sample: Sample) -> None:
    task, codes = sample.question.task, sample.codes
    sample.question.check(config)
    check_ids("the answer", sample.text, config.text)
    if config.delay == "learned" and not _text(sample):
        raise ValueError("an answer without text: where the delay is learned, an end at step 0 is none; leave it out")
    if speaks(task) != (codes is not None):
        raise ValueError(f"a sample of {task} {'needs' if speaks(task) else 'has no'} codes of a spoken answer")
    if codes is not None:
        _check_codes(config, codes, len(_text(sample)))


def _text(sample: Sample) -> Sequence[int]:
    return sample.question.typed if sample.question.task == "T1A1" else sample.text


def _check_codes(config: Config, codes: Tokens, text: int) -> None:
    if codes.ndim != 2 or len(codes) != BOOKS or not codes.size:
        raise ValueError(f"codes {list(codes.shape)}: [{BOOKS}, frames] are needed, one frame at least")
    check_ids("the sound", (int(code) for code in (codes.min(), codes.max())), config.codes)
    if config.delay == "learned" and text > codes.shape[1] + BOOKS:
        raise ValueError(
            f"a text of {text} tokens beside {codes.shape[1]} frames: where the delay is learned, the answer ends "
            "with its sound; leave the sample out, or take Config(delay='forced')"
        )


# ---------------------------------------------------------------- examples


@dataclass(frozen=True)
class _Woven:
    tokens: Tokens
    said: NDArray[np.bool_]
    heard: NDArray[np.bool_]
    sounds: Sequence[Tensor]
    width: int
    speaker: Tokens | None

    def example(self) -> Example:
        laid = np.zeros((len(self.heard), self.width), np.float32)
        if self.sounds:
            laid[self.heard] = torch.cat([*self.sounds]).float().numpy()
        found = {"tokens": self.tokens, "said": self.said, "heard": self.heard, "features": laid}
        return found if self.speaker is None else {**found, "speaker": self.speaker}


class Examples(Sequence[Example]):
    """Samples as the loop learns from them; features are laid beside their steps only when they are asked for.

    tokens [S, K], said [S, K] (the loss mask), heard [S] (where there are features), features [S, F]; of a
    model with speakers: speaker [S], 0 where nobody speaks
    """

    def __init__(self, config: Config, samples: Iterable[Sample]) -> None:
        self._woven = [_woven(config, sample) for sample in samples]

    @classmethod
    def _of(cls, woven: list[_Woven]) -> Self:
        found = cls.__new__(cls)
        found._woven = woven
        return found

    def chosen(self, order: Sequence[int]) -> Self:
        """Those with these numbers."""
        return self._of([self._woven[number] for number in order])

    def __add__(self, other: Self) -> Self:
        return self._of(self._woven + other._woven)

    def __len__(self) -> int:
        return len(self._woven)

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> Self: ...
    def __getitem__(self, index: int | slice) -> Example | Self:
        if isinstance(index, slice):
            return self._of(self._woven[index])
        return self._woven[index].example()


def _woven(config: Config, sample: Sample) -> _Woven:
    asked = sample.question
    layout = example_layout(config, asked.task, asked.features, asked.typed, asked.history)
    grid = weave(layout, streams(config, sample))
    heard = grid.stream[:, 0] == STREAMS.index("user")
    sounds = [sound.detach().cpu() for sound in asked.sounds]
    speaking = np.cumsum(grid.tokens[:, 0] == config.marks.answer_a) > 0
    speaker = asked.speaker * speaking if config.speakers else None
    return _Woven(grid.tokens, grid.said, heard, sounds, config.features, speaker)
