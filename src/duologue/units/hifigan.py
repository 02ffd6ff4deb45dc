"""Unit HiFi-GAN: the vocoder of fairseq that makes speech of HuBERT units (Polyak et al. 2021, arXiv 2104.00355, after
Kong et al. 2020, arXiv 2010.05646).

A unit is embedded, transposed convolutions stretch it to samples, and after each of them blocks of several widths are
averaged. Where equal neighbours among the units were merged, a small predictor says how many frames each unit lasts;
`hifigan_voice` speaks such units.

Letters in shapes: B batch, T units, F frames (units with their durations), N samples, D width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from duologue.units.centred import Conv, Passage, Signal, UpConv
from duologue.units.lookahead import NOTHING, LookaheadDecoder
from duologue.units.released import fields_of, fill, folded, tensors_of

DURATION_REACH_UNITS = 2
"""Units on each side that bear on a unit's duration."""
_DURATION_TAPS = 3
_WEIGHTS = ("g_*", "*.pt", "*.bin", "*.safetensors")
"""How files of a vocoder's weights are called."""
_INNER = partial(functional.leaky_relu, negative_slope=0.1)
_LAST = partial(functional.leaky_relu, negative_slope=0.01)


@dataclass(frozen=True)
class HifiGanConfig:
    """Sizes; the defaults are those of the released `mhubert_vp_en_es_fr_it3_400k_layer11_km1000_lj`."""

    codes: int = 1000
    width: int = 128
    channels: int = 512
    rates: tuple[int, ...] = (5, 4, 4, 2, 2)
    up_taps: tuple[int, ...] = (11, 8, 8, 4, 4)
    block_taps: tuple[int, ...] = (3, 7, 11)
    block_dilations: tuple[tuple[int, ...], ...] = ((1, 3, 5),) * 3
    duration_width: int | None = 128
    """Width of the duration predictor; None where the vocoder has none."""
    said_hz: int = 16_000

    @classmethod
    def read(cls, fields: Mapping[str, Any]) -> Self:
        """From fairseq's configuration. Raises ValueError for a vocoder of another kind."""
        for switch in ("multispkr", "multistyle", "f0"):
            if fields.get(switch):
                raise ValueError(f"a vocoder with {switch!r} is of another kind: give one of units alone")
        if str(fields.get("resblock", "1")) != "1":
            raise ValueError(f"residual blocks of type {fields['resblock']!r} are not known: give a vocoder of type 1")
        durations = fields.get("dur_predictor_params") or {}
        if durations.get("var_pred_kernel_size", _DURATION_TAPS) != _DURATION_TAPS:
            raise ValueError(f"a duration predictor has {_DURATION_TAPS} taps, not {durations['var_pred_kernel_size']}")
        try:
            return cls(
                codes=fields["num_embeddings"],
                width=fields["embedding_dim"],
                channels=fields["upsample_initial_channel"],
                rates=tuple(fields["upsample_rates"]),
                up_taps=tuple(fields["upsample_kernel_sizes"]),
                block_taps=tuple(fields["resblock_kernel_sizes"]),
                block_dilations=tuple(tuple(each) for each in fields["resblock_dilation_sizes"]),
                duration_width=durations.get("var_pred_hidden_dim"),
                said_hz=fields["sampling_rate"],
            )
        except KeyError as error:
            raise ValueError(f"no {error} in the configuration of the vocoder: give fairseq's config.json") from error


# ---------------------------------------------------------------- parts


class ResBlock(nn.Module):
    """Pairs of convolutions, the first of each pair dilated, around which the signal passes."""

    def __init__(self, width: int, taps: int, dilations: Sequence[int]) -> None:
        super().__init__()
        self.convs1 = nn.ModuleList(_conv(width, width, taps, dilation) for dilation in dilations)
        self.convs2 = nn.ModuleList(_conv(width, width, taps) for _ in dilations)

    def forward(self, signal: Signal, passage: Passage) -> Signal:
        for wide, narrow in zip(self.convs1, self.convs2, strict=True):
            y = narrow(wide(signal.map(_INNER), passage).map(_INNER), passage)
            signal = passage.added([signal, y])
        return signal


class DurationPredictor(nn.Module):
    """How long each unit lasts, from its neighbours: embedded units [B, D, T] → log(1 + frames) [B, 1, T]."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(_conv(width, hidden, _DURATION_TAPS))
        self.ln1 = nn.LayerNorm(hidden)
        self.conv2 = nn.Sequential(_conv(hidden, hidden, _DURATION_TAPS))
        self.ln2 = nn.LayerNorm(hidden)
        self.proj = nn.Linear(hidden, 1)

    def forward(self, signal: Signal, passage: Passage) -> Signal:
        for conv, norm in ((self.conv1[0], self.ln1), (self.conv2[0], self.ln2)):
            signal = passage.within(conv(signal, passage).map(lambda x, norm=norm: norm(x.relu().mT).mT))
        return signal.map(lambda x: self.proj(x.mT).mT)


def _conv(inputs: int, outputs: int, taps: int, dilation: int = 1) -> Conv:
    return Conv(inputs, outputs, taps, padding=dilation * (taps - 1) // 2, dilation=dilation)


# ---------------------------------------------------------------- the vocoder


class HifiGan(LookaheadDecoder):
    """A `UnitDecoder` of one book; each code is one frame of sound."""

    books = 1

    def __init__(self, config: HifiGanConfig | None = None, silence: tuple[int, ...] = (NOTHING,)) -> None:
        super().__init__()
        self.config, self.silence = (config := config or HifiGanConfig()), silence
        self.said_hz, self.codes, self.unit_samples = config.said_hz, config.codes, prod(config.rates)
        self.dict = nn.Embedding(config.codes, config.width)
        self.dur_predictor = None
        if config.duration_width is not None:
            self.dur_predictor = DurationPredictor(config.width, config.duration_width)
        self.conv_pre = _conv(config.width, config.channels, 7)
        widths = [config.channels >> stage for stage in range(len(config.rates) + 1)]
        self.ups = nn.ModuleList(
            UpConv(widths[stage], widths[stage + 1], taps, rate, (taps - rate) // 2)
            for stage, (rate, taps) in enumerate(zip(config.rates, config.up_taps, strict=True))
        )
        kinds = list(zip(config.block_taps, config.block_dilations, strict=True))
        self.resblocks = nn.ModuleList(
            ResBlock(width, taps, dilations) for width in widths[1:] for taps, dilations in kinds
        )
        self.conv_post = _conv(widths[-1], 1, 7)

    def signal(self, codes: Tensor, passage: Passage) -> Signal:
        """[B, 1, F] → sound [B, 1, F * unit_samples]."""
        kinds = len(self.config.block_taps)
        signal = self.conv_pre(self.embedded(codes[:, 0], passage), passage)
        for stage, up in enumerate(self.ups):
            signal = up(signal.map(_INNER), passage)
            blocks = self.resblocks[stage * kinds : (stage + 1) * kinds]
            signal = passage.added([block(signal, passage) for block in blocks]).map(lambda x: x / kinds)
        sound: Signal = self.conv_post(signal.map(_LAST), passage)
        return sound.map(torch.tanh)

    def embedded(self, codes: Tensor, passage: Passage) -> Signal:
        """[B, T] → [B, D, T]."""
        return passage.within(Signal(self.dict(codes).mT))


def load(weights: str | Path, config: str | Path) -> HifiGan:
    """A vocoder that fairseq released: its pickle (`{"generator": …}`) or the same tensors as safetensors, and its
    config.json. Nothing of the pickle is run.

    Raises FileNotFoundError; ValueError for another kind of vocoder, or where weights are missing, too many or of
    another shape.
    """
    vocoder = HifiGan(HifiGanConfig.read(fields_of(config)))
    fill(vocoder, folded(tensors_of(weights, inside="generator")), str(weights))
    return vocoder.eval()


def of_folder(folder: str | Path) -> HifiGan:
    """A vocoder out of a folder with its config.json and one file of weights. Raises as `load`; FileNotFoundError where
    there is none of them, ValueError where there are several."""
    weights = sorted(path for kind in _WEIGHTS for path in Path(folder).glob(kind))
    if not weights or not (Path(folder) / "config.json").is_file():
        raise FileNotFoundError(f"{folder} holds no unit HiFi-GAN: give a folder with its config.json and its weights")
    if len(weights) > 1:
        names = ", ".join(path.name for path in weights)
        raise ValueError(f"{folder} holds several files of weights ({names}): leave one of them there")
    return load(weights[0], Path(folder) / "config.json")
