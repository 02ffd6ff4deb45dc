"""New tokens for a language model: codec units, control tokens.

One function: ordered groups of tokens get contiguous ids, and each new row of the embedding, and of the head where
it is not tied, gets a start that suits it. With little data a row hardly leaves its start: control tokens begin
best at the mean of their description's rows; rows of a block of units must differ from each other.

The matrices never shrink: released checkpoints have spare rows, for which the tokenizer has no token.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from torch import Tensor
from transformers import AddedToken

# ---------------------------------------------------------------- how a new row starts


@dataclass(frozen=True)
class Drawn:
    """From the statistics of the old rows. `mean` and `zeros` give equal rows, so only one token may start there.

    normal       N(0, std of the old rows)
    mean_noise   mean of the old rows + N(0, std of the old rows)
    """

    kind: Literal["normal", "mean_noise", "mean", "zeros"] = "mean_noise"


@dataclass(frozen=True)
class Described:
    """The mean of the rows of a description, by token."""

    descriptions: Mapping[str, str]


@dataclass(frozen=True)
class Copied:
    """The row of another token, by token."""

    of: Mapping[str, str]


@dataclass(frozen=True)
class Vectors:
    """The codec's own vectors [n, any width]: projected at random to the model's width where that is another, then
    brought to the mean and std of the old rows."""

    vectors: Tensor


Start = Drawn | Described | Copied | Vectors


@dataclass(frozen=True)
class Group:
    """Tokens of one kind. `special` ones are left out of decoded text; `book` numbers the codebook of units."""

    name: str
    tokens: Sequence[str]
    start: Start = Drawn()
    special: bool = False
    book: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "tokens", tuple(dict.fromkeys(self.tokens)))
        if not self.tokens:
            raise ValueError(f"the group {self.name!r} has no tokens: leave it out")


# ---------------------------------------------------------------- what was added


@dataclass(frozen=True)
class Span:
    """Where a group lies: its tokens have the ids `offset`, `offset + 1`, …"""

    offset: int
    tokens: tuple[str, ...]
    book: int | None = None

    @property
    def size(self) -> int:
        return len(self.tokens)

    @property
    def ids(self) -> range:
        return range(self.offset, self.offset + self.size)


@dataclass(frozen=True)
class IdMap:
    """The groups by name. Ids from `tokens` on have no token (spare rows of the matrices): never sample them."""

    groups: Mapping[str, Span]
    tokens: int

    def __getitem__(self, group: str) -> Span:
        return self.groups[group]

    def save(self, folder: Path) -> None:
        """Beside the model: `ids.json`."""
        (folder / "ids.json").write_text(json.dumps(asdict(self), ensure_ascii=False, indent=1))

    @classmethod
    def load(cls, folder: Path, tokenizer: Any) -> Self:
        """Raises ValueError where the tokenizer gives the tokens other ids than when the map was saved."""
        rows = json.loads((folder / "ids.json").read_text())
        spans = {name: Span(row["offset"], tuple(row["tokens"]), row["book"]) for name, row in rows["groups"].items()}
        for name, span in spans.items():
            if tokenizer.convert_tokens_to_ids(list(span.tokens)) != list(span.ids):
                raise ValueError(f"{folder / 'ids.json'} is of another tokenizer: ids of the group {name!r} differ")
        return cls(spans, rows["tokens"])


# ---------------------------------------------------------------- adding


@torch.no_grad()
def add_tokens(model: Any, tokenizer: Any, groups: Sequence[Group], seed: int = 0) -> IdMap:
    """Add the groups to tokenizer and model, and give each new row its start. What is there already stays as it is.

    Raises ValueError where a start does not fit its group, or where the ids of a group would not be contiguous; then
    neither is changed.
    """
    before, special = len(tokenizer), {t: group.special for group in groups for t in group.tokens}
    _spans(groups, _ids_to_be(tokenizer, special))
    sources = [_sources(group, tokenizer) for group in groups]
    generator = torch.Generator().manual_seed(seed)
    starts = [_starts(groups, matrix[:before].float().cpu(), sources, generator) for matrix in _matrices(model)]
    spans = _spans(groups, add_to_tokenizer(tokenizer, special))
    if len(tokenizer) > model.get_input_embeddings().weight.shape[0]:
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    for matrix, of_groups in zip(_matrices(model), starts, strict=True):
        for span, rows in zip(spans.values(), of_groups, strict=True):
            new = [n for n, token_id in enumerate(span.ids) if token_id >= before]
            matrix[[span.offset + n for n in new]] = rows[new].to(matrix)
    return IdMap(spans, len(tokenizer))


def add_to_tokenizer(tokenizer: Any, tokens: Mapping[str, bool]) -> dict[str, int]:
    """Add tokens (true: special) in their order, and give all their ids. What exists keeps its id."""
    known = tokenizer.get_vocab()
    new = [AddedToken(t, special=special, normalized=False) for t, special in tokens.items() if t not in known]
    tokenizer.add_tokens(new)
    return dict(zip(tokens, tokenizer.convert_tokens_to_ids(list(tokens)), strict=True))


def _ids_to_be(tokenizer: Any, tokens: Iterable[str]) -> dict[str, int]:
    """What `add_to_tokenizer` would give."""
    known, after = tokenizer.get_vocab(), count(len(tokenizer))
    return {token: known[token] if token in known else next(after) for token in tokens}


def _spans(groups: Sequence[Group], ids: Mapping[str, int]) -> dict[str, Span]:
    if len(spans := {group.name: _span(group, ids) for group in groups}) < len(groups):
        raise ValueError(f"two groups have one name: {', '.join(group.name for group in groups)}")
    return spans


def _span(group: Group, ids: Mapping[str, int]) -> Span:
    span = Span(ids[group.tokens[0]], tuple(group.tokens), group.book)
    for token, place in zip(span.tokens, span.ids, strict=True):
        if ids[token] != place:
            raise ValueError(
                f"ids of the group {group.name!r} are not contiguous, {token!r} is {ids[token]} instead of {place}: "
                "leave out what the tokenizer knows already"
            )
    return span


def _matrices(model: Any) -> list[Tensor]:
    """The embedding, and the head where it is another matrix."""
    weights = [model.get_input_embeddings().weight]
    head = model.get_output_embeddings()
    return weights if head is None or head.weight is weights[0] else [*weights, head.weight]


# ---------------------------------------------------------------- rows


def _sources(group: Group, tokenizer: Any) -> list[list[int]]:
    """Ids of the old tokens that each new row is the mean of. A description may contain its own token: it is split
    into the pieces that it has before the token is added."""
    match group.start:
        case Described(texts):
            return [_described(tokenizer, _of(texts, token, group), token) for token in group.tokens]
        case Copied(of):
            known = tokenizer.get_vocab()
            return [[_known(known, _of(of, token, group))] for token in group.tokens]
    return []


def _described(tokenizer: Any, text: str, token: str) -> list[int]:
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False)
    if not ids:
        raise ValueError(f"{text!r}, which describes {token!r}, has no tokens: describe it in words")
    return ids


def _of(sources: Mapping[str, str], token: str, group: Group) -> str:
    if not sources.get(token):
        raise ValueError(f"the start of the group {group.name!r} says nothing about {token!r}")
    return sources[token]


def _known(vocabulary: Mapping[str, int], token: str) -> int:
    if token not in vocabulary:
        raise ValueError(f"the tokenizer has no token {token!r} to copy from")
    return vocabulary[token]


def _starts(groups: Sequence[Group], old: Tensor, sources: list[list[list[int]]], generator: Any) -> list[Tensor]:
    return [_rows(group, old, source, generator) for group, source in zip(groups, sources, strict=True)]


def _rows(group: Group, old: Tensor, sources: list[list[int]], generator: torch.Generator) -> Tensor:
    """The rows that the group starts from, [n, D], out of the old rows [V, D]."""
    match group.start:
        case Drawn(kind):
            rows = _drawn(kind, len(group.tokens), old, generator)
        case Vectors(vectors):
            rows = _fitted(vectors, old, generator)
        case _:
            rows = torch.stack([old[ids].mean(0) for ids in sources])
    if len(rows) != len(group.tokens):
        raise ValueError(f"{len(rows)} vectors for the {len(group.tokens)} tokens of the group {group.name!r}")
    if len(np.unique(rows.numpy(), axis=0)) < len(rows):
        raise ValueError(f"tokens of the group {group.name!r} would start equal: take Drawn('mean_noise')")
    return rows


def _drawn(kind: str, tokens: int, old: Tensor, generator: torch.Generator) -> Tensor:
    noise = torch.randn(tokens, old.shape[1], generator=generator) * old.std()
    means = old.mean(0).expand(tokens, -1)
    return {"normal": noise, "mean_noise": means + noise, "mean": means, "zeros": torch.zeros_like(means)}[kind]


def _fitted(vectors: Tensor, old: Tensor, generator: torch.Generator) -> Tensor:
    vectors = vectors.float().cpu()
    if vectors.shape[1] != old.shape[1]:
        vectors = vectors @ torch.randn(vectors.shape[1], old.shape[1], generator=generator)
    centred = vectors - vectors.mean(0)
    if not centred.any():
        raise ValueError(f"{len(vectors)} vectors that do not differ: take Drawn('mean_noise')")
    return old.mean(0) + centred * (old.std() / centred.std())
