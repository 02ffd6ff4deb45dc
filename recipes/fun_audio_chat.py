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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import takewhile
from pathlib import Path
from random import Random

import numpy as np
import torch
from numpy.typing import NDArray

import nano_text
from duologue.data.encode import Encoded
from duologue.data.tensors import Example
from duologue.desk import Desk
from duologue.model.adapter import FrameStack
from duologue.model.backbone import backbone, tokenizer_of
from duologue.model.calls import parted
from duologue.model.words import CALL
from duologue.session import HEARD_HZ
from duologue.systems import fun_audio_chat
from duologue.systems.fun_audio_chat import LEARNT, Config, TwoRates, fine_tuning, nano_head, pre_alignment
from duologue.systems.fun_audio_chat_examples import Turn, example, read
from duologue.systems.fun_audio_chat_model import FunAudioChat
from duologue.systems.fun_audio_chat_nano import WRITES, CausalEars, save
from duologue.systems.fun_audio_chat_tools import returned_in_words
from duologue.systems.llama_omni_stages import Exchange
from duologue.systems.omni_flatten_examples import exchanges
from duologue.train import Run, Stage, train
from duologue.units import nano_codec
from duologue.units.nano_codec import NanoCodec
from duologue.units.nano_ears import WordEars
from llama_omni import clearly, heard
from nano_ears import word_ears
from nano_units_speech import Speech, prepare
from omni_flatten import DIALOGUES, QUESTIONS, timed
from omni_flatten_data import codec_in, made, parser

BETWEEN = ("adapter.*", "units.*", "head.*")
ROW_TOKENS = 256
AROUND_S = 0.3
"""Of silence around a person's recording."""


def small(stage: Stage, rate: float, batch_tokens: int, trains: tuple[str, ...], muon: tuple[str, ...]) -> Stage:
    return replace(
        stage,
        learning_rate=rate,
        trains=trains,
        batch_tokens=batch_tokens,
        row_tokens=ROW_TOKENS,
        warmup_steps=50,
        final_rate=0.03,
        muon=muon,
    )


ALIGNMENT = small(pre_alignment(), 3e-3, 2_048, BETWEEN, ("head.*.layers.*",))
TUNING = small(fine_tuning(), 2e-3, 4_096, (*BETWEEN, "lm.*"), ("head.*.layers.*", "lm.*.layers.*"))
EPOCHS = 2
"""Of tuning. Alignment takes half of one."""
CLEAR, WRITTEN = 24_000, 8_000
"""Questions that nobody spoke: as if each word were heard clearly; in writing."""
AT_ONCE = 0.06
"""Questions of which two are asked at once, for each of all."""
HELD_OUT = 64


def main() -> None:
    options = parsed()
    torch.set_num_threads(options.threads)
    folder, own = options.folder, options.folder / f"fun_audio_chat_{options.group}"
    codec = nano_codec.load(codec_in(folder))
    model = untrained(folder, codec, fun_audio_chat.nano(options.group), options.seed)
    with timed(own, "examples"):
        rows = made(options)
        lessons = by_desk(ears_of(model), folder, rows, (*DIALOGUES, *QUESTIONS))
        speech = prepare(folder / "units" / "speech", options.recordings, options.share)
        lessons += parallel(lessons, round(AT_ONCE * len(lessons)))
        lessons += by_people(ears_of(model), speech, rows["people"])
        learnt = list(examples(model, Random(0).sample(lessons, len(lessons)), codec.silence[0]))
        more = list(unspoken(model, options.share))
    with timed(own, "pre_alignment"):
        learn(model, replace(ALIGNMENT, seed=options.seed), learnt[: len(learnt) // 2], own / "pre_alignment")
    with timed(own, "fine_tuning"):
        tuning = replace(TUNING, epochs=EPOCHS, seed=options.seed)
        learn(model, tuning, learnt + more, own / "fine_tuning")
    save(model, own / "model")
    shutil.copyfile(codec_in(folder), own / "model" / nano_codec.CODEC)


def parsed() -> argparse.Namespace:
    found = parser(__doc__)
    found.add_argument("--group", type=int, default=5, help="units of a step of the language model: 5 are 200 ms")
    found.add_argument("--seed", type=int, default=0)
    return found.parse_args()


def untrained(folder: Path, codec: NanoCodec, config: Config, seed: int) -> FunAudioChat:
    text = folder / "text" / "model"
    ears = CausalEars(word_ears(folder))
    lm, words = backbone(str(text)), tokenizer_of(text)
    model = FunAudioChat.grown(ears, lm, words, codec.codes, config, nano_head(), seed)
    model.units.begin_alike(codec.tokenizer.fsq.one_hot(), seed)
    assert isinstance(model.adapter, FrameStack)
    model.adapter.begin_straight()
    return model


def learn(model: FunAudioChat, stage: Stage, made: Sequence[Example], folder: Path) -> None:
    run = Run(folder, bf16=True, validate_every_steps=200)
    train(model, stage, run, made[HELD_OUT:], made[:HELD_OUT], TwoRates(LEARNT))


# ---------------------------------------------------------------- what is heard


Lesson = Sequence[Exchange]
"""A conversation."""


def ears_of(model: FunAudioChat) -> WordEars:
    assert isinstance(model.ears, CausalEars)
    return model.ears.ears


def by_desk(ears: WordEars, folder: Path, rows: Mapping[str, Sequence[Encoded]], names: Sequence[str]) -> list[Lesson]:
    """Conversations with the desk as the ears hear them, up to an answer that is not spoken whole."""
    lessons = (lesson for name in names for lesson in heard(ears, folder, name, rows[name]))
    spoken = (list(takewhile(lambda exchange: exchange.units, lesson)) for lesson in lessons)
    return [lesson for lesson in spoken if lesson]


@torch.inference_mode()
def by_people(ears: WordEars, speech: Speech, rows: Sequence[Encoded]) -> Iterator[Lesson]:
    """What people asked in their recordings."""
    numbers = [n for n in speech.numbers("train", "person:") if speech.clips[n][0].text]
    for number, row in zip(numbers, rows, strict=True):
        for _, answer in exchanges(row):
            audio = np.pad(speech.audio(number), round(AROUND_S * HEARD_HZ))
            yield [Exchange(ears.features(audio).half().numpy(), answer.text, answer.units)]


def examples(
    model: FunAudioChat,
    lessons: Iterable[Lesson],
    silence: int = 0,
    row_tokens: int = ROW_TOKENS,
    system: str = "",
) -> Iterator[Example]:
    """Conversations that fit into a row."""
    for lesson in lessons:
        desk = Desk()
        made = example(model, [turn for exchange in lesson for turn in turns(model, exchange, desk, silence)], system)
        if len(made["said"]) <= row_tokens:
            yield made


def turns(model: FunAudioChat, exchange: Exchange, desk: Desk, silence: int) -> Iterator[Turn]:
    """A question and its answer. Where something is called, that is written first, and its result is read. Speech goes
    on in silence while there is text left."""
    yield asked(exchange.asked)
    said, mark, call = exchange.answer.partition(CALL)
    if mark:
        _, calls = parted(exchange.answer, desk.tools)
        yield Turn("assistant", mark + call)
        yield Turn("user", " ".join(returned_in_words([desk.run(call) for call in calls])))
    least = max(0, len(model.text_ids(said)) - model.config.lead) * model.config.group
    units = (*exchange.units, *[silence] * (least - len(exchange.units)))
    yield Turn("assistant", said, units=units if exchange.units else None)


def asked(words: NDArray[np.float16] | str) -> Turn:
    return Turn("user", words) if isinstance(words, str) else Turn("user", sound={"heard": words})


# ---------------------------------------------------------------- two things at once


def parallel(lessons: Sequence[Lesson], count: int) -> Iterator[Lesson]:
    """Two of the questions for which something is called, in one breath; their calls and what is said in order."""
    calling = [lesson[0] for lesson in lessons if len(lesson) == 1 and lesson[0].answer.count(CALL) == 1]
    draw = Random(1)
    for _ in range(count if len(calling) > 1 else 0):
        yield [both(*draw.sample(calling, 2))]


def both(one: Exchange, other: Exchange) -> Exchange:
    heard = [exchange.asked for exchange in (one, other) if not isinstance(exchange.asked, str)]
    asked = np.concatenate(heard) if heard else f"{str(one.asked).rstrip('.?!')} and {other.asked}"
    parts = [exchange.answer.partition(CALL) for exchange in (one, other)]
    answer = " ".join([*(said.strip() for said, _, _ in parts), *(mark + call for _, mark, call in parts)])
    units = (*one.units, *other.units) if one.units and other.units else ()
    return Exchange(asked, answer, units)


# ---------------------------------------------------------------- what nobody spoke


def written(count: int, seed: int) -> list[Lesson]:
    """Questions and answers in writing, some of them two at once."""
    lessons: list[Lesson] = []
    for question in nano_text.drawn(seed, count):
        texts = iter(nano_text.texts(question))
        lessons.append([Exchange(asked, answer) for asked, answer in zip(texts, texts, strict=True)])
    return [*lessons, *parallel(lessons, round(AT_ONCE * count))]


def unspoken(model: FunAudioChat, share: float) -> Iterator[Example]:
    """What is answered in text alone, and what is read: so that it reckons by ear, and forgets nothing."""
    heard = heard_clearly(ears_of(model), written(round(share * CLEAR), 5))
    yield from examples(model, [*heard, *written(round(share * WRITTEN), 3)], system=WRITES)
    for statement in nano_text.readings(model.words, nano_text.REHEARSALS):
        yield read(model, statement["tokens"].tolist())


def heard_clearly(ears: WordEars, lessons: Iterable[Lesson]) -> Iterator[Lesson]:
    """What was written, heard at its best."""
    texts = ([text for exchange in lesson for text in (str(exchange.asked), exchange.answer)] for lesson in lessons)
    return clearly(ears, texts)


if __name__ == "__main__":
    main()
