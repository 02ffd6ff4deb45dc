"""HuBERT units that one can talk with: heard live, spoken by a unit HiFi-GAN; and what a model's folder says of them.

    keep(folder, HubertCodecConfig(hubert.sync_llm("hubert", "km501.npy"), Window(), voice="vocoder"))
    codec = load(folder)

Of HuBERT and of the vocoder the folder says where they are; the centres of the clusters, which tell what the units are,
lie in it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from duologue.units import clusters, hifigan, hubert
from duologue.units.codec import CodecState
from duologue.units.hifigan import HifiGan
from duologue.units.hubert import HubertUnitsConfig
from duologue.units.hubert_live import HubertLive, Window
from duologue.whole import whole_file

UNITS, CLUSTERS = "hubert_units.json", "hubert_clusters.safetensors"
"""In the folder of a model: which units it has, and the centres of their clusters."""


@dataclass(frozen=True)
class HubertCodecConfig:
    """Which HuBERT, how it is heard live, and the folder of its voice (`hifigan.of_folder`), where it has one."""

    hubert: HubertUnitsConfig
    window: Window
    voice: str | None = None

    def encoder(self, device: str = "cpu") -> HubertLive:
        """Raises as `hubert.load`."""
        return HubertLive(hubert.load(self.hubert, device=device), self.window)


class HubertCodec:
    """A `Codec` of one book: any voice in, the vocoder's voice out."""

    books = 1

    def __init__(self, encoder: HubertLive, vocoder: HifiGan, silence: tuple[int, ...] | None = None) -> None:
        """`silence` is the encoder's where it is None. Raises ValueError where the two have other units."""
        theirs = vocoder.codes, vocoder.said_hz / vocoder.unit_samples
        if theirs != (encoder.codes, encoder.unit_hz):
            raise ValueError(
                f"the voice has {theirs[0]} units, {theirs[1]:g} a second, HuBERT {encoder.codes}, {encoder.unit_hz:g} "
                "a second: give a unit HiFi-GAN that was trained with these units"
            )
        self.encoder, self.vocoder = encoder, vocoder
        self.heard_hz, self.said_hz = encoder.heard_hz, vocoder.said_hz
        self.unit_hz, self.codes, self.heard_ahead_s = encoder.unit_hz, encoder.codes, encoder.heard_ahead_s
        self.unit_samples, self.ahead_units = vocoder.unit_samples, vocoder.ahead_units
        self.silence = encoder.silence if silence is None else silence

    def start_encoder(self, batch: int) -> CodecState:
        return self.encoder.start_encoder(batch)

    def encode(self, audio: Tensor, state: CodecState, last: bool = False) -> Tensor:
        return self.encoder.encode(audio, state, last)

    def start_decoder(self, batch: int) -> CodecState:
        return self.vocoder.start_decoder(batch)

    def decode(self, codes: Tensor, state: CodecState) -> Tensor:
        """Each unit is one frame of the vocoder's: no durations are predicted, the clock tells them."""
        return self.vocoder.decode(codes, state)


# ---------------------------------------------------------------- in a folder


def keep(folder: str | Path, config: HubertCodecConfig, silence: tuple[int, ...]) -> None:
    """Write into a model's folder which units it has. Folders are named from the root on."""
    from safetensors.torch import save as as_bytes

    folder = Path(folder)
    centres = clusters.read(config.hubert.clusters).centres
    whole_file(folder / CLUSTERS, lambda file: file.write(as_bytes({"centroids": centres.contiguous()})))
    theirs = replace(config.hubert, source=_rooted(config.hubert.source), clusters=CLUSTERS)
    kept = replace(config, hubert=theirs, voice=config.voice and _rooted(config.voice))
    lines = json.dumps(asdict(kept) | {"silence": silence}, indent=1).encode()
    whole_file(folder / UNITS, lambda file: file.write(lines))


def _rooted(place: str) -> str:
    """An id on the hub stays as it is."""
    return str(Path(place).resolve()) if Path(place).exists() else place


def load(folder: str | Path, voice: str | Path | None = None) -> HubertCodec:
    """What `keep` wrote, with another voice where one is given.

    Raises ValueError where the folder does not say it, where there is no voice, or where HuBERT, clusters and voice do
    not belong together; FileNotFoundError.
    """
    folder = Path(folder)
    try:
        fields = json.loads((folder / UNITS).read_text())
        theirs = replace(HubertUnitsConfig(**fields["hubert"]), clusters=str(folder / CLUSTERS))
        config = HubertCodecConfig(theirs, Window(**fields["window"]), fields["voice"])
        silence = tuple(fields["silence"])
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{folder / UNITS} does not say which units these are ({error!r}); train again") from error
    if (spoken := voice or config.voice) is None:
        raise ValueError(
            f"{folder} has no voice: give --voice, the folder of a unit HiFi-GAN that was trained with the units of "
            f"{theirs.source}"
        )
    with torch.no_grad():
        return HubertCodec(config.encoder(), hifigan.of_folder(spoken), silence)
