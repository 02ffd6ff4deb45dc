"""Fun-Audio-Chat of the nano size: causal ears that were trained from nothing, and a folder to keep it all in."""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import nn
from transformers import AutoConfig

from duologue.model.backbone import backbone, tokenizer_of
from duologue.model.omni_ears import Heard, Hearing, checked
from duologue.model.weights import fill, stored
from duologue.sound import Audio
from duologue.systems.fun_audio_chat import Chat, Config, Marks, UnitIds
from duologue.systems.fun_audio_chat_model import FunAudioChat
from duologue.units import nano_ears
from duologue.units.nano_ears import WordEars
from duologue.whole import whole_folder

EARS, PARTS, SIZES = "ears.safetensors", "fun_audio_chat.safetensors", "fun_audio_chat.json"
"""Beside the language model and its tokenizer."""
WRITES = "text"
"""The system prompt under which a nano model answers in text alone; without one, it speaks."""


class CausalEars(nn.Module):
    """`WordEars` as a conversation listens with them. They never look ahead: a word that was told stands."""

    hz = 25.0

    def __init__(self, ears: WordEars) -> None:
        super().__init__()
        self.ears = ears

    @property
    def width(self) -> int:
        return self.ears.width

    def start(self) -> Hearing:
        return _Utterance(self.ears)


class _Utterance:
    def __init__(self, ears: WordEars) -> None:
        self._ears, self._state, self._given = ears, ears.start(1), 0

    def push(self, audio: Audio, last: bool = False) -> Heard:
        sound = torch.from_numpy(checked(audio))[None].to(self._ears.vectors.device)
        heard = Heard(self._given, self._ears.hear(sound, self._state, last)[0])
        self._given += len(heard.states)
        return heard


# ---------------------------------------------------------------- on the disk


def save(model: FunAudioChat, folder: str | Path) -> None:
    """A folder of transformers, with the ears and what lies between beside it. Raises OSError (disk full), and what was
    in the folder is still there; TypeError for a model with other ears."""
    if not isinstance(model.ears, CausalEars):
        raise TypeError(f"ears of type {type(model.ears).__name__} are not kept here: only CausalEars are")
    whole_folder(folder, partial(_write, model, model.ears))


def _write(model: FunAudioChat, ears: CausalEars, folder: Path) -> None:
    model.lm.save_pretrained(folder)
    model.words.save_pretrained(folder)
    nano_ears.save(ears.ears, folder / EARS)
    save_file(_between(model).state_dict(), folder / PARTS)
    sizes = {
        "config": asdict(model.config),
        "marks": model.marks._asdict(),
        "units": model.unit_ids._asdict(),
        "head": model.head.body.config.to_diff_dict(),
    }
    (folder / SIZES).write_text(json.dumps(sizes, indent=1))


def _between(model: FunAudioChat) -> nn.ModuleDict:
    """What is neither ears nor language model."""
    return nn.ModuleDict({"adapter": model.adapter, "units": model.units, "head": model.head})


def load(folder: str | Path, dtype: torch.dtype = torch.float32) -> FunAudioChat:
    """What `save` wrote, in evaluation mode. Raises ValueError for a folder with something else."""
    folder = Path(folder)
    if not (folder / SIZES).is_file():
        raise ValueError(f"{folder} holds no Fun-Audio-Chat of the nano size; recipes/fun_audio_chat.py makes one")
    try:
        model = _read(folder, dtype)
        fill(_between(model), stored(folder / PARTS), folder / PARTS)
        return model.eval()
    except (OSError, ValueError, TypeError, KeyError, SafetensorError) as error:
        raise ValueError(f"{folder} holds a Fun-Audio-Chat that cannot be read: {error}") from error


def _read(folder: Path, dtype: torch.dtype) -> FunAudioChat:
    sizes = json.loads((folder / SIZES).read_text())
    config = Config(**{**sizes["config"], "chat": Chat(**sizes["config"]["chat"])})
    ids: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in sizes["marks"].items()}
    ears, lm = CausalEars(nano_ears.load_words(folder / EARS)), backbone(str(folder), dtype)
    head = AutoConfig.for_model(**sizes["head"])
    return FunAudioChat(ears, lm, tokenizer_of(folder), Marks(**ids), UnitIds(**sizes["units"]), head, config)
