"""HuBERT units: features of a middle layer of HuBERT (Hsu et al. 2021, arXiv 2106.07447), each as its nearest cluster.

The model is transformers' `HubertModel`; its strides say how many units a second there are (50 as published, 25 with
one more). It attends to the whole utterance, so nothing comes out before the last sound went in; `hubert_live` hears
as it comes. Sound longer than a window is heard window by window, each with some sound around it; then units near an
edge can differ from those of one long look.

Letters in shapes: B batch, N samples, T units, D width.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn import functional

from duologue.units.clusters import Clusters, read
from duologue.units.codec import CodecState, UnitEncoder, encode_whole

HEARD_HZ = 16_000
_QUIET = 1e-3
"""Loudness of a quiet room, as standard deviation of its noise."""


@dataclass(frozen=True)
class HubertUnitsConfig:
    """Which units. `source` is a folder or an id on the Hugging Face hub, `clusters` a file that `clusters.read` reads.

    layer       the transformer layer whose output is clustered, counted from 1
    codes       how many clusters there must be; None: as many as there are
    unit_hz     what the strides of the model must come to; None: what they come to
    normalized  whether the model was trained on sound of unit variance (`normalize` in fairseq)
    window_s    the longest sound that is heard at once, and `around_s` what else is heard on both sides of a window
    """

    source: str
    clusters: str
    layer: int = 11
    codes: int | None = None
    unit_hz: float | None = None
    normalized: bool = False
    window_s: float = 60.0
    around_s: float = 5.0


def llama_omni(source: str, clusters: str) -> HubertUnitsConfig:
    """mHuBERT base (`mhubert_base_vp_en_es_fr_it3`), layer 11, km1000; equal neighbours are merged."""
    return HubertUnitsConfig(source, clusters, codes=1000, unit_hz=50.0)


def sync_llm(source: str, clusters: str) -> HubertUnitsConfig:
    """Spirit-LM's HuBERT: 501 units, 25 a second."""
    return HubertUnitsConfig(source, clusters, codes=501, unit_hz=25.0)


def merged(units: Tensor) -> tuple[Tensor, Tensor]:
    """Equal neighbours as one: units [T] → units [T'] and how many each stands for [T']."""
    once, counts = torch.unique_consecutive(units, return_counts=True)
    return once, counts


def commonest_in_quiet(encoder: UnitEncoder) -> tuple[int]:
    """The commonest unit of ten seconds of digital silence and ten of a quiet room."""
    room = torch.randn(10 * encoder.heard_hz, generator=torch.Generator().manual_seed(0)) * _QUIET
    units = encode_whole(encoder, torch.stack([torch.zeros_like(room), room]))
    return (int(units.flatten().mode().values),)


class HubertUnits:
    """A `UnitEncoder` of one book. The model is taken over: its layers behind the clustered one are dropped.

    Raises ValueError where model, clusters and configuration do not belong together.
    """

    heard_hz = HEARD_HZ
    books = 1
    heard_ahead_s = math.inf

    def __init__(self, model: Any, clusters: Clusters, config: HubertUnitsConfig) -> None:
        self.config, self.clusters, self.codes = config, clusters, clusters.codes
        strides, taps = model.config.conv_stride, model.config.conv_kernel
        self._hop_samples = math.prod(map(int, strides))
        self._seen_samples: int = 1 + sum((taps[n] - 1) * math.prod(strides[:n]) for n in range(len(taps)))
        self.unit_hz = HEARD_HZ / self._hop_samples
        self._refuse_strangers(model)
        model.encoder.layers = model.encoder.layers[: config.layer]
        if model.config.do_stable_layer_norm:
            model.encoder.layer_norm = nn.Identity()
        self._model = model.eval()

    def _refuse_strangers(self, model: Any) -> None:
        config, layers, width = self.config, len(model.encoder.layers), model.config.hidden_size
        for fits, there, wanted in (
            (config.codes in (None, self.codes), f"{self.codes} clusters", f"{config.codes}"),
            (
                self.clusters.width == width,
                f"clusters of width {self.clusters.width}",
                f"the model's {width}",
            ),
            (config.unit_hz in (None, self.unit_hz), f"{self.unit_hz:g} units a second", f"{config.unit_hz}"),
            (layers >= config.layer > 0, f"{layers} layers in the model", f"layer {config.layer}"),
        ):
            if not fits:
                raise ValueError(f"{there}, wanted: {wanted}; give a model, clusters and sizes that belong together")

    # ------------------------------------------------------------ the contract

    @cached_property
    def silence(self) -> tuple[int, ...]:
        return commonest_in_quiet(self)

    def start_encoder(self, batch: int) -> CodecState:
        """All sound heard so far: [B, N]."""
        return CodecState([torch.zeros(batch, 0)])

    def encode(self, audio: Tensor, state: CodecState, last: bool = False) -> Tensor:
        """[B, N] → [B, 1, T] with `last`, [B, 1, 0] before. Raises ValueError for sound of another shape."""
        if audio.ndim != 2 or len(audio) != len(state.tensors[0]):
            raise ValueError(f"sound of shape {list(audio.shape)} for {len(state.tensors[0])} rows: give [B, N]")
        heard = torch.cat([state.tensors[0], audio], -1)
        state.tensors[0] = heard[:, :0] if last else heard
        if not last or not heard.shape[-1]:
            return torch.zeros(len(heard), 1, 0, dtype=torch.int64)
        return torch.stack([self.units(row) for row in heard])[:, None]

    # ------------------------------------------------------------ units

    def units(self, audio: Tensor, filled: bool = True) -> Tensor:
        """[N] at 16 kHz → [T], equal neighbours as they are.

        filled   the end is filled up with silence, so that all of the sound has units: T = ceil(N / hop). Else, as the
                 released tools do, what is left behind the last whole look is dropped.
        """
        features = self.features(functional.pad(audio, (0, self._filling(len(audio)) if filled else 0)))
        return self.clusters.nearest(features)

    @torch.no_grad()
    def features(self, audio: Tensor) -> Tensor:
        """[N] at 16 kHz → [T, D], T = (N - look) // hop + 1. Raises ValueError for samples that are no numbers."""
        if audio.ndim != 1 or not audio.isfinite().all():
            raise ValueError(f"sound of shape {list(audio.shape)}: give finite samples, [N]")
        if not self._units_of(len(audio)):
            return torch.zeros(0, self.clusters.width)
        if self.config.normalized:
            audio = functional.layer_norm(audio, audio.shape)
        looks = [self._look(audio, *span) for span in self._windows(self._units_of(len(audio)))]
        return torch.cat(looks)

    def _windows(self, units: int) -> Iterator[tuple[int, int, int, int]]:
        """For each window where it is heard from, where it begins and ends, and where it is heard to, in units."""
        window, around = (round(s * self.unit_hz) for s in (self.config.window_s, self.config.around_s))
        window = units if units <= window + 2 * around else window
        for start in range(0, units, window):
            end = min(start + window, units)
            yield max(0, start - around), start, end, min(end + around, units)

    def _look(self, audio: Tensor, heard_from: int, start: int, end: int, heard_to: int) -> Tensor:
        past_end = (heard_to - 1) * self._hop_samples + self._seen_samples
        if heard_to == self._units_of(len(audio)):
            past_end = len(audio)
        heard = audio[None, heard_from * self._hop_samples : past_end]
        features: Tensor = self._model(heard.to(self._model.device, self._model.dtype)).last_hidden_state[0]
        return features[start - heard_from : end - heard_from].float().cpu()

    def _units_of(self, samples: int) -> int:
        return max(0, (samples - self._seen_samples) // self._hop_samples + 1)

    def _filling(self, samples: int) -> int:
        units = -(-samples // self._hop_samples)
        return max(0, (units - 1) * self._hop_samples + self._seen_samples - samples) if samples else 0


# ---------------------------------------------------------------- weights


def load(config: HubertUnitsConfig, dtype: torch.dtype = torch.float32, device: str = "cpu") -> HubertUnits:
    """The units of a configuration, heard on the device. Raises ValueError where there is no such HuBERT, where its
    weights lack something or it does not fit the clusters; FileNotFoundError where there are no clusters."""
    from transformers import AutoConfig, HubertModel

    clusters = read(config.clusters)
    try:
        kind = AutoConfig.from_pretrained(config.source).model_type
        if kind != "hubert":
            raise ValueError(f"it is a model of type {kind!r}")
        loaded: Any = HubertModel.from_pretrained(config.source, dtype=dtype, output_loading_info=True)
    except (OSError, ValueError, SafetensorError) as error:
        place = "in the folder" if Path(config.source).is_dir() else "as a folder or on the hub"
        raise ValueError(f"no HuBERT {config.source!r} {place}: {error}") from error
    model, report = loaded
    if missing := sorted(report["missing_keys"]):
        raise ValueError(f"the weights of {config.source!r} lack {', '.join(missing[:3])} ({len(missing)} in all)")
    return HubertUnits(model.to(device), clusters, config)
