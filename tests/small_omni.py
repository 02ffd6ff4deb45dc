"""A small OmniFlatten that was never trained, and two made conversations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tokenizers import ByteLevelBPETokenizer
from transformers import PreTrainedTokenizerFast, Qwen2Config

from duologue.data.encode import Encoded, Stretch
from duologue.model.backbone import backbone, nano
from duologue.model.one_vocabulary import Codes
from duologue.model.words import words_tokenizer
from duologue.systems.omni_flatten import Config, OmniFlatten
from duologue.units import nano_codec
from small_units import codec

WORDS = ("two", "plus", "is", "what", "four", "five", "okay", "set_timer", "seconds", "done", "=", ",", ".")
CODES = 60


def small(config: Config | None = None, width: int = 64, seed: int = 5) -> OmniFlatten:
    """With units of the small codec."""
    words = words_tokenizer(WORDS)
    lm = backbone(nano(len(words), width=width, layers=2), seed=3)
    return OmniFlatten.grown(lm, words, Codes(CODES), config or Config(4, 2, 2), seed)


def kept(folder: Path) -> OmniFlatten:
    """The same in a folder, with its codec: what `duologue talk` takes."""
    model = small()
    folder.mkdir(parents=True)
    model.save(folder)
    nano_codec.save(codec(), folder / nano_codec.CODEC)
    return model


def text_model(folder: Path, tied: bool = True) -> int:
    """Qwen2-0.5B made small, in a folder: byte-level words, spare rows that no token has. Gives how many it has."""
    words = ByteLevelBPETokenizer()
    words.train_from_iterator(["what is two plus two", "four is four"], 300, special_tokens=["<|endoftext|>"])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words._tokenizer, eos_token="<|endoftext|>")
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    config = Qwen2Config(
        vocab_size=len(tokenizer) + 20, max_position_embeddings=2048, tie_word_embeddings=tied, **sizes, **heads
    )
    backbone(config, seed=1).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return len(tokenizer)


def conversation(seed: int = 0, cut: bool = False) -> Encoded:
    """A question with a pause in it, its answer (with a call), an "okay" over that, another question, its answer."""
    draw = np.random.default_rng(seed)
    user = tuple(int(unit) for unit in draw.integers(0, CODES, 87))
    theirs = [tuple(int(unit) for unit in draw.integers(0, CODES, size)) for size in (20, 13)]

    def mine(start: int, end: int, text: str, ends: tuple[int, ...], turn: int | None) -> Stretch:
        return Stretch("user", start, user[start:end], text, ends, turn)

    return Encoded(
        f"conversation {seed}",
        user,
        (
            mine(3, 9, "what is", (5, 8), 0),
            mine(11, 20, "two plus two", (13, 16, 19), 0),
            Stretch("assistant", 22, theirs[0], "four. <call> set_timer seconds = 5 </call>", (), 1),
            mine(30, 34, "okay", (33,), None),
            mine(46, 57, "what is five", (48, 52, 56), 2),
            Stretch("assistant", 60, theirs[1][: 6 if cut else 13], "five is five. okay, done.", (), 3, cut),
        ),
    )
