"""A small SyncLLM that was never trained."""

from __future__ import annotations

from pathlib import Path

from duologue.model.backbone import backbone, nano
from duologue.model.one_vocabulary import Codes
from duologue.model.words import words_tokenizer
from duologue.systems.sync_llm import Config, SyncLLM
from duologue.units import nano_codec
from small_omni import CODES, WORDS
from small_units import codec


def small(config: Config | None = None, seed: int = 5, initial: float = 0.6) -> SyncLLM:
    """With units of the small codec. Rows are untied, and weights large initially: else it would say again whatever it
    heard last."""
    words = words_tokenizer(WORDS)
    sizes = nano(len(words), width=64, layers=2)
    sizes.tie_word_embeddings, sizes.initializer_range = False, initial
    lm = backbone(sizes, seed=3)
    return SyncLLM.grown(lm, words, Codes(CODES), config or Config(), seed=seed)


def kept(folder: Path) -> SyncLLM:
    """The same in a folder, with its codec: what `duologue talk` takes."""
    model = small()
    folder.mkdir(parents=True)
    model.save(folder)
    nano_codec.save(codec(), folder / nano_codec.CODEC)
    return model
