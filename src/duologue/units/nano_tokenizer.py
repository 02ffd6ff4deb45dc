"""A supervised speech tokenizer of a few million parameters: 25 units a second that carry what was said.

After CosyVoice's S3 (Du et al. 2024, arXiv 2407.05407 and 2412.10117): an encoder is trained for recognition through
a narrow FSQ bottleneck, so that a unit is a sound of the language and any voice maps to the same units. Here the
encoder is causal: a unit is complete as soon as its 40 ms of sound are.

Beside the recognition loss a second, small one asks of each unit the broad shape of its spectrum, freed of the voice's
and the room's mean: else CTC's peaks would leave most units empty, and no sound could be made of them.

Letters in shapes: B batch, N samples, F mel frames at 100 Hz, T units at 25 Hz, D width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional

from duologue.units.alignment import last_steps
from duologue.units.causal import Pointwise
from duologue.units.codec import CodecState
from duologue.units.nano_front import BEFORE_SAMPLES, MEL_HZ, UNIT_HZ, UNIT_SAMPLES, NanoFront
from duologue.units.quantize import FSQ

LETTERS = " 'abcdefghijklmnopqrstuvwxyz"
"""What recognition writes; CTC's blank is 0, letter i is i + 1."""
PER_UNIT = 2
"""Letters that CTC may write in the time of one unit."""
SHAPE_COEFFICIENTS = 14
"""Of the cosine transform of a log-mel frame: the broad shape of the spectrum, without the pitch."""


@dataclass(frozen=True)
class TokenizerConfig:
    """Sizes. `blocks` are before the bottleneck, `reading_blocks` behind it (for training only)."""

    n_mels: int = 80
    width: int = 256
    blocks: int = 7
    reading_blocks: int = 3
    taps: int = 9
    levels: tuple[int, ...] = (8, 5, 5, 5)


# ---------------------------------------------------------------- the tokenizer


@dataclass(frozen=True)
class Read:
    """What training sees of a batch: codes [B, T], log odds of the letters [2T, B, 29], shapes [B, 14, 2T]."""

    codes: Tensor
    letters: Tensor
    shapes: Tensor


class NanoTokenizer(NanoFront):
    """Sound at 16 kHz → one unit each 40 ms. A `UnitEncoder` that hears nothing ahead."""

    books = 1
    heard_ahead_s = 0.0

    def __init__(self, config: TokenizerConfig | None = None) -> None:
        self.config = config = config or TokenizerConfig()
        super().__init__(config.n_mels, config.width, config.blocks, config.taps)
        width, dimensions = config.width, len(config.levels)
        self.narrow = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, dimensions))
        self.steady = nn.BatchNorm1d(dimensions, affine=False)
        self.fsq = FSQ(config.levels)
        self.reading = _Reading(config)

    @property
    def codes(self) -> int:
        return self.fsq.codes

    @cached_property
    def silence(self) -> tuple[int]:
        """The unit that this tokenizer gives for digital silence, once the speech before it is out of sight."""
        with torch.inference_mode():
            silent = torch.zeros(1, UNIT_SAMPLES * (self.config.taps * self.config.blocks + 4))
            return (int(self.encode(silent, self.start_encoder(1))[0, 0, -1]),)

    # ------------------------------------------------------------ live

    @torch.no_grad()
    def encode(self, audio: Tensor, state: CodecState, last: bool = False) -> Tensor:
        """[B, N] → [B, 1, T]. In evaluation mode; raises ValueError for sound that is not [B, N] of the state's B."""
        narrow: Tensor = self.narrow(self.vectors(audio, state, last)).float()
        mean, variance = self.steady.running_mean, self.steady.running_var
        assert mean is not None
        assert variance is not None
        codes: Tensor = self.fsq((narrow - mean) * torch.rsqrt(variance + self.steady.eps))[1]
        return codes[:, None]

    # ------------------------------------------------------------ learning

    def forward(self, audio: Tensor, units: Tensor) -> Read:
        """audio [B, T * 640], of which `units` [B] units are sound and the rest is padding → what was read."""
        narrow = self.narrow(self.all_vectors(audio)).float()
        real = torch.arange(narrow.shape[1], device=audio.device) < units[:, None]
        squeezed = torch.zeros_like(narrow).masked_scatter(real[..., None], self.steady(narrow[real]))
        values, codes = self.fsq(squeezed)
        letters, shapes = self.reading(values, real)
        return Read(codes, letters, shapes)

    def read(self, codes: Tensor) -> list[str]:
        """What recognition makes of the units alone, [B, 1, T]: the likeliest letters."""
        real = torch.ones_like(codes[:, 0], dtype=torch.bool)
        letters, _ = self.reading(self.fsq.values(codes[:, 0]), real)
        return [written(row) for row in letters.argmax(-1).T]

    def word_ends(self, codes: Tensor, words: Sequence[str]) -> list[int]:
        """The unit in which each word that is said in the units [T] ends, by the likeliest path of recognition;
        evenly spread where it finds none. Raises ValueError for words that cannot be written in LETTERS."""
        letters = letters_of(" ".join(words))
        real = torch.ones(1, len(codes), dtype=torch.bool)
        odds = self.reading(self.fsq.values(codes[None]), real)[0][:, 0]
        steps = last_steps(odds.detach().numpy(), letters)
        lasts = [sum(map(len, words[: n + 1])) + n - 1 for n in range(len(words))]
        if steps is None:
            return [(last + 1) * (len(codes) - 1) // len(letters) for last in lasts]
        return [int(steps[last]) // PER_UNIT for last in lasts]

    def shape_of(self, audio: Tensor, units: Tensor) -> Tensor:
        """What the units are asked for: [B, 14, 2T], each coefficient freed of its mean over the row's sound."""
        mel = self.mel(audio, audio.new_zeros(len(audio), BEFORE_SAMPLES))
        shapes = functional.avg_pool1d(_cosines(mel.shape[1]).to(mel) @ mel, MEL_HZ // UNIT_HZ // PER_UNIT)
        real = (torch.arange(shapes.shape[-1], device=audio.device) < PER_UNIT * units[:, None])[:, None]
        mean = (shapes * real).sum(-1, keepdim=True) / real.sum(-1, keepdim=True)
        return (shapes - mean) * real


class _Reading(nn.Module):
    """From units to letters and spectral shapes. It sees units on both sides: only training and tests read."""

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        width = config.width
        self.widen = nn.Conv1d(len(config.levels), width, 3, padding=1)
        self.blocks = nn.ModuleList(_Around(width, config.taps) for _ in range(config.reading_blocks))
        self.letters = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, PER_UNIT * (len(LETTERS) + 1)))
        self.shapes = nn.Sequential(nn.GELU(), nn.Conv1d(width, PER_UNIT * SHAPE_COEFFICIENTS, 1))

    def forward(self, values: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
        mask = real[:, None]
        x = self.widen((values * real[..., None]).mT)
        shapes = self.shapes(x).unflatten(1, (SHAPE_COEFFICIENTS, PER_UNIT)).transpose(2, 3).flatten(2)
        for block in self.blocks:
            x = block(x * mask)
        odds = self.letters(x.mT).float().unflatten(-1, (PER_UNIT, -1)).flatten(1, 2)
        return odds.log_softmax(-1).transpose(0, 1), shapes.float() * mask.repeat_interleave(PER_UNIT, -1)


class _Around(nn.Module):
    """A ConvNeXt block that sees both sides."""

    def __init__(self, width: int, taps: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv1d(width, width, taps, padding=taps // 2, groups=width)
        self.pointwise = Pointwise(width)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.pointwise(self.depthwise(x))
        return x + y


@lru_cache
def _cosines(n_mels: int) -> Tensor:
    """The orthonormal DCT-II's first rows, [14, n_mels], each divided by what it is in speech, roughly."""
    k, n = torch.arange(SHAPE_COEFFICIENTS)[:, None], torch.arange(n_mels)[None]
    rows = torch.cos(math.pi * k * (2 * n + 1) / (2 * n_mels)) * math.sqrt(2 / n_mels)
    return rows / (3.0 / (1 + k)).clamp_min(0.4)


# ---------------------------------------------------------------- letters


def letters_of(text: str) -> list[int]:
    """CTC's targets. Raises ValueError for a letter that is not in LETTERS."""
    if unknown := sorted(set(text) - set(LETTERS)):
        raise ValueError(f"{text!r} has {unknown}, which cannot be written: give a-z, ' and spaces")
    return [LETTERS.index(letter) + 1 for letter in text]


def written(path: Tensor) -> str:
    """A path of CTC [2T] as text: repeats are one letter, blanks none."""
    kept = path[torch.cat([path.new_ones(1, dtype=torch.bool), path[1:] != path[:-1]])]
    return " ".join("".join(LETTERS[i - 1] for i in kept.tolist() if i).split())
