"""CosyVoice's own tokenizers, S3 v1, v2 and v3, by the package `s3tokenizer` (Apache-2.0), behind the same contract.

They attend to the whole utterance, so nothing comes out before the last sound went in. Weights come from ModelScope
at the first use, or lie in `folder`. Their decoder is CosyVoice's flow and vocoder.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from duologue.units.codec import CodecState

_N_MELS = 128
_HEARD_HZ = 16_000


class UnitsError(RuntimeError):
    """Units that cannot be had. The message names the thing, says what is wrong and what to do."""


@dataclass(frozen=True)
class S3Version:
    """Units a second, and size of the book."""

    unit_hz: float
    codes: int


VERSIONS = {
    "speech_tokenizer_v1": S3Version(50.0, 4096),
    "speech_tokenizer_v1_25hz": S3Version(25.0, 4096),
    "speech_tokenizer_v2_25hz": S3Version(25.0, 3**8),
    "speech_tokenizer_v3_25hz": S3Version(25.0, 3**8),
}


class S3Encoder:
    """A `UnitEncoder` by a name of VERSIONS. Raises UnitsError where the package or its weights are not to be had."""

    heard_hz = _HEARD_HZ
    books = 1
    heard_ahead_s = math.inf

    def __init__(self, name: str = "speech_tokenizer_v2_25hz", folder: str | Path | None = None) -> None:
        if name not in VERSIONS:
            raise UnitsError(f"there is no S3 tokenizer {name!r}; choose one of: {', '.join(VERSIONS)}")
        self.unit_hz, self.codes = VERSIONS[name].unit_hz, VERSIONS[name].codes
        self._package = _package()
        self._model = _loaded(self._package, name, folder)

    @cached_property
    def silence(self) -> tuple[int, ...]:
        """The commonest unit of two seconds of digital silence."""
        return (int(self._units(torch.zeros(2 * _HEARD_HZ)).mode().values),)

    def start_encoder(self, batch: int) -> CodecState:
        """All sound heard so far: [B, N]."""
        return CodecState([torch.zeros(batch, 0)])

    def encode(self, audio: Tensor, state: CodecState, last: bool = False) -> Tensor:
        """[B, N] → [B, 1, T] with `last`, [B, 1, 0] before."""
        state.tensors[0] = heard = torch.cat([state.tensors[0], audio], -1)
        if not last or not heard.shape[-1]:
            return torch.zeros(len(heard), 1, 0, dtype=torch.int64)
        state.tensors[0] = heard[:, :0]
        return torch.stack([self._units(row) for row in heard])[:, None]

    def _units(self, audio: Tensor) -> Tensor:
        """[N] → [T]."""
        mel = self._package.log_mel_spectrogram(audio, n_mels=_N_MELS)
        codes, lengths = self._model.quantize(mel[None], torch.tensor([mel.shape[-1]]))
        units: Tensor = codes[0, : int(lengths[0])].long()
        return units


def _package() -> Any:
    try:
        import s3tokenizer
    except ImportError as error:
        raise UnitsError(f"S3 units need the package s3tokenizer ({error}); pip install s3tokenizer") from error
    return s3tokenizer


def _loaded(package: Any, name: str, folder: str | Path | None) -> Any:
    try:
        return package.load_model(name, str(folder) if folder else None).eval()
    except (OSError, RuntimeError) as error:
        raise UnitsError(
            f"no weights of {name} ({error}); put {name}.onnx of CosyVoice into a folder and give it as `folder`, "
            "or allow the download from modelscope.cn"
        ) from error
