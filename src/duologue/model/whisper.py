"""Whisper's encoder as ears (Radford et al. 2022, arXiv 2212.04356): 50 features a second, from the transformers class.

It hears windows of 30 s. Shorter sound is filled up with silence; what is done with longer sound is said openly by
`beyond`. It hears each window for itself, so a word on the edge of two is heard in two halves.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from transformers import WhisperConfig
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from duologue.model.weights import fill, stored
from duologue.sound import Audio
from duologue.sound.mel import MEL_HZ, whisper_log_mel

_MEL_SAMPLES = MEL_HZ // 100
_PER_FEATURE = 2
"""Mel frames of a feature."""

Length = Literal["padded", "true"]
"""What is kept of a window that was filled up with silence: all of it, or the features of the sound."""
Beyond = Literal["windows", "cut"]
"""Sound that is longer than a window: heard window by window, or cut, as the first systems with Whisper did."""


@dataclass(frozen=True)
class WhisperSizes:
    n_mels: int
    positions: int
    width: int
    heads: int
    layers: int

    @property
    def window_s(self) -> float:
        return self.positions * _PER_FEATURE / 100


LARGE_V3 = WhisperSizes(128, 1500, 1280, 20, 32)
SMALL = WhisperSizes(80, 1500, 768, 12, 12)


class Whisper(nn.Module):
    """`Ears`. Without released weights it hears nothing yet."""

    hz = 50.0

    def __init__(
        self,
        sizes: WhisperSizes = LARGE_V3,
        length: Length = "true",
        beyond: Beyond = "windows",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.sizes, self.length, self.beyond = sizes, length, beyond
        self.encoder = WhisperEncoder(_config(sizes)).to(dtype)

    @property
    def width(self) -> int:
        return self.sizes.width

    def forward(self, mel: Tensor) -> Tensor:
        """Log-mel of whole windows [B, 2 * positions, n_mels] → features [B, positions, D]."""
        features: Tensor = self.encoder(mel.mT.to(self.encoder.dtype)).last_hidden_state
        return features

    def fewest(self, samples: int) -> int:
        """Features of so many samples at 16 kHz: always as many."""
        window = round(self.sizes.window_s * MEL_HZ)
        heard = samples if self.beyond == "windows" else min(samples, window)
        return true_features(heard) if self.length == "true" else -(-heard // window) * self.sizes.positions

    @torch.no_grad()
    def features(self, audio: Audio) -> Tensor:
        """audio [N] at 16 kHz → [T, D]. Raises ValueError for no sound, and for samples that are no numbers."""
        audio = _sound(audio)
        samples = round(self.sizes.window_s * MEL_HZ)
        starts = range(0, len(audio) if self.beyond == "windows" else 1, samples)
        return torch.cat([self._window(audio[start : start + samples]) for start in starts])

    def _window(self, audio: Audio) -> Tensor:
        mel = torch.from_numpy(whisper_log_mel(audio, self.sizes.n_mels, self.sizes.window_s))
        features: Tensor = self(mel[None].to(self.encoder.device))[0]
        return features if self.length == "padded" else features[: true_features(len(audio))]


def true_features(samples: int) -> int:
    """Features of so many samples at 16 kHz: one for each 20 ms that has begun."""
    return -(-samples // (_MEL_SAMPLES * _PER_FEATURE))


def _sound(audio: Audio) -> Audio:
    audio = np.asarray(audio, np.float32)
    if audio.ndim != 1 or not len(audio):
        raise ValueError(f"sound of shape {list(audio.shape)}: give one channel of at least one sample, [N] at 16 kHz")
    if not np.isfinite(audio).all():
        raise ValueError("sound with samples that are no finite numbers: give float samples in [-1, 1]")
    return audio


def _config(sizes: WhisperSizes) -> Any:
    return WhisperConfig(
        num_mel_bins=sizes.n_mels,
        max_source_positions=sizes.positions,
        d_model=sizes.width,
        encoder_attention_heads=sizes.heads,
        encoder_layers=sizes.layers,
        encoder_ffn_dim=4 * sizes.width,
    )


# ---------------------------------------------------------------- released weights


def load(
    source: str | Path,
    sizes: WhisperSizes,
    length: Length = "true",
    beyond: Beyond = "windows",
    dtype: torch.dtype = torch.float32,
) -> Whisper:
    """The encoder of a released Whisper: OpenAI's file, or a folder or hub id of transformers. Raises WeightsError."""
    tensors = stored(source, inside="model_state_dict")
    tensors = {name: tensor for name, tensor in tensors.items() if re.match(r"(model\.)?encoder\.", name)}
    ears, before = (
        Whisper(sizes, length, beyond, dtype),
        "model." if "model.encoder.conv1.weight" in tensors else "",
    )
    theirs = "encoder.positional_embedding" in tensors
    fill(ears, tensors, source, _openai if theirs else lambda name: before + name)
    return ears.eval()


_OPENAI = {
    "layers.": "blocks.",
    "self_attn_layer_norm": "attn_ln",
    "final_layer_norm": "mlp_ln",
    "self_attn.q_proj": "attn.query",
    "self_attn.k_proj": "attn.key",
    "self_attn.v_proj": "attn.value",
    "self_attn.out_proj": "attn.out",
    "fc1": "mlp.0",
    "fc2": "mlp.2",
    "embed_positions.weight": "positional_embedding",
}


def openai_name(name: str) -> str:
    """What OpenAI's checkpoints call a parameter of transformers' encoder, both without what comes before."""
    if name.startswith("layer_norm."):
        return name.replace("layer_norm", "ln_post")
    return re.sub("|".join(map(re.escape, _OPENAI)), lambda match: _OPENAI[match[0]], name)


def _openai(name: str) -> str:
    return f"encoder.{openai_name(name.removeprefix('encoder.'))}"
