"""From what ears hear to what a language model reads: neighbouring features become a vector, which takes its place
between the words.

Letters in shapes: B rows, T features, V vectors of a clip, S ids, L positions after the sound was put in, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from duologue.sound import Audio

SPEECH_ID = -200
"""Stands in ids where sound is heard."""
IGNORED = -100
"""A label that is not trained."""

# ---------------------------------------------------------------- sound to vectors


class Ears(Protocol):
    """What turns sound into features. A torch module where it is to be trained or saved with the model."""

    @property
    def width(self) -> int:
        """D of the features."""
        ...

    @property
    def hz(self) -> float:
        """Features a second, at most."""
        ...

    def fewest(self, samples: int) -> int:
        """Features that so many samples at 16 kHz are at least: what cannot fit need not be heard."""
        ...

    def features(self, audio: Audio) -> Tensor:
        """audio [N] at 16 kHz → [T, D]. Raises ValueError for what is no sound."""
        ...


class FrameStack(nn.Module):
    """`frames` neighbours, one after the other in one vector, through two linear layers with a ReLU between."""

    def __init__(self, width: int, frames: int, inner: int, width_out: int, dtype: torch.dtype | None = None) -> None:
        super().__init__()
        self.frames = frames
        self.linear1 = nn.Linear(width * frames, inner, dtype=dtype)
        self.linear2 = nn.Linear(inner, width_out, dtype=dtype)

    def begin_straight(self) -> None:
        """Let the sum of the frames pass unchanged, to begin with: for features that are vectors of the language model
        already. Takes one width, and an inner layer of twice that."""
        width = self.linear2.out_features
        both = torch.cat([torch.eye(width), -torch.eye(width)])
        with torch.no_grad():
            self.linear1.weight.copy_(both.repeat(1, self.frames))
            self.linear2.weight.copy_(both.T)
            self.linear1.bias.zero_()
            self.linear2.bias.zero_()

    def forward(self, features: Tensor) -> Tensor:
        """features [..., T, D] → [..., T // frames, width out]; the last ones, which fill no stack, are left out."""
        stacks = features.shape[-2] // self.frames
        whole = features[..., : stacks * self.frames, :]
        stacked = whole.reshape(*features.shape[:-2], stacks, self.linear1.in_features)
        vectors: Tensor = self.linear2(functional.relu(self.linear1(stacked.to(self.linear1.weight.dtype))))
        return vectors


# ---------------------------------------------------------------- vectors between words


@dataclass(frozen=True)
class Fused:
    """Rows in which sound was put: embeddings [B, L, D], zeros where a row is filled up; mask and labels [B, L]."""

    embeddings: Tensor
    mask: Tensor
    labels: Tensor

    @property
    def positions(self) -> Tensor:
        """Of each row, counted from its first real one, whichever side was filled up."""
        return (self.mask.long().cumsum(1) - 1).clamp_min(0)


def embedded(embedding: Any, ids: Tensor, clips: Sequence[Tensor]) -> Tensor:
    """One row: ids [S] as vectors [L, D], the vectors [V, D] of each clip in the place of a SPEECH_ID, in order."""
    places = torch.nonzero(ids == SPEECH_ID).ravel().tolist()
    if len(places) != len(clips):
        raise ValueError(f"{len(places)} places for sound, but {len(clips)} clips: a row needs one for each")
    words_between = embedding(ids.clamp_min(0))
    parts, at = [], 0
    for place, clip in zip(places, clips, strict=True):
        parts += [words_between[at:place], clip.to(words_between)]
        at = place + 1
    return torch.cat([*parts, words_between[at:]])


def fused(
    embedding: Any,
    ids: Tensor,
    clips: Sequence[Tensor],
    labels: Tensor | None = None,
    mask: Tensor | None = None,
    longest: int | None = None,
    padding: Literal["right", "left"] = "right",
) -> Fused:
    """Rows of ids [B, S] (with labels, and a mask of what is real) and the clips of all rows in order.

    Rows are cut after `longest` positions, and filled up on the `padding` side, "right" or "left".
    """
    if padding not in ("right", "left"):
        raise ValueError(f"padding {padding!r}: choose 'right' or 'left'")
    mask = torch.ones_like(ids) if mask is None else mask
    labels = torch.full_like(ids, IGNORED) if labels is None else labels
    rows, targets, left = list[Tensor](), list[Tensor](), list(clips)
    for own, label, real in zip(ids, labels, mask.bool(), strict=True):
        own, label = own[real], label[real]
        count = int((own == SPEECH_ID).sum())
        heard, left = left[:count], left[count:]
        rows.append(embedded(embedding, own, heard)[:longest])
        targets.append(_spread(own, label, heard)[:longest])
    if left:
        raise ValueError(
            f"{len(left)} of {len(clips)} clips have no place in the ids: put {SPEECH_ID} where they belong"
        )
    marks = [torch.ones_like(target) for target in targets]
    return Fused(
        pad_sequence(rows, batch_first=True, padding_side=padding),
        pad_sequence(marks, batch_first=True, padding_side=padding),
        pad_sequence(targets, batch_first=True, padding_value=IGNORED, padding_side=padding),
    )


def _spread(ids: Tensor, labels: Tensor, clips: Sequence[Tensor]) -> Tensor:
    """Labels [S] at their positions [L]; sound is not trained."""
    lengths = torch.ones_like(ids)
    lengths[ids == SPEECH_ID] = torch.tensor([len(clip) for clip in clips], dtype=ids.dtype, device=ids.device)
    return torch.where(ids == SPEECH_ID, IGNORED, labels).repeat_interleave(lengths)
