"""Speech from the states of a language model, without a step for each unit: a streaming CTC decoder.

After LLaMA-Omni (Fang et al. 2024, arXiv 2409.06666, section 2.4): the state of each text token is repeated 25 times,
causal layers turn the rows into labels, units or blank, and CTC (Graves et al. 2006) makes units of labels: repeats are
one, blanks none. The layers see only the past, so labels of a token never change: they are made with the token.

Letters in shapes: B rows, M text tokens, D width of the states, R rows of the decoder, C labels, N units.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModel, LlamaConfig

from duologue.streaming import Memory, State, step
from duologue.streaming import start as start_streaming

IGNORED = -100
"""Fills rows of units, and labels, up."""


@dataclass(frozen=True)
class SpeechSizes:
    """Of the decoder: its Llama layers, the units that it knows, and the labels of each text token.

    longest_tokens   of an answer: as many are given positions
    places           whether the rows of a token know which of them they are, by learned vectors. The paper's do not:
                     the rows of the first token are then equal, and training often ends where its unit is lost
    """

    layers: int = 2
    width: int = 4096
    heads: int = 32
    ffn: int = 11008
    units: int = 1000
    labels_per_token: int = 25
    longest_tokens: int = 1024
    eps: float = 1e-5
    places: bool = False


@dataclass(frozen=True)
class CtcLoss:
    """What a batch of answers costs.

    loss         nats of all rows, divided by the number of their units
    row_nats     [B]; 0 where the units cannot be said in the labels
    logits       [B, R, C], of which the first `lengths` [B] count
    infeasible   the rows that cannot be said: too many units for their text, and equal ones that need a blank between
    blank_share  of the likeliest labels
    """

    loss: Tensor
    row_nats: Tensor
    logits: Tensor
    lengths: Tensor
    infeasible: tuple[int, ...]
    blank_share: float


class SpeechDecoder(nn.Module):
    """States of a language model → labels. Its layers are those of transformers' Llama, without a norm at the end."""

    def __init__(
        self,
        sizes: SpeechSizes,
        states_width: int,
        rope: Mapping[str, Any],
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """`rope` are `rope_parameters` of transformers, the language model's own. Positions count rows."""
        super().__init__()
        self.sizes, self.blank = sizes, sizes.units
        self.input_proj = nn.Linear(states_width, sizes.width, dtype=dtype)
        self.llama = AutoModel.from_config(_config(sizes, rope), dtype=dtype)
        self.llama.embed_tokens, self.llama.norm = None, nn.Identity()
        self.output_proj = nn.Linear(sizes.width, sizes.units + 1, dtype=dtype)
        self.places: nn.Parameter | None = None
        if sizes.places:
            drawn = torch.randn(sizes.labels_per_token, sizes.width, dtype=dtype)
            self.places = nn.Parameter(0.02 * drawn)

    def forward(self, states: Tensor) -> Tensor:
        """A whole answer, [B, M, D] → logits [B, 25 M, C]."""
        return self._through(self._rows(states))

    # ------------------------------------------------------------ live

    def start(self, tokens: int, batch: int = 1) -> State:
        """A state for answers of at most so many text tokens."""
        return start_streaming(self.llama, batch, Memory(tokens * self.sizes.labels_per_token))

    @torch.no_grad()
    def step(self, states: Tensor, state: State) -> Tensor:
        """Text tokens that are new, [B, M, D] → their logits [B, 25 M, C]."""
        logits: Tensor = self.output_proj(step(self.llama, state, self._rows(states)))
        return logits

    # ------------------------------------------------------------ learning

    def loss(self, states: Sequence[Tensor], units: Tensor) -> CtcLoss:
        """How likely the units [B, N], filled up with -100, are after the states [M, D] of each row.

        Where there are more units than labels, the states are stretched evenly over as many labels as there are
        units. Raises ValueError for units that cannot be meant.
        """
        spoken = units_spoken(units, self.sizes.units)
        if empty := [row for row, own in enumerate(states) if not len(own)]:
            raise ValueError(f"row {empty[0]} has no text token to speak: look at the labels of the batch")
        tokens = torch.tensor([len(own) for own in states], device=units.device)
        lengths = torch.maximum(tokens * self.sizes.labels_per_token, spoken)
        projected = self._projected(pad_sequence(list(states), batch_first=True))
        rows = [
            self._repeated(own, stretched(int(m), int(r)).to(own.device))
            for own, m, r in zip(projected, tokens, lengths, strict=True)
        ]
        logits = self._through(pad_sequence(rows, batch_first=True))
        nats = functional.ctc_loss(
            logits.float().log_softmax(-1).transpose(0, 1),
            units.clamp_min(0),
            lengths,
            spoken,
            self.blank,
            reduction="none",
            zero_infinity=True,
        )
        return CtcLoss(
            loss=nats.sum() / spoken.sum(),
            row_nats=nats.detach(),
            logits=logits,
            lengths=lengths,
            infeasible=tuple(_infeasible(units, lengths)),
            blank_share=self._blank_share(logits, lengths),
        )

    # ------------------------------------------------------------ layers

    def _projected(self, states: Tensor) -> Tensor:
        projected: Tensor = self.input_proj(states.to(self.llama.dtype))
        return projected

    def _rows(self, states: Tensor) -> Tensor:
        """Projected first: 25 rows cost one projection."""
        sources = torch.arange(states.shape[1], device=states.device)
        return self._repeated(self._projected(states), sources.repeat_interleave(self.sizes.labels_per_token))

    def _repeated(self, projected: Tensor, sources: Tensor) -> Tensor:
        """[..., M, D], the token that each row repeats [R], in order → rows [..., R, D]."""
        rows = projected[..., sources, :]
        if self.places is None:
            return rows
        place = torch.arange(len(sources), device=sources.device) - torch.searchsorted(sources, sources)
        return rows + self.places[place.clamp_max(len(self.places) - 1)]

    def _through(self, rows: Tensor) -> Tensor:
        logits: Tensor = self.output_proj(self.llama(inputs_embeds=rows, use_cache=False).last_hidden_state)
        return logits

    def _blank_share(self, logits: Tensor, lengths: Tensor) -> float:
        real = torch.arange(logits.shape[1], device=logits.device) < lengths[:, None]
        return float((logits.detach().argmax(-1)[real] == self.blank).float().mean())


def _config(sizes: SpeechSizes, rope: Mapping[str, Any]) -> Any:
    return LlamaConfig(
        vocab_size=1,
        hidden_size=sizes.width,
        intermediate_size=sizes.ffn,
        num_hidden_layers=sizes.layers,
        num_attention_heads=sizes.heads,
        num_key_value_heads=sizes.heads,
        head_dim=sizes.width // sizes.heads,
        rms_norm_eps=sizes.eps,
        max_position_embeddings=sizes.longest_tokens * sizes.labels_per_token,
        rope_parameters=dict(rope),
        bos_token_id=None,
        eos_token_id=None,
    )


# ---------------------------------------------------------------- labels to units


@dataclass
class Collapse:
    """CTC's rule, label by label: equal neighbours are one, then blanks are none. What is carried from one call to
    the next is the last label, blank included."""

    blank: int
    last: int | None = None

    def push(self, labels: Sequence[int]) -> list[int]:
        """The units that these labels begin."""
        units = []
        for label in labels:
            if label not in (self.last, self.blank):
                units.append(label)
            self.last = label
        return units


# ---------------------------------------------------------------- targets


def units_spoken(units: Tensor, book: int) -> Tensor:
    """How many units each row [B, N] has before its -100s: [B].

    Raises ValueError for units that are not in a book of `book`, for -100 between units, for no units at all, and
    for rows that seem to be filled up with 0, which is a unit.
    """
    real = units != IGNORED
    wrong = units[real & ((units < 0) | (units >= book))]
    if len(wrong):
        raise ValueError(
            f"unit {int(wrong[0])}, but there are units 0 to {book - 1}: these are of another codec (the public "
            "InstructS2S-200K holds tokens of CosyVoice2); extract units anew"
        )
    if (real[:, 1:] & ~real[:, :-1]).any():
        raise ValueError(f"{IGNORED} between units: it may only fill rows up at their end")
    spoken = real.sum(1)
    if not spoken.sum():
        raise ValueError("no unit in a whole batch: look at the units of its examples")
    for row, own in enumerate(units):
        last = own[: spoken[row]][-2:].tolist()
        if last == [0, 0]:
            raise ValueError(
                f"row {row} of units ends in 0, 0: repeats are merged, so it seems to be filled up with unit 0; "
                f"fill up with {IGNORED}"
            )
    return spoken


def stretched(tokens: int, rows: int) -> Tensor:
    """Which token each row repeats: floor(row / (rows / tokens)), [rows], in float32 as the reference has it."""
    ratio = torch.tensor(rows) / torch.tensor(tokens)
    return (torch.arange(rows) / ratio).long().clamp_max(tokens - 1)


def _infeasible(units: Tensor, lengths: Tensor) -> list[int]:
    """Rows whose units need more labels than there are."""
    real = units != IGNORED
    repeats = (real[:, 1:] & (units[:, 1:] == units[:, :-1])).sum(1)
    return torch.nonzero(real.sum(1) + repeats > lengths).ravel().tolist()


# ---------------------------------------------------------------- a watch


class AllBlankError(ArithmeticError):
    """CTC has learnt to say nothing, and does not come out of it."""


@dataclass
class BlankWatch:
    """Every training by CTC says only blanks for a while. It raises AllBlankError where that does not end.

    share     of blanks among the labels from which on nothing is said
    patience  steps in a row
    """

    share: float = 0.995
    patience: int = 500
    silent_steps: int = 0

    def see(self, blank_share: float) -> None:
        self.silent_steps = self.silent_steps + 1 if blank_share >= self.share else 0
        if self.silent_steps >= self.patience:
            raise AllBlankError(
                f"{self.silent_steps} steps with at least {self.share:.1%} blanks: look whether units are filled up "
                f"with {IGNORED} and not 0, whether states belong to the text that is spoken, and at the learning rate"
            )
