"""CosyVoice 3's flow: from units to the mel of a voice, by flow matching.

Units become what is to be said at each frame (a convolution looks three units ahead). From noise, ten Euler steps
lead to the mel; each asks the network twice, with what is to be said and without, and goes further in the direction in
which the two differ. The noise is the same at each call, so the same units in the same voice sound the same.

Frames see their own chunk and those before it: the mel is sampled chunk by chunk (`past` in, `past` out), and learned
in one pass under a mask.

Lipman et al. 2023 (arXiv 2210.02747); Du et al. 2025 (CosyVoice 3, arXiv 2505.17589).

Letters in shapes: B batch, T units at 25 Hz, F frames at 50 Hz, M mel bands.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from duologue.units.causal import CausalConv
from duologue.units.dit import DiT
from duologue.units.dit_layers import DiTConfig
from duologue.units.lookahead import NOTHING

NOISE_FRAMES = 15_000
"""The noise of the released model is five minutes long; later frames have it again from its beginning."""
_SIGMA_MIN = 1e-6
_PROMPT_SHARE = 0.3


@dataclass(frozen=True)
class FlowConfig:
    """Sizes, as released. `guidance` is how much further than the condition itself to go."""

    codes: int = 6561
    speaker_width: int = 192
    ahead_units: int = 3
    ahead_width: int = 1024
    unit_frames: int = 2
    steps: int = 10
    guidance: float = 0.7
    dropped: float = 0.2
    dit: DiTConfig = field(default_factory=DiTConfig)

    def __post_init__(self) -> None:
        if self.dit.chunk_frames % self.unit_frames:
            raise ValueError(f"a chunk of {self.dit.chunk_frames} frames is no whole number of units")

    @classmethod
    def read(cls, fields: Mapping[str, Any]) -> FlowConfig:
        """Of the fields under "flow" that the released configuration has. Raises ValueError naming one that lacks."""
        try:
            dit, rates = fields["decoder"]["estimator"], fields["decoder"]["cfm_params"]
            left = dit["num_decoding_left_chunks"]
            network = DiTConfig(
                dit["mel_dim"], dit["dim"], dit["depth"], dit["heads"], dit["dim_head"], dit["ff_mult"],
                chunk_frames=dit["static_chunk_size"], left_chunks=None if left < 0 else left,
            )  # fmt: skip
            return cls(
                fields["vocab_size"], fields["spk_embed_dim"], fields["pre_lookahead_len"],
                fields["pre_lookahead_layer"]["channels"], fields["token_mel_ratio"],
                guidance=rates["inference_cfg_rate"], dropped=rates["training_cfg_rate"], dit=network,
            )  # fmt: skip
        except KeyError as lacking:
            raise ValueError(f"the configuration of the flow lacks {lacking}") from lacking


class Ahead(nn.Module):
    """Each unit with a look at those after it."""

    def __init__(self, width: int, config: FlowConfig) -> None:
        super().__init__()
        self.ahead_units = config.ahead_units
        self.conv1 = nn.Conv1d(width, config.ahead_width, config.ahead_units + 1)
        self.conv2 = CausalConv(config.ahead_width, width, 3)

    def forward(self, x: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        """[B, M, T + ahead] → [B, M, T]."""
        y, past = self.conv2(functional.leaky_relu(self.conv1(x)), past)
        return y + x[..., : y.shape[-1]], past


@dataclass(frozen=True)
class Drawn:
    """What chance decides for a batch of training.

    t              [B] how far from noise to speech
    z              [B, M, F] the noise
    kept           [B] bool: False where the network learns to go without its conditions
    prompt_frames  [B] how many frames at the beginning it is told
    chunked        whether frames see chunks, or everything
    """

    t: Tensor
    z: Tensor
    kept: Tensor
    prompt_frames: Tensor
    chunked: bool

    @classmethod
    def by(cls, generator: torch.Generator, mel: Tensor, frames: Tensor, dropped: float) -> Drawn:
        """For mel [B, M, F] of which the first `frames` [B] count."""
        rows = len(mel)
        prompted = torch.rand(rows, generator=generator) < 0.5
        share = torch.rand(rows, generator=generator) * _PROMPT_SHARE
        return cls(
            torch.rand(rows, generator=generator),
            torch.randn(mel.shape, generator=generator),
            torch.rand(rows, generator=generator) >= dropped,
            (prompted * share * frames).long(),
            bool(torch.rand((), generator=generator) < 0.5),
        )


class Flow(nn.Module):
    noise: Tensor

    def __init__(self, config: FlowConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or FlowConfig()
        bands = config.dit.mel_bands
        self.input_embedding = nn.Embedding(config.codes, bands)
        self.spk_embed_affine_layer = nn.Linear(config.speaker_width, bands)
        self.pre_lookahead_layer = Ahead(bands, config)
        self.decoder = nn.ModuleDict({"estimator": DiT(config.dit)})
        drawn = torch.randn(1, bands, NOISE_FRAMES, generator=torch.Generator().manual_seed(0), device="cpu")
        self.register_buffer("noise", drawn[0], persistent=False)

    @property
    def dit(self) -> DiT:
        network = self.decoder["estimator"]
        assert isinstance(network, DiT)
        return network

    # ------------------------------------------------------------ conditions

    def speaker(self, voice: Tensor) -> Tensor:
        """Vectors of a speaker recogniser, [B, 192] → [B, M]."""
        known: Tensor = self.spk_embed_affine_layer(functional.normalize(voice, dim=-1))
        return known

    def start_said(self, batch: int) -> Tensor:
        """What `said` remembers before the first unit."""
        return self.pre_lookahead_layer.conv2.start(batch)

    def said(self, codes: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        """Units, and those that are looked ahead at, [B, T + ahead] (NOTHING where there is none) → [B, M, F]."""
        x = self.input_embedding(codes.clamp_min(0)) * (codes >= 0)[..., None]
        y, past = self.pre_lookahead_layer(x.mT, past)
        return y.repeat_interleave(self.config.unit_frames, -1), past

    # ------------------------------------------------------------ sampling

    def start(self, batch: int) -> list[Tensor]:
        """What `sample` remembers before the first frame: for each step what the network does, [B, 2, ...]."""
        return [_by_row(past) for past in self.dit.start(2 * batch)] * self.config.steps

    def sample(
        self, said: Tensor, speaker: Tensor, prompt: Tensor, place: Tensor, past: Sequence[Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        """said [B, M, F], speaker [B, M], prompt [B, M, F] (its mel, zeros behind it), place [B, F] → mel [B, M, F]
        and what is remembered. Each frame sees all others, and all that are remembered."""
        x = self.noise[:, place % self.noise.shape[-1]].movedim(0, 1).mT
        conditions = torch.cat([prompt.mT, said.mT, speaker[:, None].expand_as(said.mT)], -1)
        given = torch.stack([conditions, torch.zeros_like(conditions)], 1).flatten(0, 1)
        place = place.repeat_interleave(2, 0)
        after = list[Tensor]()
        each = len(past) // self.config.steps
        times, sizes = (tensor.to(x) for tensor in self._steps())
        timed = self.dit.timed(times)
        for step, size in enumerate(sizes):
            known = [tensor.flatten(0, 1) for tensor in past[step * each :][:each]]
            now = torch.cat([x.repeat_interleave(2, 0), given], -1)
            direction, known = self.dit(now, [layer[step : step + 1] for layer in timed], place, known)
            after += [_by_row(tensor) for tensor in known]
            told, untold = direction[::2], direction[1::2]
            x = x + size * ((1 + self.config.guidance) * told - self.config.guidance * untold)
        return x.mT, after

    def _steps(self) -> tuple[Tensor, Tensor]:
        """Where each step begins, and how far it goes: small steps at first."""
        ends = 1 - torch.cos(torch.linspace(0, 1, self.config.steps + 1) * 0.5 * math.pi)
        return ends[:-1], ends.diff()

    # ------------------------------------------------------------ whole

    @torch.no_grad()
    def forward(self, codes: Tensor, voice: Tensor, prompt: Tensor | None = None, chunked: bool = True) -> Tensor:
        """All at once: codes [B, T], voice [B, 192], and the mel of the first of the units where they are a prompt,
        [B, M, P] → mel [B, M, F], that of the prompt first. Without `chunked` each frame sees all others."""
        said, frames = self._all_said(codes), codes.shape[-1] * self.config.unit_frames
        told = torch.zeros_like(said) if prompt is None else functional.pad(prompt, (0, frames - prompt.shape[-1]))
        place = torch.arange(frames, device=codes.device).expand(len(codes), -1)
        size = self.config.dit.chunk_frames if chunked else frames
        past, mels = self.start(len(codes)), list[Tensor]()
        for part in (slice(start, start + size) for start in range(0, frames, size or 1)):
            mel, past = self.sample(said[..., part], self.speaker(voice), told[..., part], place[:, part], past)
            mels.append(mel)
        return torch.cat([said[..., :0], *mels], -1)

    def _all_said(self, codes: Tensor) -> Tensor:
        after = functional.pad(codes, (0, self.config.ahead_units), value=NOTHING)
        said, _ = self.said(after, self.start_said(len(codes)))
        return said

    # ------------------------------------------------------------ learning

    def loss(self, codes: Tensor, voice: Tensor, mel: Tensor, drawn: Drawn) -> Tensor:
        """How far the network's direction is from the right one: codes [B, T] (NOTHING behind a row's end), voice
        [B, 192], mel [B, M, F] → mean of squares, over the frames that there are."""
        said, _ = self.said(
            functional.pad(codes, (0, self.config.ahead_units), value=NOTHING), self.start_said(len(codes))
        )
        there = (codes >= 0).repeat_interleave(self.config.unit_frames, -1)
        t, frames = drawn.t[:, None, None], torch.arange(mel.shape[-1], device=mel.device)
        told = mel * (frames < drawn.prompt_frames[:, None])[:, None]
        conditions = torch.cat([told, said, self.speaker(voice)[..., None].expand_as(said)], 1)
        noisy = (1 - (1 - _SIGMA_MIN) * t) * drawn.z + t * mel
        seen = there[:, None, None]
        seen = seen & self.dit.chunks_seen(len(frames)) if drawn.chunked else seen
        given = torch.cat([noisy, conditions * drawn.kept[:, None, None]], 1).mT
        timed, place = self.dit.timed(drawn.t), frames.expand(len(mel), -1)
        direction, _ = self.dit(given, timed, place, self.dit.start(len(mel)), seen)
        right = mel - (1 - _SIGMA_MIN) * drawn.z
        wrong: Tensor = ((direction.mT - right) * there[:, None]).square().sum()
        return wrong / (there.sum() * mel.shape[1])


def _by_row(tensor: Tensor) -> Tensor:
    """[2 B, ...] → [B, 2, ...]."""
    return tensor.view(len(tensor) // 2, 2, *tensor.shape[1:])
