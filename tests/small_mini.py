"""A small Mini-Omni that was never trained, and questions for it."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM

from duologue.layout import Tokens
from duologue.model.backbone import backbone, nano
from duologue.model.words import words_tokenizer
from duologue.systems import mini_omni_folder
from duologue.systems.mini_omni import BOOKS, TASKS, Config, Question, Task
from duologue.systems.mini_omni_examples import Sample
from duologue.systems.mini_omni_model import MiniOmni
from duologue.units import nano_ears, snac_nano
from duologue.units.nano_ears import EarsConfig, NanoEars, WordEars
from duologue.units.snac import Snac
from small_models import CONFIGS

TEXT, CODES, FEATURES = 50, 12, 6
CONFIG = Config(TEXT, CODES, FEATURES, adapter=16, text_marks=8, book_marks=4)
TTS = replace(CONFIG, tts_blocks=1)


def language_model(name: str = "qwen2", tied: bool = True) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        config = CONFIGS[name](initializer_range=0.3, tie_word_embeddings=tied)
        return AutoModelForCausalLM.from_config(config).eval()


@cache
def small(config: Config = CONFIG, name: str = "qwen2", tied: bool = True) -> MiniOmni:
    return MiniOmni.grown(language_model(name, tied), config, seed=1)


def question(task: Task, seed: int = 0, history: int = 0) -> Question:
    """Of 2 to 7 features or words."""
    draw = np.random.default_rng([TASKS.index(task), seed])
    size = int(draw.integers(2, 8))
    features = torch.from_numpy(draw.normal(size=(size, FEATURES)).astype(np.float32))
    past = tuple((words(draw, 2), words(draw, 3)) for _ in range(history))
    return Question(task, features, (), past) if task[0] == "A" else Question(task, None, words(draw, size), past)


def words(draw: np.random.Generator, count: int) -> list[int]:
    return [int(token) for token in draw.integers(0, TEXT, count)]


def sample(task: Task, seed: int = 0, frames: int = 4, text: int = 3) -> Sample:
    draw = np.random.default_rng([99, seed])
    codes: Tokens = draw.integers(0, CODES, (BOOKS, frames))
    return Sample(question(task, seed), words(draw, text), codes if task[2] == "A" else None)


# ---------------------------------------------------------------- a nano one, with ears and a codec

WORDS = words_tokenizer(("what", "is", "two", "four", "seven", "plus", "you", "said", "set", "timer", ".", "="))
LEVELS = replace(snac_nano.nano(), encoder_dim=4, decoder_dim=16, codebook_size=CODES, codebook_dim=4)


@cache
def levels() -> Snac:
    """A codec that was never trained."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return snac_nano.untrained(LEVELS).eval()


def kept(folder: Path) -> MiniOmni:
    """A lively model that was never trained, in a folder with its ears and its codec: what `duologue talk` takes."""
    sizes = EarsConfig(("two", "four"), 64, 1, n_mels=20, front_width=16, front_blocks=1, front_taps=3)
    ears = WordEars(NanoEars(sizes), torch.randn(2, 64, generator=torch.Generator().manual_seed(4))).eval()
    lm = backbone(nano(len(WORDS), width=64, layers=2, positions=256), seed=1)
    model = MiniOmni.grown(lm, Config(len(WORDS), CODES, ears.width, 48, text_marks=8, book_marks=4), seed=2)
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(3)
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.3)
    folder.mkdir(parents=True)
    mini_omni_folder.save(model, WORDS, folder)
    nano_ears.save(ears, folder / mini_omni_folder.EARS)
    snac_nano.save(levels(), folder / snac_nano.CODEC)
    return model
