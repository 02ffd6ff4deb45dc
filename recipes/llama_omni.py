"""LLaMA-Omni of the nano size: from a text model, ears and units to a model that answers speech with text and speech.

    python recipes/llama_omni.py --folder runs/omni_flatten

It takes the units, the text model, the conversations and the ears that recipes/omni_flatten.py and recipes/nano_ears.py
made in the folder; then the paper's two stages: adapter and language model learn to answer, then, frozen, the speech
decoder learns to speak. Run it again to go on where it was stopped. It leaves `llama_omni/model` in the folder, which
`duologue talk --system llama_omni --model runs/omni_flatten/llama_omni/model` talks with.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import takewhile
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track
from torch import Tensor, nn
from torch.nn import functional

import instruct_s2s_reading
import nano_text
from duologue.data.encode import Encoded, Stretch, WordTimer, spoken_words, units_of
from duologue.data.tensors import Example
from duologue.model.adapter import IGNORED
from duologue.model.backbone import backbone, tokenizer_of
from duologue.model.words import CALL, END
from duologue.sound import Audio
from duologue.systems import llama_omni
from duologue.systems.llama_omni import LlamaOmni
from duologue.systems.llama_omni_folder import save
from duologue.systems.llama_omni_stages import (
    PAD,
    STAGES,
    AnsweringLessons,
    Exchange,
    SpeakingLessons,
    answering_example,
    speaking_examples,
)
from duologue.train import OwnLoss, Run, train
from duologue.train.loss import Tensors
from duologue.units import nano_codec
from duologue.units.nano_codec import NanoCodec
from duologue.units.nano_ears import WordEars
from nano_ears import conversations, word_ears
from omni_flatten import DIALOGUES, QUESTIONS, timed
from omni_flatten_data import codec_in, made, parser

ANSWERING = replace(
    STAGES[0],
    epochs=2,
    learning_rate=2e-3,
    batch_tokens=4_096,
    row_tokens=512,
    warmup_steps=50,
    final_rate=0.03,
    muon=("lm.*.layers.*",),
)
SPEAKING = replace(
    STAGES[1],
    learning_rate=3e-3,
    batch_tokens=1_024,
    epochs=None,
    steps=120,
    warmup_steps=50,
    final_rate=0.03,
    muon=("speech.llama.layers.*",),
)
PLACING = replace(SPEAKING, name="placing", steps=500)
WRITTEN = 20_000
"""Questions that nobody spoke, heard clearly: so that it forgets no arithmetic while it learns to hear."""
HELD_OUT = 64


def main() -> None:
    options = parsed()
    torch.set_num_threads(options.threads)
    folder, own = options.folder, options.folder / "llama_omni"
    rows, model = made(options), untrained(folder, options.seed)
    codec = nano_codec.load(codec_in(folder))
    with timed(own, "ears"):
        assert isinstance(model.ears, WordEars)
        hear = partial(heard, model.ears, folder)
        lessons = [lesson for name in (*DIALOGUES, *QUESTIONS) for lesson in hear(name, rows[name])]
        if options.instructions:
            lessons += instruct_s2s_reading.lessons(options.instructions, options.sound, model.ears, codec_units(codec))
    with timed(own, "answering"):
        learn_to_answer(model, lessons, own / "answering", options.seed)
    with timed(own, "speaking"):
        learn_to_speak(model, codec.tokenizer, lessons, own / "speaking", options.seed)
    save(model, own / "model")
    shutil.copyfile(codec_in(folder), own / "model" / nano_codec.CODEC)


def parsed() -> argparse.Namespace:
    found = parser(__doc__)
    found.add_argument("--seed", type=int, default=0)
    found.add_argument(
        "--instructions", type=Path, help="learn from these too: InstructS2S, or recipes/instruct_s2s.py's"
    )
    found.add_argument("--sound", type=Path, default=Path(), help="the folder in which their sound files lie")
    return found.parse_args()


def codec_units(codec: NanoCodec) -> Callable[[Audio], tuple[int, ...]]:
    """Units of an answer's sound, [N] at 16 kHz."""
    return lambda audio: _unfilled(units_of(audio, codec.tokenizer).tolist())


def untrained(folder: Path, seed: int) -> LlamaOmni:
    text = folder / "text" / "model"
    model = LlamaOmni(word_ears(folder), backbone(str(text)), tokenizer_of(text), llama_omni.nano(), seed)
    model.adapter.begin_straight()
    return model


# ---------------------------------------------------------------- what is learnt


def heard(ears: WordEars, folder: Path, corpus: str, rows: Sequence[Encoded]) -> Iterator[list[Exchange]]:
    """Each conversation, up to an answer that is cut: what the ears make of each question, its answer, its units."""
    for told in conversations(ears, folder, corpus, rows):
        yield [Exchange(one.words, one.answer.text, _spoken(one.answer)) for one in told]


def _spoken(answer: Stretch) -> tuple[int, ...]:
    """Its units; none where it is cut."""
    return () if answer.cut else _unfilled(answer.units)


def _unfilled(units: Sequence[int]) -> tuple[int, ...]:
    """Two of unit 0 at the end look like filling up: one stays."""
    while tuple(units[-2:]) == (0, 0):
        units = units[:-1]
    return tuple(units)


def learn_to_answer(model: LlamaOmni, lessons: Sequence[Sequence[Exchange]], folder: Path, seed: int) -> None:
    drawn = Random(0).sample(lessons, len(lessons))
    longest = ANSWERING.row_tokens or 0
    learnt = [one for lesson in drawn if len((one := answering_example(model, lesson))["said"]) <= longest]
    run = Run(folder, bf16=True, validate_every_steps=200)
    stage = replace(ANSWERING, seed=seed)
    train(AnsweringLessons(model), stage, run, [*learnt[HELD_OUT:], *unspoken(model)], learnt[:HELD_OUT])


def unspoken(model: LlamaOmni) -> Iterator[Example]:
    """Questions as if each of their words were heard clearly, and what the desk knows, to be read."""
    assert isinstance(model.ears, WordEars)
    for lesson in clearly(model.ears, map(nano_text.texts, nano_text.drawn(3, WRITTEN))):
        yield answering_example(model, lesson)
    none = np.zeros((0, model.ears.width), np.float16)
    for statement in nano_text.readings(model.words, nano_text.REHEARSALS):
        yield {**statement, "features": none}


def clearly(ears: WordEars, asked: Iterable[Sequence[str]]) -> Iterator[list[Exchange]]:
    """Conversations that were written, user and assistant by turns, as they would be heard at best. Those with a word
    that the ears do not know are left out."""
    for texts in asked:
        words = [ears.clearly(spoken_words(text)) for text in texts[::2]]
        heard = [one.half().numpy() for one in words if one is not None]
        if len(heard) == len(words):
            yield [Exchange(question, answer) for question, answer in zip(heard, texts[1::2], strict=True)]


def learn_to_speak(
    model: LlamaOmni, aligner: WordTimer, lessons: Sequence[Sequence[Exchange]], folder: Path, seed: int
) -> None:
    """First where the units of each word lie, then, by CTC, wherever they like."""
    spoken = [lesson for lesson in lessons if any(exchange.units for exchange in lesson)]
    with torch.autocast("cpu", torch.bfloat16):
        learnt = list(speaking_examples(model.eval(), Random(0).sample(spoken, len(spoken))))
    place = Placing(model, aligner)
    shown = [{**example, "labels": place(example)} for example in track(learnt, "words of answers")]
    run, pad = Run(folder / "placing", bf16=True, validate_every_steps=100), {**PAD, "labels": IGNORED}
    train(Placed(model), replace(PLACING, seed=seed), run, shown[HELD_OUT:], shown[:HELD_OUT], OwnLoss(), pad)
    run = Run(folder, bf16=True, validate_every_steps=200)
    stage = replace(SPEAKING, seed=seed)
    train(SpeakingLessons(model), stage, run, learnt[HELD_OUT:], learnt[:HELD_OUT], OwnLoss(), PAD)


class Placing:
    """A label for each row of the speech decoder: the units of each word in the rows of its token, blanks elsewhere.
    What has no room there begins earlier. Calls of tools are not spoken."""

    def __init__(self, model: LlamaOmni, aligner: WordTimer) -> None:
        self._model, self._aligner = model, aligner
        self._ends: dict[tuple[Any, ...], list[int]] = {}

    def __call__(self, example: Example) -> NDArray[np.int64]:
        units, rows_a_token = example["units"], self._model.speech.sizes.labels_per_token
        tokens = self._model.words.convert_ids_to_tokens(example["tokens"].tolist())
        spoken = list(takewhile(lambda token: token not in (CALL, END), tokens))
        of_words = [(number, words[0]) for number, token in enumerate(spoken) if (words := spoken_words(token))]
        labels = np.full(rows_a_token * len(tokens), self._model.speech.blank)
        begin = free = 0
        numbers = [*(number for number, _ in of_words), len(spoken) - 1]
        ends = [*self._ended(units, tuple(word for _, word in of_words)), len(units) - 1]
        for number, end in zip(numbers, ends, strict=True):
            part = units[begin : end + 1]
            first = max(free, min(rows_a_token * number, rows_a_token * (number + 1) - len(part)))
            labels[first : first + len(part)] = part[: max(0, len(labels) - first)]
            begin, free = end + 1, first + len(part)
        return labels

    def _ended(self, units: NDArray[np.int64], words: tuple[str, ...]) -> list[int]:
        if not words:
            return []
        key = (units.tobytes(), words)
        if key not in self._ends:
            self._ends[key] = self._aligner.word_ends(torch.from_numpy(units), words)
        return self._ends[key]


class Placed(nn.Module):
    """The speech decoder before CTC, as the loop calls it: each row is told its label. CTC alone is silent for long."""

    def __init__(self, model: LlamaOmni) -> None:
        super().__init__()
        self.speech = model.speech

    def forward(self, batch: Tensors) -> Tensor:
        logits = self.speech(batch["states"].float())
        return functional.cross_entropy(logits.float().mT, batch["labels"], ignore_index=IGNORED)


if __name__ == "__main__":
    main()
