"""Fun-Audio-Chat of the nano size: from a text model, ears and units to a model that answers at two rates.

    python recipes/fun_audio_chat.py --folder runs/omni_flatten

It takes what recipes/omni_flatten.py and recipes/nano_ears.py made in the folder; then the report's stages: all but the
language model is aligned with it, then everything is tuned. Run it again to go on where it was stopped. It leaves
`fun_audio_chat_5/model` in the folder (of groups of five units), which `duologue talk --system fun_audio_chat --model
runs/omni_flatten/fun_audio_chat_5/model` talks with.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from math import ceil
from pathlib import Path
from random import Random

import torch

import nano_text
from duologue.data.tensors import Example
from duologue.model.backbone import backbone, tokenizer_of
from duologue.systems import fun_audio_chat
from duologue.systems.fun_audio_chat import LEARNT, FunAudioChat, TwoRates, fine_tuning, nano_head, pre_alignment
from duologue.systems.fun_audio_chat_examples import Turn, example
from duologue.systems.fun_audio_chat_nano import CausalEars, save
from duologue.systems.llama_omni_stages import Exchange
from duologue.train import Run, Stage, train
from duologue.units import nano_codec, nano_ears
from llama_omni import heard
from omni_flatten import DIALOGUES, QUESTIONS, timed
from omni_flatten_data import codec_in, made, parser

BETWEEN = ("adapter.*", "units.*", "head.*")
ROW_TOKENS = 256


def small(stage: Stage, rate: float, trains: tuple[str, ...], epochs: int) -> Stage:
    return replace(
        stage,
        learning_rate=rate,
        trains=trains,
        epochs=epochs,
        batch_tokens=2_048,
        row_tokens=ROW_TOKENS,
        warmup_steps=50,
        final_rate=0.03,
        muon=("lm.*.layers.*", "head.*.layers.*"),
    )


STAGES = (small(pre_alignment(), 3e-3, BETWEEN, 1), small(fine_tuning(), 2e-3, (*BETWEEN, "lm.*"), 3))
WRITTEN = 60_000
"""Questions that it goes on to answer in writing, so that it forgets no arithmetic while it learns to hear."""
HELD_OUT = 64


def main() -> None:
    options = parsed()
    torch.set_num_threads(options.threads)
    folder, own = options.folder, options.folder / f"fun_audio_chat_{options.group}"
    rows, codec = made(options), nano_codec.load(codec_in(folder))
    model = untrained(folder, codec.codes, options.group, options.seed)
    with timed(own, "examples"):
        assert isinstance(model.ears, CausalEars)
        hear = partial(heard, model.ears.ears, codec.tokenizer, folder)
        lessons = [lesson for name in (*DIALOGUES, *QUESTIONS) for lesson in hear(name, rows[name])]
        learnt = list(examples(model, Random(0).sample(lessons, len(lessons)), codec.silence[0]))
    for stage in STAGES:
        with timed(own, stage.name):
            learn(model, replace(stage, seed=options.seed), learnt, own / stage.name)
    save(model, own / "model")
    shutil.copyfile(codec_in(folder), own / "model" / nano_codec.CODEC)


def parsed() -> argparse.Namespace:
    found = parser(__doc__)
    found.add_argument("--group", type=int, default=5, help="units of a step of the language model: 5 are 200 ms")
    found.add_argument("--seed", type=int, default=0)
    return found.parse_args()


def untrained(folder: Path, codes: int, group: int, seed: int) -> FunAudioChat:
    text = folder / "text" / "model"
    ears = CausalEars(nano_ears.load(folder / "ears.safetensors").requires_grad_(False))
    lm, words = backbone(str(text)), tokenizer_of(text)
    return FunAudioChat.grown(ears, lm, words, codes, fun_audio_chat.nano(group), nano_head(), seed)


def examples(model: FunAudioChat, lessons: Sequence[Sequence[Exchange]], silence: int) -> Iterator[Example]:
    """Conversations that fit into a row."""
    for lesson in lessons:
        made = example(model, [turn for exchange in lesson for turn in turns(model, exchange, silence)])
        if len(made["said"]) <= ROW_TOKENS:
            yield made


def turns(model: FunAudioChat, exchange: Exchange, silence: int) -> Iterator[Turn]:
    """A question and its answer. Speech goes on in silence while there is text left: a call, written behind it."""
    if isinstance(exchange.asked, str):
        yield Turn("user", exchange.asked)
    else:
        states = torch.from_numpy(exchange.asked).float()
        slots = model.grouped(states, ceil(len(states) / model.config.group))
        yield Turn("user", sound={"heard": slots.numpy()})
    text = len(model.text_ids(exchange.answer))
    least = max(0, text - model.config.lead) * model.config.group
    units = (*exchange.units, *[silence] * (least - len(exchange.units)))
    yield Turn("assistant", exchange.answer, units=units if exchange.units else None)


def written(model: FunAudioChat) -> Iterator[Example]:
    """Questions and their answers, as the text model learnt them."""
    for question in nano_text.drawn(3, WRITTEN):
        said = enumerate(nano_text.texts(question))
        yield example(model, [Turn("assistant" if n % 2 else "user", text) for n, text in said])


def learn(model: FunAudioChat, stage: Stage, made: Sequence[Example], folder: Path) -> None:
    learnt = list(made[HELD_OUT:])
    if "lm.*" in stage.trains:
        learnt += written(model)
    run = Run(folder, bf16=True, validate_every_steps=200)
    train(model, stage, run, learnt, made[:HELD_OUT], TwoRates(LEARNT), model.padding)


if __name__ == "__main__":
    main()
