"""The network of CosyVoice 3's flow: a diffusion transformer over mel frames, which sees them in chunks.

At each frame it is given the mel as it is now (between noise and speech), the mel of a prompt, what is to be said and
who says it; it gives the direction in which the speech lies. A frame sees its own chunk and the chunks before it, so
what a chunk leaves behind (keys, values, and what the convolutions remember) is all that the next one needs.

Peebles and Xie 2023 (arXiv 2212.09748), as F5-TTS (arXiv 2410.06885) has it. Layers have the names of the released
weights.

Letters in shapes: B batch, M mel bands, F frames at 50 Hz, P frames remembered, D width, H heads.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from duologue.units.dit_layers import (
    Block,
    DiTConfig,
    InputEmbedding,
    Modulation,
    Rotation,
    TimeEmbedding,
    modulated,
)


class DiT(nn.Module):
    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        self.config = config
        self.time_embed = TimeEmbedding(config.width)
        self.input_embed = InputEmbedding(config)
        self.rotary_embed = Rotation(config.head_width)
        self.transformer_blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.norm_out = Modulation(config.width, 2)
        self.proj_out = nn.Linear(config.width, config.mel_bands)

    def start(self, batch: int) -> list[Tensor]:
        """What is remembered before the first frame; the batch is the first axis of each tensor."""
        inner = self.config.heads * self.config.head_width
        nothing = self.proj_out.weight.new_zeros(batch, 0, 2 * inner)
        return [*self.input_embed.conv_pos_embed.start(batch), *[nothing] * self.config.depth]

    def timed(self, t: Tensor) -> list[Tensor]:
        """What each layer is told of the times [S], and what the last norm is: [S, parts * D]."""
        time = self.time_embed(t)
        blocks = [block for block in self.transformer_blocks if isinstance(block, Block)]
        return [layer(time) for layer in (*(block.attn_norm for block in blocks), self.norm_out)]

    def forward(
        self,
        given: Tensor,
        told: Sequence[Tensor],
        place: Tensor,
        past: Sequence[Tensor],
        seen: Tensor | None = None,
    ) -> tuple[Tensor, list[Tensor]]:
        """given [B, F, 4 M] (mel as it is, of the prompt, what is said, who says it), told of the time (`timed`, one
        row or B), place [B, F] → the direction [B, F, M], and what is remembered.

        A row remembers at most as many frames as there are before its first place. seen [B or 1, 1, F, P + F] bool:
        which frame sees which, None for all there are.
        """
        angles = self.rotary_embed(place)
        known, recalled = self._recalled(past[2:], place)
        seen = recalled if seen is None else seen
        x, after = self.input_embed(given, past[:2])
        for block, block_told, block_past in zip(self.transformer_blocks, told[:-1], known, strict=True):
            x, remembered = block(x, block_told, angles, block_past, seen)
            after.append(self._kept(remembered))
        scale, shift = told[-1][:, None].chunk(2, -1)
        direction: Tensor = self.proj_out(modulated(x, shift, scale))
        return direction, after

    def _recalled(self, known: Sequence[Tensor], place: Tensor) -> tuple[list[Tensor], Tensor | None]:
        """What is remembered, no longer than the oldest row needs, and what a row sees of it."""
        age = place[:, 0] if self.config.left_chunks is None else place[:, 0].clamp(max=self._limit)
        oldest = int(age.max())
        known = [each[:, each.shape[1] - oldest :] for each in known]
        if bool((age == oldest).all()):
            return known, None
        frames = torch.arange(oldest + place.shape[1], device=place.device)
        return known, (frames >= (oldest - age)[:, None])[:, None, None]

    def _kept(self, known: Tensor) -> Tensor:
        """Without the frames that no later one sees."""
        return known if self.config.left_chunks is None else known[:, max(0, known.shape[1] - self._limit) :]

    @property
    def _limit(self) -> int:
        return (self.config.left_chunks or 0) * self.config.chunk_frames

    def chunks_seen(self, frames: int) -> Tensor:
        """Which frame sees which, where all are there at once: [1, 1, F, F] bool."""
        chunk = torch.arange(frames, device=self.proj_out.weight.device) // self.config.chunk_frames
        behind = chunk[:, None] - chunk
        seen = behind >= 0
        if self.config.left_chunks is not None:
            seen &= behind <= self.config.left_chunks
        return seen[None, None]
