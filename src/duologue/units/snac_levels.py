"""SNAC's codes: levels that come at different rates, the same as books of one rate, and how they are found.

Letters in shapes: B batch, Q books, T units in time, L latents, D width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

# ---------------------------------------------------------------- levels and books


def books_of(strides: Sequence[int]) -> list[tuple[int, int]]:
    """Each book's level, and its place among that level's codes of a unit: 7 books for strides 4, 2, 1."""

    def below(level: int, place: int) -> Iterator[tuple[int, int]]:
        yield level, place
        if level + 1 < len(strides):
            finer = strides[level] // strides[level + 1]
            for part in range(place * finer, (place + 1) * finer):
                yield from below(level + 1, part)

    return list(below(0, 0))


def flatten(levels: Sequence[Tensor], strides: Sequence[int] = (4, 2, 1)) -> Tensor:
    """Codes of each level, [B, T * strides[0] / stride] → books [B, Q, T].

    Raises ValueError where the levels are not of one length in time.
    """
    units = levels[0].shape[-1]
    for number, (level, stride) in enumerate(zip(levels, strides, strict=True)):
        if level.shape[-1] != units * strides[0] // stride:
            raise ValueError(
                f"level {number} has {level.shape[-1]} codes, {units} units have {units * strides[0] // stride}: "
                "give whole units"
            )
    return torch.stack([levels[n][..., place :: strides[0] // strides[n]] for n, place in books_of(strides)], 1)


def unflatten(books: Tensor, strides: Sequence[int] = (4, 2, 1)) -> list[Tensor]:
    """Books [B, Q, T] → codes of each level. Raises ValueError for another number of books."""
    order = books_of(strides)
    if books.shape[1] != len(order):
        raise ValueError(f"{books.shape[1]} books: strides {tuple(strides)} have {len(order)}")
    mine = [[book for book, (level, _) in enumerate(order) if level == wanted] for wanted in range(len(strides))]
    return [books[:, rows].mT.flatten(1) for rows in mine]


# ---------------------------------------------------------------- quantisation


class Quantizer(nn.Module):
    """One level: latents are narrowed and get the code of nearest direction."""

    def __init__(self, width: int, codes: int, dimensions: int) -> None:
        super().__init__()
        self.in_proj = nn.Conv1d(width, dimensions, 1)
        self.out_proj = nn.Conv1d(dimensions, width, 1)
        self.codebook = nn.Embedding(codes, dimensions)

    def nearest(self, latents: Tensor) -> Tensor:
        """[B, D, L] → [B, L]."""
        narrow = functional.normalize(self.in_proj(latents), dim=1)
        return (functional.normalize(self.codebook.weight) @ narrow).argmax(1)

    def latents(self, codes: Tensor) -> Tensor:
        """[B, L] → [B, D, L]."""
        wide: Tensor = self.out_proj(self.codebook(codes).mT)
        return wide


class ResidualQuantizer(nn.Module):
    """The levels: each quantises what those before it left, averaged over its stride."""

    def __init__(self, width: int, codes: int, dimensions: int, strides: Sequence[int]) -> None:
        super().__init__()
        self.strides = strides
        self.quantizers = nn.ModuleList(Quantizer(width, codes, dimensions) for _ in strides)

    @property
    def levels(self) -> list[tuple[int, Quantizer]]:
        """Each with its stride, coarse before fine."""
        levels = [level for level in self.quantizers if isinstance(level, Quantizer)]
        return list(zip(self.strides, levels, strict=True))

    def encode(self, latents: Tensor) -> Tensor:
        """[B, D, T * strides[0]] → books [B, Q, T]."""
        levels = list[Tensor]()
        for stride, level in self.levels:
            levels.append(level.nearest(functional.avg_pool1d(latents, stride)))
            latents = latents - level.latents(levels[-1]).repeat_interleave(stride, -1)
        return flatten(levels, self.strides)

    def decode(self, books: Tensor) -> Tensor:
        """[B, Q, T] → [B, D, T * strides[0]]."""
        levels = zip(self.levels, unflatten(books, self.strides), strict=True)
        spread = [level.latents(codes).repeat_interleave(stride, -1) for (stride, level), codes in levels]
        return torch.stack(spread).sum(0)
