"""Nano codecs small enough for a test, with random weights."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from duologue.units.codec import CodecState
from duologue.units.nano_codec import NanoCodec
from duologue.units.nano_decoder import DecoderConfig, NanoDecoder
from duologue.units.nano_tokenizer import NanoTokenizer, TokenizerConfig

UNIT = 640
"""Samples of a unit."""
LEVELS = (5, 4, 3)


@lru_cache
def tokenizer(levels: tuple[int, ...] = LEVELS) -> NanoTokenizer:
    torch.manual_seed(0)
    return NanoTokenizer(TokenizerConfig(n_mels=20, width=16, blocks=2, reading_blocks=1, taps=3, levels=levels)).eval()


@lru_cache
def decoder(ahead_units: int = 2) -> NanoDecoder:
    torch.manual_seed(0)
    config = DecoderConfig(LEVELS, width=16, unit_blocks=1, frame_blocks=2, taps=3, ahead_units=ahead_units)
    return NanoDecoder(config, tokenizer().silence).eval()


@lru_cache
def codec() -> NanoCodec:
    return NanoCodec(tokenizer(), decoder())


class Afterwards(NanoCodec):
    """It gives its units when all was heard, as S3 and HuBERT do."""

    def encode(self, audio: Tensor, state: CodecState, last: bool = False) -> Tensor:
        return super().encode(audio, state, last) if last else torch.zeros(len(audio), 1, 0, dtype=torch.int64)


NOT_LIVE = (
    (tokenizer(), "NanoTokenizer cannot be talked with, it makes no sound of units: take a model and the nano codec"),
    (Afterwards(tokenizer(), decoder()), "Afterwards cannot be talked with, the sound of "),
)
"""Units that no session can be begun with, and what is told of them."""


def noise(rows: int, samples: int, seed: int) -> Tensor:
    return torch.randn(rows, samples, generator=torch.Generator().manual_seed(seed)) / 10
