"""LLaMA-Omni in a folder of ours: that of its language model, ears, adapter and speech decoder beside it."""

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

from duologue.model.backbone import backbone, tokenizer_of
from duologue.model.ctc import SpeechSizes
from duologue.model.precision import Precision, of_precision, rounded
from duologue.model.prompt import Chat
from duologue.model.weights import fill, stored
from duologue.model.whisper import Whisper, WhisperSizes
from duologue.systems.llama_omni import Config, LlamaOmni
from duologue.units import nano_ears
from duologue.units.nano_ears import WordEars
from duologue.whole import whole_folder

EARS, PARTS, CONFIG = "ears.safetensors", "llama_omni.safetensors", "llama_omni.json"


def save(model: LlamaOmni, folder: str | Path) -> None:
    """Raises OSError (disk full), and what was in the folder is still there; TypeError for other ears than WordEars
    and Whisper."""
    if not isinstance(model.ears, WordEars | Whisper):
        raise TypeError(f"ears of type {type(model.ears).__name__} are not kept here: only WordEars and Whisper are")
    whole_folder(folder, partial(_write, model, model.ears))


def _write(model: LlamaOmni, ears: WordEars | Whisper, folder: Path) -> None:
    model.lm.save_pretrained(folder)
    model.words.save_pretrained(folder)
    sizes = asdict(model.config)
    if isinstance(ears, Whisper):
        sizes["whisper"] = {"sizes": asdict(ears.sizes), "length": ears.length, "beyond": ears.beyond}
        save_file(ears.state_dict(), folder / EARS)
    else:
        nano_ears.save(ears, folder / EARS)
    save_file(_parts(model).state_dict(), folder / PARTS)
    (folder / CONFIG).write_text(json.dumps(sizes, indent=1))


def load(folder: str | Path, dtype: Precision = torch.float32) -> LlamaOmni:
    """What `save` wrote, in evaluation mode. Raises ValueError for a folder with something else."""
    folder = Path(folder)
    if not (folder / CONFIG).is_file():
        raise ValueError(f"{folder} holds no LLaMA-Omni of ours: there is no {CONFIG} in it")
    try:
        sizes = json.loads((folder / CONFIG).read_text())
        ears = _ears(folder, sizes.pop("whisper", None), of_precision(dtype))
        config = Config(**sizes | {"speech": SpeechSizes(**sizes["speech"]), "chat": Chat(**sizes["chat"])})
        model = LlamaOmni(ears, backbone(str(folder), of_precision(dtype)), tokenizer_of(folder), config)
        fill(_parts(model), stored(folder / PARTS), folder)
        rounded(model.lm, dtype)
        return model.eval()
    except (OSError, ValueError, TypeError, KeyError, SafetensorError) as error:
        raise ValueError(f"{folder} holds a LLaMA-Omni that cannot be read: {error}") from error


def _ears(folder: Path, whisper: dict[str, Any] | None, dtype: torch.dtype) -> WordEars | Whisper:
    """Those of the nano size, or Whisper's as they are described."""
    if whisper is None:
        return nano_ears.load_words(folder / EARS)
    ears = Whisper(WhisperSizes(**whisper["sizes"]), whisper["length"], whisper["beyond"], dtype)
    fill(ears, stored(folder / EARS), folder)
    return ears


def _parts(model: LlamaOmni) -> nn.ModuleDict:
    """What is neither the language model's nor the ears'."""
    return nn.ModuleDict({"adapter": model.adapter, "speech": model.speech})
