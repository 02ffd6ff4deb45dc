"""Whose voice a detokenizer speaks in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from duologue.units.flow import FlowConfig
from duologue.units.released import tensors_of


@dataclass(frozen=True)
class Voice:
    """vector [192] of a speaker recogniser. A sample makes the voice more alike: its units [T] and its mel [M, F].

    Raises ValueError where the sample is not whole.
    """

    vector: Tensor
    codes: Tensor | None = None
    mel: Tensor | None = None

    def __post_init__(self) -> None:
        if self.vector.ndim != 1:
            raise ValueError(f"a voice's vector of shape {list(self.vector.shape)}: give one row, [192]")
        if (self.codes is None) != (self.mel is None):
            raise ValueError("a sample of a voice is its units and its mel: give both, or none")

    @classmethod
    def read(cls, path: str | Path, name: str) -> Voice:
        """A speaker's vector out of `spk2info.pt`, as released beside CosyVoice and Fun-Audio-Chat ("中文女").

        Raises FileNotFoundError, and ValueError where there is no such speaker.
        """
        stored = tensors_of(path, name)
        if "embedding" not in stored:
            raise ValueError(f"{path}: no vector of a speaker {name!r}; give a file of speakers, and one of its names")
        return cls(stored["embedding"].float().flatten())

    def to(self, device: torch.device) -> Voice:
        codes, mel = (None if part is None else part.to(device) for part in (self.codes, self.mel))
        return Voice(self.vector.to(device), codes, mel)

    def check(self, flow: FlowConfig) -> None:
        """Raises ValueError where the flow cannot speak in this voice."""
        if len(self.vector) != flow.speaker_width:
            raise ValueError(f"a voice's vector of {len(self.vector)}: the flow takes {flow.speaker_width}")
        if self.codes is None or self.mel is None:
            return
        if self.mel.shape != (size := (flow.dit.mel_bands, flow.unit_frames * len(self.codes))):
            raise ValueError(f"a sample of {len(self.codes)} units has a mel of {size}, not {tuple(self.mel.shape)}")
        if len(self.codes) and not 0 <= int(self.codes.min()) <= int(self.codes.max()) < flow.codes:
            raise ValueError(f"units of a voice's sample are 0 to {flow.codes - 1}: take special ids out")

    @property
    def sample_frames(self) -> int:
        return 0 if self.mel is None else self.mel.shape[-1]
