"""HuBERT units at 25 Hz and a voice for them, small enough for a test, with random weights; in folders too."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import nn

from duologue.units.clusters import Clusters
from duologue.units.hifigan import HifiGan, HifiGanConfig
from duologue.units.hubert import HubertUnits, HubertUnitsConfig
from duologue.units.hubert_codec import HubertCodec
from duologue.units.hubert_live import HubertLive, Window
from test_hubert import CODES, centres, model

CONFIG = HubertUnitsConfig("nowhere", "nowhere", layer=2, codes=CODES, unit_hz=25.0)
UNIT = 640
"""Samples of a unit."""
VOICE = HifiGanConfig(
    codes=CODES,
    width=6,
    channels=16,
    rates=(8, 8, 10),
    up_taps=(16, 16, 20),
    block_taps=(3,),
    block_dilations=((1, 3),),
    duration_width=None,
)


@lru_cache
def whole() -> HubertUnits:
    return HubertUnits(model(slow=True), Clusters(centres()), CONFIG)


def live(past_units: int = 6, block_units: int = 4, ahead_units: int = 2) -> HubertLive:
    return HubertLive(whole(), Window(past_units, block_units, ahead_units))


@lru_cache
def vocoder(config: HifiGanConfig = VOICE) -> HifiGan:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = HifiGan(config).eval()
        for parameter in made.parameters():
            nn.init.normal_(parameter, std=0.3)
    return made


def codec(ahead_units: int = 2) -> HubertCodec:
    return HubertCodec(live(ahead_units=ahead_units), vocoder())


# ---------------------------------------------------------------- in folders, as they are released


def kept_hubert(folder: Path, width: int | None = None) -> tuple[Path, Path]:
    """HuBERT, and the file of its clusters."""
    model(slow=True).save_pretrained(folder / "hubert")
    np.save(folder / "clusters.npy", (centres() if width is None else centres(width=width)).numpy())
    return folder / "hubert", folder / "clusters.npy"


def kept_voice(folder: Path, config: HifiGanConfig = VOICE) -> Path:
    """fairseq's files."""
    folder.mkdir(parents=True)
    torch.save({"generator": vocoder(config).state_dict()}, folder / "g_00500000")
    fields = {
        "num_embeddings": config.codes,
        "embedding_dim": config.width,
        "upsample_initial_channel": config.channels,
        "upsample_rates": config.rates,
        "upsample_kernel_sizes": config.up_taps,
        "resblock_kernel_sizes": config.block_taps,
        "resblock_dilation_sizes": config.block_dilations,
        "sampling_rate": config.said_hz,
    }
    (folder / "config.json").write_text(json.dumps(fields))
    return folder
