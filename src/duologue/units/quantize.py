"""Finite scalar quantisation: a vector of a few numbers, each rounded to one of a few levels, is a code.

Mentzer et al. 2023, "Finite Scalar Quantization: VQ-VAE Made Simple", arXiv 2309.15505. There is no code book to
learn and none to collapse. What is rounded is first squeezed into (-1, 1); here by the error function, which makes
levels equally likely where the input is normal, rather than by tanh.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import accumulate
from operator import mul

import torch
from torch import Tensor, nn


class FSQ(nn.Module):
    """`levels[d]` levels in dimension d; code = Σ level_d * Π levels before d. No parameters.

    Raises ValueError for fewer than two levels.
    """

    levels: Tensor
    places: Tensor

    def __init__(self, levels: tuple[int, ...]) -> None:
        super().__init__()
        if not levels or min(levels) < 2:
            raise ValueError(f"levels {levels}: give two or more levels for each of one or more dimensions")
        self.codes = math.prod(levels)
        places = list(accumulate(levels[:-1], mul, initial=1))
        self.register_buffer("levels", torch.tensor(levels), persistent=False)
        self.register_buffer("places", torch.tensor(places), persistent=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[..., D] → values in [-1, 1] whose gradient is that of the squeezed input, [..., D]; codes, [...]."""
        squeezed = torch.erf(x.float() / math.sqrt(2))
        chosen = ((squeezed + 1) / 2 * self.levels).floor().clamp_min(0).minimum(self.levels - 1)
        values = squeezed + (self._values(chosen) - squeezed).detach()
        return values, (chosen.long() * self.places).sum(-1)

    def values(self, codes: Tensor) -> Tensor:
        """[...] codes → [..., D] values in [-1, 1]. Raises ValueError for a code that is none."""
        if codes.numel() and not 0 <= int(codes.min()) <= int(codes.max()) < self.codes:
            raise ValueError(f"codes {int(codes.min())} to {int(codes.max())}: there are 0 to {self.codes - 1}")
        return self._values(codes[..., None] // self.places % self.levels)

    def one_hot(self) -> Tensor:
        """A vector for each code, in which codes that agree in a dimension agree: [codes, sum of the levels]."""
        chosen = torch.arange(self.codes)[:, None] // self.places % self.levels
        hot = [nn.functional.one_hot(column, int(n)) for column, n in zip(chosen.T, self.levels, strict=True)]
        return torch.cat(hot, 1).float()

    def _values(self, chosen: Tensor) -> Tensor:
        """The middle of each level's share of (-1, 1)."""
        return (chosen * 2 + 1) / self.levels - 1


@dataclass(frozen=True)
class Usage:
    """How a stream of codes uses its book: the share of codes that occur at all, and the perplexity (2 to the
    entropy): as many equally likely codes would carry as much."""

    share: float
    perplexity: float


def usage(codes: Tensor, book: int) -> Usage:
    """Of any shape of codes out of a book of `book`."""
    counts = torch.bincount(codes.flatten(), minlength=book)
    odds = counts[counts > 0] / max(1, int(counts.sum()))
    return Usage(float((counts > 0).sum()) / book, float(torch.exp2(-(odds * odds.log2()).sum())))
