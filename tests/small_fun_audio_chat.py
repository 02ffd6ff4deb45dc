"""A small Fun-Audio-Chat that was never trained, and people who talk with it."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import torch
from transformers import Qwen2_5OmniAudioEncoderConfig, Qwen3Config

from duologue.model.backbone import backbone
from duologue.model.omni_ears import LiveEars, OmniEars
from duologue.model.words import words_tokenizer
from duologue.sound import Audio
from duologue.streaming import Memory
from duologue.systems.fun_audio_chat import Config, nano, released
from duologue.systems.fun_audio_chat_model import FunAudioChat
from duologue.systems.fun_audio_chat_nano import CausalEars, save
from duologue.units import nano_codec
from duologue.units.nano_ears import EarsConfig, NanoEars, WordEars
from small_units import codec

WORDS = ("one", "two", "three", "plus", "is", "what", "four", "five", "okay", "then", "say", "again", ".")
CALLS = ("set_timer", "take_note", "seconds", "text", "=")
CODES = 40
MEMORY = Memory(slots=400)
SIZES = {
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "initializer_range": 0.2,
}


def windows() -> OmniEars:
    """Windows of 400 ms."""
    torch.manual_seed(2)
    sizes = {"d_model": 16, "encoder_layers": 1, "encoder_attention_heads": 2, "encoder_ffn_dim": 32}
    return OmniEars(
        Qwen2_5OmniAudioEncoderConfig(num_mel_bins=80, output_dim=24, n_window=20, initializer_range=0.2, **sizes)
    ).eval()


def small(
    config: Config, width: int = 32, seed: int = 5, ears: LiveEars | None = None, codes: int = CODES
) -> FunAudioChat:
    words = words_tokenizer((*WORDS, *CALLS))
    lm = Qwen3Config(vocab_size=len(words), hidden_size=width, intermediate_size=48, tie_word_embeddings=True, **SIZES)
    head = Qwen3Config(vocab_size=1, hidden_size=24, intermediate_size=32, max_position_embeddings=10_240, **SIZES)
    return FunAudioChat.grown(ears or windows(), backbone(lm, seed=3), words, codes, config, head, seed)


def anew(group: int = 5) -> Config:
    """The nano size, for ears that give a state each 40 ms."""
    return replace(nano(group), hears="stacked", heard_group=0)


def plain(group: int = 5) -> Config:
    """As the report has it, in the chat of the small words."""
    return Config(group, chat=nano().chat)


def compatible(config: Config) -> Config:
    """With all that released weights need, in the chat of the small words."""
    return replace(released(), chat=config.chat)


@cache
def model_of(kind: str) -> FunAudioChat:
    return small({"anew": anew(), "plain": plain(), "compatible": compatible(nano())}[kind])


def voice(seconds: float, seed: int = 0, loudness: float = 0.1) -> Audio:
    """Noise that gets louder and softer."""
    draw = np.random.default_rng(seed)
    steps = draw.uniform(0.001, 1, int(seconds * 10) + 1) ** 3
    envelope = np.repeat(steps, 1600)[: int(seconds * 16_000)]
    return (loudness * envelope * draw.normal(size=len(envelope))).astype(np.float32)


def kept(folder: Path) -> FunAudioChat:
    """One of the nano kind in a folder, with its codec: what `duologue talk` takes."""
    torch.manual_seed(0)
    sizes = EarsConfig(("two", "four"), 64, 1, n_mels=20, front_width=16, front_blocks=1, front_taps=3)
    ears = CausalEars(WordEars(NanoEars(sizes), torch.randn(2, 32)).eval())
    words = words_tokenizer(WORDS)
    lm = backbone(Qwen3Config(vocab_size=len(words), hidden_size=32, intermediate_size=48, **SIZES), seed=3)
    head = Qwen3Config(vocab_size=1, hidden_size=24, intermediate_size=32, max_position_embeddings=10_240, **SIZES)
    model = FunAudioChat.grown(ears, lm, words, codec().codes, nano(), head, 9)
    folder.mkdir(parents=True)
    save(model, folder)
    nano_codec.save(codec(), folder / nano_codec.CODEC)
    return model
