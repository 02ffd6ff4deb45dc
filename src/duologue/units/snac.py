"""SNAC, a codec whose books come at different rates (Siuzdak et al. 2024, arXiv 2410.14411), as released for 24 kHz.

Sound is encoded to latents, and each level quantises what the levels before it left, averaged over fewer and fewer
latents. Here a unit is as long as the slowest code, so each unit has 1, 2 and 4 codes of the three levels: as seven
books (`flatten`), in the order in which they begin, coarse before fine.

The decoder adds noise that its weights shape: drawn by `noise` from the place in the sound, so that nothing depends on
how the units are cut.

Letters in shapes: B batch, Q books, T units in time, L latents, N samples, D width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from duologue.units.centred import Passage, Signal
from duologue.units.codec import CodecState
from duologue.units.lookahead import FAR_UNITS, LookaheadDecoder
from duologue.units.released import fields_of, fill, folded, found, tensors_of
from duologue.units.snac_layers import Decoder, Encoder, Noise, SeededNoise
from duologue.units.snac_levels import ResidualQuantizer, books_of

AS_TRAINED = SeededNoise(0)
_PIECE_UNITS = 128
"""Long sound is encoded in pieces of this length: memory stays bounded, the codes are the same."""


@dataclass(frozen=True)
class SnacConfig:
    """Sizes under their released names; the defaults are those of `hubertsiuzdak/snac_24khz`."""

    sampling_rate: int = 24_000
    encoder_dim: int = 48
    encoder_rates: tuple[int, ...] = (2, 4, 8, 8)
    decoder_dim: int = 1024
    decoder_rates: tuple[int, ...] = (8, 8, 4, 2)
    codebook_size: int = 4096
    codebook_dim: int = 8
    vq_strides: tuple[int, ...] = (4, 2, 1)
    noise: bool = True
    depthwise: bool = True

    def __post_init__(self) -> None:
        if prod(self.encoder_rates) != prod(self.decoder_rates):
            raise ValueError(f"encoder rates {self.encoder_rates} and decoder rates {self.decoder_rates} do not match")
        if self.vq_strides[-1:] != (1,) or any(a % b for a, b in pairwise(self.vq_strides)):
            raise ValueError(f"strides {self.vq_strides}: each is a multiple of the next, and the last is 1")

    @classmethod
    def read(cls, released: Mapping[str, Any]) -> Self:
        """From the released config.json. Raises ValueError for a codec of another kind."""
        sizes: dict[str, Any] = {
            name: tuple(size) if isinstance(size, list) else size for name, size in released.items()
        }
        if sizes.pop("attn_window_size", None) is not None:
            raise ValueError("a SNAC with attention is of another kind: give the one for 24 kHz")
        latent_dim = sizes.pop("latent_dim", None)
        if unknown := sizes.keys() - {field.name for field in fields(cls)}:
            raise ValueError(f"the configuration of SNAC has unknown fields: {', '.join(sorted(unknown))}")
        config = cls(**sizes)
        if latent_dim not in (None, config.latent_dim):
            raise ValueError(f"latents of width {latent_dim}: those of the SNAC for 24 kHz are as wide as its encoder")
        return config

    @property
    def latent_dim(self) -> int:
        return self.encoder_dim << len(self.encoder_rates)

    @property
    def unit_samples(self) -> int:
        return prod(self.encoder_rates) * self.vq_strides[0]


# ---------------------------------------------------------------- the codec


class Snac(LookaheadDecoder):
    """A `Codec`. `noise` gives the decoder's noise; None decodes without it.

    Its units know what sounds up to `heard_ahead_s` after their end; `forward` is the released decoder over all of it.
    """

    def __init__(
        self,
        config: SnacConfig | None = None,
        noise: Noise | None = AS_TRAINED,
        encoder: nn.Module | None = None,
        decoder: nn.Module | None = None,
    ) -> None:
        """With the released encoder and decoder, or with others of the same rates, made of centred layers."""
        super().__init__()
        self.config = config = config or SnacConfig()
        self.heard_hz = self.said_hz = config.sampling_rate
        self.unit_samples, self.codes = config.unit_samples, config.codebook_size
        self.books = len(books_of(config.vq_strides))
        self.unit_hz = self.heard_hz / self.unit_samples
        self.encoder = encoder or Encoder(config.encoder_dim, config.encoder_rates, config.depthwise)
        self.quantizer = ResidualQuantizer(
            config.latent_dim, config.codebook_size, config.codebook_dim, config.vq_strides
        )
        self.decoder = decoder or Decoder(
            config.latent_dim, config.decoder_dim, config.decoder_rates, config.depthwise, config.noise, noise
        )

    def signal(self, codes: Tensor, passage: Passage) -> Signal:
        """[B, Q, T] → sound [B, 1, T * unit_samples]."""
        return self.sound(self.quantizer.decode(codes), passage)

    def sound(self, latents: Tensor, passage: Passage) -> Signal:
        """[B, D, T * strides[0]] → sound [B, 1, T * unit_samples]."""
        sound: Signal = self.decoder(passage.within(Signal(latents, self.config.vq_strides[0])), passage)
        return sound

    # ------------------------------------------------------------ encoding

    @property
    def heard_ahead_s(self) -> float:
        return self.heard_ahead_units * self.unit_samples / self.heard_hz

    @cached_property
    def silence(self) -> tuple[int, ...]:
        """In each book the commonest code of two seconds of digital silence."""
        quiet = next(self.parameters()).new_zeros(1, 2 * self.heard_hz)
        codes = self.encode(quiet, self.start_encoder(1), last=True)
        return tuple(codes[0].mode(-1).values.tolist())

    @torch.no_grad()
    def start_encoder(self, batch: int) -> CodecState:
        """Sound that is no whole unit yet, units still owed before the first one, and what the layers remember."""
        quiet = next(self.parameters()).new_zeros(batch, self.unit_samples)
        outside = torch.zeros(batch, 1, dtype=torch.bool, device=quiet.device)
        _, remembered = self.latents(quiet, outside, self.heard_ahead_units)
        owed = torch.full_like(remembered[0], self.heard_ahead_units)
        return CodecState([quiet[:, :0], owed, *map(torch.zeros_like, remembered)])

    @torch.no_grad()
    def encode(self, audio: Tensor, state: CodecState, last: bool = False) -> Tensor:
        """[B, N] float32 at `heard_hz` → [B, Q, T], the units whose look-ahead is there too.

        With `last` the rest comes out, filled up with silence, and a new sound may begin. Raises ValueError for sound
        of another shape, and for rows that began at different times while the first units are still owed.
        """
        waiting, owed, *remembered = state.tensors
        if audio.ndim != 2 or len(audio) != len(waiting):
            raise ValueError(f"sound of shape {list(audio.shape)} for {len(waiting)} rows: give [B, N]")
        if len(skipped := set(owed.tolist())) > 1:
            raise ValueError("these rows began at different times: encode them apart until both have given units")
        sound = torch.cat([waiting, audio], -1)
        if last:
            sound = functional.pad(sound, (0, -sound.shape[-1] % self.unit_samples))
        units = sound.shape[-1] // self.unit_samples
        codes, remembered = self._codes(sound[:, : units * self.unit_samples], last, remembered)
        left = [sound[:, units * self.unit_samples :], (owed - codes.shape[-1]).clamp_min(0), *remembered]
        state.tensors[:] = self.start_encoder(len(audio)).tensors if last else left
        return codes[..., skipped.pop() :]

    def _codes(self, sound: Tensor, last: bool, remembered: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """[B, T * unit_samples] → [B, Q, T], later by the units heard ahead; with `last`, so many more."""
        units, after = sound.shape[-1] // self.unit_samples, self.heard_ahead_units * last
        inside = (torch.arange(units + after, device=sound.device) < units).expand(len(sound), -1)
        sound = functional.pad(sound, (0, after * self.unit_samples))
        codes = [torch.zeros(len(sound), self.books, 0, dtype=torch.int64, device=sound.device)]
        for start in range(0, units + after, _PIECE_UNITS):
            piece = slice(start * self.unit_samples, (start + _PIECE_UNITS) * self.unit_samples)
            now = inside[:, start : start + _PIECE_UNITS]
            latents, remembered = self.latents(sound[:, piece], now, self.heard_ahead_units, remembered)
            codes.append(self.quantizer.encode(latents.x))
        return torch.cat(codes, -1), remembered

    @cached_property
    def heard_ahead_units(self) -> int:
        with torch.no_grad():
            unit = next(self.parameters()).new_zeros(1, self.unit_samples)
            inside = torch.ones(1, 1, dtype=torch.bool, device=unit.device)
            latents, _ = self.latents(unit, inside, FAR_UNITS)
        return latents.late // latents.rate

    def latents(
        self, sound: Tensor, inside: Tensor, reach_units: int, remembered: Sequence[Tensor] | None = None
    ) -> tuple[Signal, list[Tensor]]:
        """[B, T * unit_samples] → latents, late by whole units, and what is remembered."""
        passage = Passage(inside, reach_units, remembered)
        latents: Signal = self.encoder(Signal(sound[:, None], self.unit_samples), passage)
        units_late = -(-latents.late // latents.rate)
        return passage.later(latents, units_late * latents.rate), passage.remembered


# ---------------------------------------------------------------- weights


def load(source: str | Path, noise: Noise | None = AS_TRAINED) -> Snac:
    """The codec of a folder, or of an id on the Hugging Face hub (`hubertsiuzdak/snac_24khz`), in evaluation mode.

    It has config.json and pytorch_model.bin, of which nothing is run. Raises FileNotFoundError; ValueError for another
    kind of codec, or where weights are missing, too many or of another shape.
    """
    codec = Snac(SnacConfig.read(fields_of(found(source, "config.json"))), noise)
    weights = found(source, "pytorch_model.bin")
    fill(codec, folded(tensors_of(weights)), str(weights))
    return codec.eval()
