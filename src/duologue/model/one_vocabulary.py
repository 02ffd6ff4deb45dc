"""A text model that reads and writes units of sound as words: one vocabulary for both (OmniFlatten, SyncLLM)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from duologue.model.backbone import backbone, tokenizer_of
from duologue.model.tokens import Drawn, Group, IdMap, Vectors, add_tokens
from duologue.whole import whole_folder


class Codes(NamedTuple):
    """Units that a model is given: how many, and, where the codec has them, a vector for each [codes, any width]."""

    codes: int
    vectors: Tensor | None = None


@dataclass(frozen=True)
class OneVocabulary:
    """A causal language model of transformers with its tokenizer, to which tags and units were added. Who inherits
    from it names its tags, the class of its sizes, the file that holds them, and what it is and where one is from."""

    tag_tokens: ClassVar[tuple[str, ...]]
    sizes: ClassVar[type[Any]]
    sizes_file: ClassVar[str]
    called: ClassVar[str]
    made_by: ClassVar[str]

    lm: Any
    words: Any
    ids: IdMap
    config: Any

    @classmethod
    def grown(cls, lm: Any, words: Any, codes: Codes, config: Any, seed: int = 0) -> Self:
        """Of a text model: tags and units are added to both, in place."""
        units = [f"<unit {n}>" for n in range(codes.codes)]
        start = Drawn("normal") if codes.vectors is None else Vectors(codes.vectors)
        groups = [Group("tags", cls.tag_tokens, special=True), Group("units", units, start, special=True, book=0)]
        return cls(lm, words, add_tokens(lm, words, groups, seed), config)

    def text_ids(self, text: str) -> list[int]:
        ids: list[int] = self.words(text, add_special_tokens=False).input_ids
        return ids

    def unit_ids(self, codes: Iterable[int]) -> list[int]:
        """Raises ValueError for codes that are none of the units."""
        units, found = self.ids["units"], np.fromiter(codes, np.int64)
        if wrong := found[(found < 0) | (found >= units.size)].tolist():
            raise ValueError(f"there is no unit {wrong[0]} among {units.size}: encode with the codec of this model")
        ids: list[int] = (found + units.offset).tolist()
        return ids

    # ------------------------------------------------------------ on the disk

    def save(self, folder: str | Path) -> None:
        """As a folder of transformers, with `ids.json` and the sizes beside the weights. Raises OSError (disk full),
        and what was in the folder is still there."""
        whole_folder(folder, self._write)

    def _write(self, folder: Path) -> None:
        self.lm.save_pretrained(folder)
        self.words.save_pretrained(folder)
        self.ids.save(folder)
        (folder / self.sizes_file).write_text(json.dumps(asdict(self.config), indent=1))

    @classmethod
    def load(cls, folder: str | Path, dtype: torch.dtype = torch.float32) -> Self:
        """What `save` wrote. Raises ValueError for a folder with something else."""
        folder = Path(folder)
        if not (folder / cls.sizes_file).is_file():
            raise ValueError(f"{folder} holds no {cls.called} model; {cls.made_by}")
        try:
            config = cls.sizes(**json.loads((folder / cls.sizes_file).read_text()))
            words = tokenizer_of(folder)
            return cls(backbone(str(folder), dtype), words, IdMap.load(folder, words), config)
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise ValueError(f"{folder} holds a model of {cls.called} that cannot be read: {error}") from error
