"""A model of Mini-Omni in a folder: that of its language model, with what was added beside it."""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_model, save_model

from duologue.model.backbone import backbone, tokenizer_of
from duologue.model.precision import Precision, of_precision, rounded
from duologue.systems.mini_omni import Config
from duologue.systems.mini_omni_model import MiniOmni
from duologue.whole import whole_folder

CONFIG, ADDED = "mini_omni.json", "mini_omni.safetensors"
EARS = "ears.safetensors"
"""Of the nano size, beside it: what `nano_ears.save` wrote."""


def save(model: MiniOmni, words: Any, folder: str | Path) -> None:
    """The model and its tokenizer. Raises OSError (disk full), and what was in the folder is still there."""
    whole_folder(folder, partial(_write, model, words))


def _write(model: MiniOmni, words: Any, folder: Path) -> None:
    model.lm.save_pretrained(folder)
    words.save_pretrained(folder)
    save_model(model.added, str(folder / ADDED))
    (folder / CONFIG).write_text(json.dumps(asdict(model.config), indent=1))


def load(folder: str | Path, dtype: Precision = torch.float32) -> tuple[MiniOmni, Any]:
    """The model, in evaluation mode, and its tokenizer. Raises ValueError for a folder with something else."""
    folder = Path(folder)
    if not (folder / CONFIG).is_file():
        raise ValueError(f"{folder} holds no model of Mini-Omni: there is no {CONFIG} in it")
    try:
        config = Config(**json.loads((folder / CONFIG).read_text()))
        model = MiniOmni(backbone(str(folder), of_precision(dtype)), config)
        load_model(model.added, str(folder / ADDED))
        return rounded(model.eval(), dtype), tokenizer_of(folder)
    except (OSError, ValueError, TypeError, RuntimeError, SafetensorError) as error:
        raise ValueError(f"{folder} holds a model of Mini-Omni that cannot be read: {error}") from error
