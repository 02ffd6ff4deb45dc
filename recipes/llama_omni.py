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
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from random import Random

import numpy as np
import torch
from numpy.typing import NDArray

import nano_text
from duologue.data.encode import Encoded, Stretch
from duologue.data.tensors import Example
from duologue.model.backbone import backbone, tokenizer_of
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
from duologue.systems.omni_flatten_examples import exchanges
from duologue.train import OwnLoss, Run, train
from duologue.units import nano_codec, nano_ears
from duologue.units.nano_ears import NanoEars
from duologue.units.nano_front import NanoFront
from nano_ears import vectors, window
from omni_flatten import DIALOGUES, QUESTIONS, timed
from omni_flatten_data import codec_in, made, parser

ANSWERING = replace(
    STAGES[0],
    learning_rate=2e-3,
    batch_tokens=4_096,
    row_tokens=512,
    warmup_steps=50,
    final_rate=0.03,
    muon=("lm.*.layers.*",),
)
SPEAKING = replace(STAGES[1], learning_rate=2e-3, batch_tokens=1_024, epochs=6, warmup_steps=50, final_rate=0.03)
WRITTEN = 60_000
"""Questions that it goes on to answer in writing, so that it forgets no arithmetic while it learns to hear."""
HELD_OUT = 64


def main() -> None:
    options = parsed()
    torch.set_num_threads(options.threads)
    folder, own = options.folder, options.folder / "llama_omni"
    rows, model = made(options), untrained(folder, options.seed)
    codec = nano_codec.load(codec_in(folder))
    with timed(own, "ears"):
        assert isinstance(model.ears, NanoEars)
        hear = partial(heard, model.ears, codec.tokenizer, folder)
        lessons = [lesson for name in (*DIALOGUES, *QUESTIONS) for lesson in hear(name, rows[name])]
    with timed(own, "answering"):
        learn_to_answer(model, lessons, own / "answering", options.seed)
    with timed(own, "speaking"):
        learn_to_speak(model, lessons, own / "speaking", options.seed)
    save(model, own / "model")
    shutil.copyfile(codec_in(folder), own / "model" / nano_codec.CODEC)


def parsed() -> argparse.Namespace:
    found = parser(__doc__)
    found.add_argument("--seed", type=int, default=0)
    return found.parse_args()


def untrained(folder: Path, seed: int) -> LlamaOmni:
    text = folder / "text" / "model"
    ears = nano_ears.load(folder / "ears.safetensors").requires_grad_(False)
    return LlamaOmni(ears, backbone(str(text)), tokenizer_of(text), llama_omni.nano(), seed)


# ---------------------------------------------------------------- what is learnt


@torch.inference_mode()
def heard(
    ears: NanoEars, front: NanoFront, folder: Path, corpus: str, rows: Sequence[Encoded]
) -> Iterator[list[Exchange]]:
    """Each conversation, up to an answer that is cut: what the ears make of each question, its answer, its units."""
    for row, vectors_of_row in zip(rows, vectors(folder, corpus, front, rows), strict=True):
        found = list[Exchange]()
        for asked, answer in exchanges(row):
            found.append(Exchange(_states(ears, asked, vectors_of_row), answer.text, _spoken(answer)))
            if answer.cut:
                break
        if found:
            yield found


def _states(ears: NanoEars, asked: Sequence[Stretch], vectors_of_row: NDArray[np.float16]) -> NDArray[np.float16]:
    start, end = window(asked, len(vectors_of_row))
    states = ears.states(torch.from_numpy(vectors_of_row[start:end].astype(np.float32))[None])
    return states[0].half().numpy()


def _spoken(answer: Stretch) -> tuple[int, ...]:
    """Its units; none where it is cut. Two of unit 0 at the end look like filling up."""
    units = () if answer.cut else answer.units
    while units[-2:] == (0, 0):
        units = units[:-1]
    return units


def learn_to_answer(model: LlamaOmni, lessons: Sequence[Sequence[Exchange]], folder: Path, seed: int) -> None:
    drawn = Random(0).sample(lessons, len(lessons))
    longest = ANSWERING.row_tokens or 0
    learnt = [one for lesson in drawn if len((one := answering_example(model, lesson))["said"]) <= longest]
    run = Run(folder, bf16=True, validate_every_steps=200)
    stage = replace(ANSWERING, seed=seed)
    train(AnsweringLessons(model), stage, run, learnt[HELD_OUT:] + written(model), learnt[:HELD_OUT])


def written(model: LlamaOmni) -> list[Example]:
    """What it learnt as a text model, without sound."""
    none = np.zeros((0, model.ears.width), np.float16)
    return [{**one, "features": none} for one in nano_text.rehearsed(model.words, WRITTEN)]


def learn_to_speak(model: LlamaOmni, lessons: Sequence[Sequence[Exchange]], folder: Path, seed: int) -> None:
    spoken = [lesson for lesson in lessons if any(exchange.units for exchange in lesson)]
    learnt = list(speaking_examples(model.eval(), Random(0).sample(spoken, len(spoken))))
    run = Run(folder, bf16=True, validate_every_steps=200)
    stage = replace(SPEAKING, seed=seed)
    train(SpeakingLessons(model), stage, run, learnt[HELD_OUT:], learnt[:HELD_OUT], OwnLoss(), PAD)


if __name__ == "__main__":
    main()
