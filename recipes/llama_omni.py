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
from duologue.systems.llama_omni_turns import CODEC
from duologue.systems.omni_flatten_examples import exchanges
from duologue.train import OwnLoss, Run, train
from duologue.units import nano_codec, nano_ears
from duologue.units.nano_ears import NanoEars
from nano_ears import vectors, window
from nano_units_speech import prepare
from omni_flatten import DIALOGUES, QUESTIONS, READINGS, timed
from omni_flatten_data import corpora

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
    codec = folder / "units" / "nano_units.safetensors"
    speech = prepare(folder / "units" / "speech", options.recordings, options.share)
    rows = corpora(folder, codec, options.recordings, speech, options.share, options.threads)
    model = untrained(folder, options.seed)
    with timed(own, "ears"):
        assert isinstance(model.ears, NanoEars)
        ears = model.ears
        lessons = [lesson for name in (*DIALOGUES, *QUESTIONS) for lesson in heard(ears, folder, name, rows[name])]
    with timed(own, "answering"):
        learn_to_answer(model, lessons, own / "answering", options.seed)
    with timed(own, "speaking"):
        learn_to_speak(model, lessons, own / "speaking", options.seed)
    save(model, own / "model")
    shutil.copyfile(codec, own / "model" / CODEC)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("runs/omni_flatten"), help="of recipes/omni_flatten.py")
    parser.add_argument("--recordings", type=Path, default=Path("../shared/data"), help="recordings of people")
    parser.add_argument("--share", type=float, default=1.0, help="of the data, as recipes/omni_flatten.py had it")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def untrained(folder: Path, seed: int) -> LlamaOmni:
    text = folder / "text" / "model"
    ears = nano_ears.load(folder / "ears.safetensors").requires_grad_(False)
    return LlamaOmni(ears, backbone(str(text)), tokenizer_of(text), llama_omni.nano(), seed)


# ---------------------------------------------------------------- what is learnt


@torch.inference_mode()
def heard(ears: NanoEars, folder: Path, corpus: str, rows: Sequence[Encoded]) -> Iterator[list[Exchange]]:
    """Each conversation, up to an answer that is cut: what the ears make of each question, its answer, its units."""
    front = nano_codec.load(folder / "units" / "nano_units.safetensors").tokenizer
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
    made = [one for lesson in drawn if len((one := answering_example(model, lesson))["said"]) <= longest]
    run = Run(folder, bf16=True, validate_every_steps=200)
    train(
        AnsweringLessons(model), replace(ANSWERING, seed=seed), run, made[HELD_OUT:] + written(model), made[:HELD_OUT]
    )


def written(model: LlamaOmni) -> list[Example]:
    """Questions and their answers, and what has to be known for others, as the text model learnt them."""
    learnt = nano_text.examples(model.words, nano_text.drawn(3, WRITTEN))
    learnt += nano_text.readings(model.words, READINGS)
    none = np.zeros((0, model.ears.width), np.float16)
    return [{**one, "features": none} for one in learnt]


def learn_to_speak(model: LlamaOmni, lessons: Sequence[Sequence[Exchange]], folder: Path, seed: int) -> None:
    spoken = [lesson for lesson in lessons if any(exchange.units for exchange in lesson)]
    made = list(speaking_examples(model.eval(), Random(0).sample(spoken, len(spoken))))
    run = Run(folder, bf16=True, validate_every_steps=200)
    stage = replace(SPEAKING, seed=seed)
    train(SpeakingLessons(model), stage, run, made[HELD_OUT:], made[:HELD_OUT], OwnLoss(), PAD)


if __name__ == "__main__":
    main()
