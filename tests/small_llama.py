"""A small LLaMA-Omni of the nano kind that was never trained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from duologue.model.backbone import backbone, nano
from duologue.model.ctc import SpeechSizes
from duologue.model.words import words_tokenizer
from duologue.systems import llama_omni
from duologue.systems.llama_omni import LlamaOmni
from duologue.systems.llama_omni_folder import save
from duologue.units import nano_codec
from duologue.units.nano_ears import EarsConfig, NanoEars, WordEars
from small_units import codec

WORDS = words_tokenizer(("what", "is", "two", "four", "seven", "plus", "you", "said", "set", "timer", ".", "="))


def tiny(labels: int = 8) -> LlamaOmni:
    """Of the nano kind, small enough for a test."""
    torch.manual_seed(0)
    sizes = EarsConfig(("two", "four"), 64, 1, n_mels=20, front_width=16, front_blocks=1, front_taps=3)
    ears = WordEars(NanoEars(sizes), torch.randn(2, 64)).eval()
    lm = backbone(nano(len(WORDS), width=64, layers=2, positions=256), seed=1)
    speech = SpeechSizes(2, 64, 2, 96, units=60, labels_per_token=labels, places=True, longest_tokens=60)
    config = replace(llama_omni.nano(), speech=speech, adapter_width=48, longest=256)
    return LlamaOmni(ears, lm, WORDS, config).eval()


def kept(folder: Path) -> LlamaOmni:
    """The same in a folder, lively, with its codec: what `duologue talk` takes."""
    model = tiny()
    with torch.no_grad():
        for parameter in (*model.lm.parameters(), *model.speech.parameters(), *model.adapter.parameters()):
            parameter.add_(torch.randn_like(parameter), alpha=0.3)
    folder.mkdir(parents=True)
    save(model, folder)
    nano_codec.save(codec(), folder / nano_codec.CODEC)
    return model
