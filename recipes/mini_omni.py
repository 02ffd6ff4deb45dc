"""Mini-Omni of the nano size: from a text model, ears and a codec to a model that talks while it writes.

    python recipes/mini_omni.py --folder runs/omni_flatten

It takes the text model, the conversations, the ears and the codec that recipes/omni_flatten.py, recipes/nano_ears.py
and recipes/nano_levels.py made in the folder; then the paper's three stages: the adapters, the language model's skill
in text, all of it, this twice. With `--records` it learns from what recipes/voice_assistant.py made, too. Run it again
to go on where it was stopped. It leaves `mini_omni/model` in the folder, which `duologue talk --system mini_omni
--model runs/omni_flatten/mini_omni/model` talks with.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

import voice_assistant_reading
from duologue.model.backbone import backbone, tokenizer_of
from duologue.model.words import ASSISTANT, END, USER
from duologue.systems import mini_omni
from duologue.systems.mini_omni import STAGES
from duologue.systems.mini_omni_examples import Examples
from duologue.systems.mini_omni_folder import EARS, save
from duologue.systems.mini_omni_model import EachLane, MiniOmni
from duologue.train import Run, Stage, train
from duologue.units import nano_ears, snac_nano
from duologue.units.nano_ears import WordEars
from mini_omni_lessons import LAST, ROW_STEPS, all_lessons, few, levels_in, tasks, written
from nano_ears import word_ears
from omni_flatten import timed
from omni_flatten_data import made, parser

WRITTEN = 30_000
"""Questions that it goes on to answer in writing, in each stage that trains the language model."""
WORDS_AS = {"input_t": USER, "answer_t": ASSISTANT, "asr": ASSISTANT, "read": ASSISTANT, "eot": END}
"""Marks that begin as a word of the text model."""
HELD_OUT = 64
RATES = {"added.marks.*": 1e-2, "added.books.*": 1e-2, "lm.model.norm.*": 2e-4}
"""Rows are eight times as large as in a text model, the norm before them an eighth."""


def _nano(stage: Stage, rate: float, **more: Any) -> Stage:
    return replace(
        stage,
        learning_rate=rate,
        rates=RATES,
        batch_tokens=4_096,
        row_tokens=ROW_STEPS,
        steps=None,
        epochs=1,
        warmup_steps=30,
        final_rate=0.03,
        loss_weights={"text": 4.0},
        **more,
    )


NANO = (
    _nano(STAGES[0], 2e-3),
    _nano(STAGES[1], 2e-3, muon=("lm.*.layers.*",)),
    *(_nano(replace(STAGES[2], name=name), 2e-3, muon=("lm.*.layers.*",)) for name in LAST),
)
"""The last stage goes round again, its rate from the top (Loshchilov and Hutter 2017, arXiv 1608.03983)."""


def main() -> None:
    options = parsed()
    torch.set_num_threads(options.threads)
    folder, own = options.folder, options.out or options.folder / "mini_omni"
    ears = word_ears(folder)
    model, words = untrained(folder, ears, options.seed)
    with timed(own, "lessons"):
        found = {name: rows[: options.conversations] for name, rows in made(options).items()}
        heard_in = folder if options.conversations is None else few(folder, own / f"first_{options.conversations}")
        lessons = all_lessons(folder, heard_in, ears, words, found)
        practice = written(words, options.written)
        if options.records:
            lessons += voice_assistant_reading.lessons(options.records, ears, words, model.config.codes)
        learnt = tasks(model.config, lessons, practice)
    for stage in NANO:
        with timed(own, stage.name):
            learn(model, replace(stage, seed=options.seed), learnt, own / stage.name)
    save(model, words, own / "model")
    nano_ears.save(ears, own / "model" / EARS)
    shutil.copyfile(levels_in(folder), own / "model" / snac_nano.CODEC)


def parsed() -> argparse.Namespace:
    found = parser(__doc__)
    found.add_argument("--conversations", type=int, default=None, help="how many of each corpus, at most")
    found.add_argument("--written", type=int, default=WRITTEN, help="written questions")
    found.add_argument(
        "--records", type=Path, help="learn from these too: of VoiceAssistant-400K's layout, of its codec"
    )
    found.add_argument("--seed", type=int, default=0)
    found.add_argument("--out", type=Path, help="what is learnt (default: mini_omni in the folder)")
    return found.parse_args()


def untrained(folder: Path, ears: WordEars, seed: int) -> tuple[MiniOmni, Any]:
    """The text model, which can write what it could, with the rest of it; and its words."""
    text = folder / "text" / "model"
    words, codes = tokenizer_of(text), snac_nano.load(levels_in(folder)).codes
    config = mini_omni.nano(len(words), codes, ears.width)
    words_as = {mark: words.convert_tokens_to_ids(word) for mark, word in WORDS_AS.items()}
    return MiniOmni.grown_whole(backbone(str(text)), config, words_as, seed), words


def learn(model: MiniOmni, stage: Stage, learnt: Mapping[str, Examples], folder: Path) -> None:
    """A stage, from where its folder was left."""
    examples = learnt[stage.name]
    run = Run(folder, bf16=True, validate_every_steps=200)
    train(model, stage, run, examples[HELD_OUT:], examples[:HELD_OUT], EachLane())


if __name__ == "__main__":
    main()
