"""CosyVoice 3's vocoder, a causal HiFT: from mel to sound, by a source and an inverse Fourier transform.

The mel is made 120 times as dense; on the way it meets the spectrum of the source (`harmonics.py`). At each step of
four samples a magnitude and a phase come out, and overlapping transforms add up to the sound. Sound waits for a little
more than four frames of mel; then it never changes.

After HiFTNet (Li et al. 2023, arXiv 2309.09493) and iSTFTNet (Kaneko et al. 2022, arXiv 2203.02395); every layer is
causal. Layers have the names of the released weights, whose weight norm is multiplied out.

Letters in shapes: B batch, M mel bands, F frames at 50 Hz, N samples at 24 kHz, D width, K bins of a spectrum.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from operator import mul
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from duologue.units.centred import Conv, Passage, Signal
from duologue.units.harmonics import Pitch, Source
from duologue.units.released import folded
from duologue.units.residual import Residual, UpConv

_LOUDEST = 100.0
_REACH_FRAMES = 6
"""More frames than any layer is late."""


@dataclass(frozen=True)
class HiFTConfig:
    """Sizes, as released."""

    mel_bands: int = 80
    width: int = 512
    hz: int = 24_000
    overtones: int = 8
    loudness: float = 0.1
    breath: float = 0.003
    voiced_hz: float = 10
    up_rates: tuple[int, ...] = (8, 5, 3)
    up_taps: tuple[int, ...] = (16, 11, 7)
    window_samples: int = 16
    hop_samples: int = 4
    taps: tuple[int, ...] = (3, 7, 11)
    dilations: tuple[tuple[int, ...], ...] = ((1, 3, 5), (1, 3, 5), (1, 3, 5))
    source_taps: tuple[int, ...] = (7, 7, 11)
    source_dilations: tuple[tuple[int, ...], ...] = ((1, 3, 5), (1, 3, 5), (1, 3, 5))
    slope: float = 0.1
    limit: float = 0.99
    ahead_frames: int = 4
    pitch_width: int = 512

    @property
    def frame_samples(self) -> int:
        return math.prod(self.up_rates) * self.hop_samples

    @classmethod
    def read(cls, fields: Mapping[str, Any]) -> HiFTConfig:
        """Of the fields under "hift" that the released configuration has. Raises ValueError naming one that lacks."""
        names = (
            "in_channels base_channels sampling_rate nb_harmonics nsf_alpha nsf_sigma nsf_voiced_threshold "
            "upsample_rates upsample_kernel_sizes"
        ).split()
        blocks = (
            "resblock_kernel_sizes resblock_dilation_sizes source_resblock_kernel_sizes "
            "source_resblock_dilation_sizes lrelu_slope audio_limit conv_pre_look_right"
        ).split()
        try:
            transform = (fields["istft_params"]["n_fft"], fields["istft_params"]["hop_len"])
            pitch_width = fields["f0_predictor"]["cond_channels"]
            values = [
                *(fields[name] for name in names),
                *transform,
                *(fields[name] for name in blocks),
                pitch_width,
            ]
        except KeyError as lacking:
            raise ValueError(f"the configuration of the vocoder lacks {lacking}") from lacking
        return cls(*map(_frozen, values))


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


class HiFT(nn.Module):
    window: Tensor

    def __init__(self, config: HiFTConfig | None = None) -> None:
        super().__init__()
        self.config = c = config or HiFTConfig()
        widths = [c.width // 2**stage for stage in range(len(c.up_rates) + 1)]
        bins = c.window_samples + 2
        self.m_source = Source(c.hz, c.frame_samples, c.overtones, c.loudness, c.breath, c.voiced_hz)
        self.f0_predictor = Pitch(c.mel_bands, c.pitch_width)
        self.conv_pre = Conv(c.mel_bands, c.width, c.ahead_frames + 1)
        self.ups = nn.ModuleList(map(UpConv, widths, widths[1:], c.up_taps, c.up_rates))
        thinned = list(accumulate((1, *c.up_rates[:0:-1]), mul))[::-1]
        self.source_downs = nn.ModuleList(
            Conv(bins, width, 2 * rate if rate > 1 else 1, rate, padding=rate - 1)
            for rate, width in zip(thinned, widths[1:], strict=True)
        )
        self.source_resblocks = nn.ModuleList(map(Residual, widths[1:], c.source_taps, c.source_dilations))
        self.resblocks = nn.ModuleList(
            Residual(width, taps, dilations)
            for width in widths[1:]
            for taps, dilations in zip(c.taps, c.dilations, strict=True)
        )
        self.conv_post = Conv(widths[-1], bins, 7, padding=6)
        self.register_buffer("window", torch.hann_window(c.window_samples), persistent=False)

    @property
    def late_samples(self) -> int:
        """How far `late` is behind: the frames that are looked ahead at, and half a window."""
        c = self.config
        return c.ahead_frames * c.frame_samples + c.window_samples - c.hop_samples

    def start(self, batch: int) -> list[Tensor]:
        """What `late` remembers before the first frame; the batch is the first axis of each tensor."""
        mel = self.window.new_zeros(batch, self.config.mel_bands, 1)
        with torch.no_grad():
            _, after = self.late(mel, torch.ones(batch, 1, dtype=torch.bool, device=mel.device), None)
        return [torch.zeros_like(tensor) for tensor in after]

    @torch.no_grad()
    def forward(self, mel: Tensor) -> Tensor:
        """All at once: [B, M, F] → [B, F * frame_samples]."""
        more = -(-self.late_samples // self.config.frame_samples)
        inside = functional.pad(torch.ones_like(mel[:, 0], dtype=torch.bool), (0, more))
        sound, _ = self.late(functional.pad(mel, (0, more)), inside, None)
        return sound[:, self.late_samples :][:, : mel.shape[-1] * self.config.frame_samples]

    def late(self, mel: Tensor, inside: Tensor, past: Sequence[Tensor] | None) -> tuple[Tensor, list[Tensor]]:
        """[B, M, F] → the sound `late_samples` later, [B, F * frame_samples], and what is remembered.

        inside   [B, F] bool: False for frames behind a row's end, which are fed as zeros
        """
        begun, turned, *layers = past or self._begin(len(mel))
        total = begun + inside.sum(-1)
        passage = Passage(torch.ones_like(inside), _REACH_FRAMES, layers or None)
        heard = Signal(mel)
        source, turned = self.m_source(self.f0_predictor(heard, passage), turned, passage)
        spectrum = self._spectrum(source, total, passage)
        x = self.conv_pre(heard, passage)
        for stage, up in enumerate(self.ups):
            x = up(x.map(self._leaky), passage)
            if stage == len(self.ups) - 1:
                x = _begun_with_its_second(x, passage)
            driven = self.source_resblocks[stage](self.source_downs[stage](spectrum, passage), passage)
            x = self._averaged(passage.added([x, driven]), stage, passage)
        sound = self._sound(self.conv_post(x.map(functional.leaky_relu), passage), total, passage)
        return sound, [total, turned, *passage.remembered]

    # ------------------------------------------------------------ steps

    def _begin(self, batch: int) -> list[Tensor]:
        total = torch.zeros(batch, dtype=torch.int64, device=self.window.device)
        return [total, torch.zeros(batch, self.m_source.harmonics, dtype=torch.float64, device=total.device)]

    def _leaky(self, x: Tensor) -> Tensor:
        return functional.leaky_relu(x, self.config.slope)

    def _averaged(self, x: Signal, stage: int, passage: Passage) -> Signal:
        blocks = self.resblocks[stage * len(self.config.taps) :][: len(self.config.taps)]
        return passage.added([block(x, passage) for block in blocks]).map(lambda y: y / len(blocks))

    def _spectrum(self, source: Signal, total: Tensor, passage: Passage) -> Signal:
        """Real and imaginary parts of windows around every fourth sample: [B, 1, N] → [B, 2 K, N / 4]. Outside of
        the sound is its mirror image."""
        c, rate = self.config, self.config.frame_samples
        more = c.window_samples - c.hop_samples
        seen = Signal(passage.seen(source.x, more), rate, source.late + more)
        place, here = passage.place(seen), torch.arange(seen.x.shape[-1], device=total.device)
        beyond = (place - total[:, None] * rate + 1).clamp_min(0)
        mirrored = (here - 2 * place.clamp_max(0) - 2 * beyond).clamp(0, len(here) - 1)
        windows = seen.x[:, 0].gather(1, mirrored).unfold(-1, c.window_samples, c.hop_samples) * self.window
        spectrum = torch.fft.rfft(windows)
        late = (source.late + more - c.window_samples // 2) // c.hop_samples
        parts = torch.cat([spectrum.real, spectrum.imag], -1).mT
        return passage.within(Signal(parts, rate // c.hop_samples, late))

    def _sound(self, x: Signal, total: Tensor, passage: Passage) -> Tensor:
        """[B, 2 K, windows] → [B, N]: windows added up where they overlap, and divided by how much they overlap."""
        c, size = self.config, self.config.window_samples
        loud, angle = x.x.mT.chunk(2, -1)
        frames = torch.fft.irfft(torch.polar(loud.exp().clamp_max(_LOUDEST), angle.sin()), n=size) * self.window
        place = passage.place(x)[..., None]
        there = (place >= 0) & (place <= total[:, None, None] * x.rate)
        weights = self.window.square().expand_as(frames)
        overlapping = passage.seen((torch.cat([frames, weights], -1) * there).mT, size // c.hop_samples - 1)
        added, weight = (self._folded(part)[:, size - c.hop_samples :] for part in overlapping.chunk(2, 1))
        sound = (added / weight.clamp_min(torch.finfo(weight.dtype).tiny))[:, : x.x.shape[-1] * c.hop_samples]
        place = passage.place(Signal(sound, c.frame_samples, self.late_samples))
        inside = (place >= 0) & (place < total[:, None] * c.frame_samples)
        return sound.clamp(-c.limit, c.limit) * inside

    def _folded(self, frames: Tensor) -> Tensor:
        """[B, window, windows] → [B, samples]."""
        hop, size = self.config.hop_samples, self.config.window_samples
        samples = (frames.shape[-1] - 1) * hop + size
        return functional.fold(frames, (1, samples), (1, size), stride=(1, hop)).flatten(1)


def _begun_with_its_second(x: Signal, passage: Passage) -> Signal:
    """One sample longer at its beginning, where the second one stands: windows are one more than steps."""
    seen = passage.seen(x.x, 2)
    samples = x.x.shape[-1]
    longer = Signal(seen[..., :samples], x.rate, x.late + 1)
    first = (passage.place(longer) == 0)[:, None]
    return passage.within(Signal(torch.where(first, seen[..., 2:], longer.x), x.rate, longer.late))


# ---------------------------------------------------------------- released weights


def named_here(released: dict[str, Tensor]) -> dict[str, Tensor]:
    """Under the names that they have here, with weight norm multiplied out; those of the pitch in double precision."""
    named = {name.removeprefix("generator."): tensor for name, tensor in released.items()}
    return folded({name: t.double() if name.startswith("f0_predictor.") else t for name, t in named.items()})
