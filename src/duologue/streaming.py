"""A causal language model that goes on where it stopped: its state is in the caller's hands.

    state = start(model, batch=8, memory=Memory(slots=4096))
    hidden = step(model, state, embeddings)          # all rows, or some of them by number
    state.rollback([120], rows=[3])                  # row 3 forgets all but its first 120 tokens

Keys and values lie in two tensors that are allocated once. A step writes into slots, addressed by row and position,
and reads views: nothing is copied, and rows may have different lengths. A token's slot is its position.

Memory is bounded where `Memory.sink` is given: when the slots are full, the oldest tokens behind the first `sink`
are dropped and the others move down into their slots, their keys turned back to the new positions (attention sinks,
arXiv 2309.17453). So positions never grow beyond those the model was trained on, however long it runs.

Letters in shapes: B rows, N tokens of a step, D width, L layers, H key and value heads, C slots.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Rows = Sequence[int] | None
"""Numbers of rows; None is all of them."""


@dataclass(frozen=True)
class Memory:
    """How much a row remembers.

    slots   tokens at most
    sink    None: a token too many is an error. Else the first `sink` tokens stay, and old ones behind them go
    spare   slots that are freed at once when they are full: at least `slots - spare` tokens are remembered
    """

    slots: int
    sink: int | None = None
    spare: int = 0

    def __post_init__(self) -> None:
        if self.sink is None:
            return
        if self.sink < 0:
            raise ValueError(f"a sink of {self.sink} tokens: give 0 or more")
        if not 0 < self.spare <= self.slots - self.sink:
            raise ValueError(f"{self.slots} slots with a sink of {self.sink} spare 1 to {self.slots - self.sink} slots")


@dataclass(frozen=True)
class State:
    """What a model remembers of B conversations. Tensors are changed in place; the batch is their first axis.

    keys, values   [B, L, H, C + 1, head width]; padding goes to the last slot, which nobody reads
    lengths        [B] int64, on the CPU: slots in use
    dropped        [B] int64, on the CPU: tokens that memory has let go
    """

    keys: Tensor
    values: Tensor
    lengths: Tensor
    dropped: Tensor
    memory: Memory

    @property
    def fed(self) -> Tensor:
        """Tokens that each row was fed, those included that are forgotten by now: [B]."""
        return self.lengths + self.dropped

    def fork(self, rows: Rows = None) -> State:
        """The rows as a state of their own (a row may be asked for twice)."""
        chosen = torch.arange(len(self.lengths)) if rows is None else torch.tensor(rows, dtype=torch.int64)
        here = chosen.to(self.keys.device)
        return State(self.keys[here], self.values[here], self.lengths[chosen], self.dropped[chosen], self.memory)

    def scatter(self, other: State, rows: Sequence[int]) -> None:
        """Put the rows of `other` in the place of `rows`."""
        if other.memory != self.memory or len(other.lengths) != len(rows):
            raise ValueError(f"{len(other.lengths)} rows with {other.memory} do not fit {len(rows)} of {self.memory}")
        for mine, theirs in zip(self.tensors(), other.tensors(), strict=True):
            mine[list(rows)] = theirs

    def rollback(self, fed: Sequence[int], rows: Rows = None) -> None:
        """Forget all but the first `fed` tokens of each row, as if the others had never been fed.

        Raises ValueError where memory has let go of tokens that would have to come back; then no row is changed.
        """
        back = dict(zip(range(len(self.lengths)) if rows is None else rows, fed, strict=True))
        for row, tokens in back.items():
            length, kept = tokens - int(self.dropped[row]), self.memory.sink or 0
            if not (kept if self.dropped[row] else 0) <= length <= self.lengths[row]:
                raise ValueError(f"row {row} was fed {int(self.fed[row])} tokens: it cannot go back to {tokens}")
        for row, tokens in back.items():
            self.lengths[row] = tokens - self.dropped[row]

    def tensors(self) -> tuple[Tensor, ...]:
        return self.keys, self.values, self.lengths, self.dropped


def start(model: Any, batch: int, memory: Memory) -> State:
    """A state in which nothing has been fed. Raises ValueError for a model that cannot be streamed like this."""
    config = model.config.get_text_config(decoder=True)
    heads = _key_heads(config)
    _check(config, memory)
    if memory.sink is not None:
        _check_turning(model, config)
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    shape = (batch, config.num_hidden_layers, heads, memory.slots + 1, width)
    keys, values = (torch.zeros(shape, dtype=model.dtype, device=model.device) for _ in range(2))
    return State(keys, values, torch.zeros(batch, dtype=torch.int64), torch.zeros(batch, dtype=torch.int64), memory)


_ALL_HEADS = ("gpt2", "gpt_neox", "gptj", "opt", "falcon")
"""Families that keep keys of every head, so that their configs do not say how many."""


def _key_heads(config: Any) -> int:
    """Heads that have keys and values of their own, each as wide as the others."""
    kind, said = config.model_type, getattr(config, "num_key_value_heads", None)
    if getattr(config, "alibi", False) or getattr(config, "kv_lora_rank", None):
        said = None
    elif kind == "falcon" and config.multi_query and not config.new_decoder_architecture:
        said = 1
    elif kind in _ALL_HEADS:
        said = config.num_attention_heads
    if said is None:
        raise ValueError(f"a {kind} model does not keep keys by head and position alone: take another to stream")
    return int(said)


def _check(config: Any, memory: Memory) -> None:
    longest = getattr(config, "max_position_embeddings", memory.slots)
    if memory.slots > longest:
        raise ValueError(f"{memory.slots} slots, but the model knows {longest} positions: take fewer slots")
    if config._attn_implementation not in ("sdpa", "eager"):
        raise ValueError(f"load the model with attn_implementation='sdpa', not {config._attn_implementation!r}")
    others = set(getattr(config, "layer_types", None) or ()) - {"full_attention"}
    if others:
        raise ValueError(
            f"layers of type {sorted(others)} do not keep their keys by position; only full attention does"
        )
    rope = (getattr(config, "rope_parameters", None) or {}).get("rope_type")
    if memory.sink is not None and rope not in ("default", "linear", "llama3", "yarn"):
        raise ValueError(f"a sink needs rotary positions that do not change with length, not {rope!r}")


def _check_turning(model: Any, config: Any) -> None:
    """Keys can be turned where the decoder has one rotation for all layers, and its module says how it is used."""
    decoder = model.get_decoder()
    if not (hasattr(decoder, "rotary_emb") and hasattr(_module(decoder), "apply_rotary_pos_emb")):
        raise ValueError(f"the keys of a {config.model_type} model cannot be turned: take a Memory without a sink")


# ---------------------------------------------------------------- a step


@torch.no_grad()
def step(model: Any, state: State, inputs: Tensor, rows: Rows = None, counts: Sequence[int] | None = None) -> Tensor:
    """Feed each row N tokens more, and give the hidden states at them (after the final norm): [B, N, D].

    inputs   ids [B, N], or embeddings [B, N, D]
    rows     the rows that are fed, B of them. Neighbours in order are read where they lie; others are copied
    counts   how many of the N tokens of each row are real: the rest is padding at the end
    """
    fed = list(range(len(state.lengths)) if rows is None else rows)
    fresh = torch.tensor([inputs.shape[1]] * len(fed) if counts is None else list(counts))
    _check_inputs(state, inputs, fed, fresh)
    for row, tokens in zip(fed, fresh.tolist(), strict=True):
        if state.lengths[row] + tokens > state.memory.slots:
            _forget(model, state, row)
    slots = _Slots(state, fed, fresh, inputs.shape[1])
    named = {"inputs_embeds" if inputs.is_floating_point() else "input_ids": inputs}
    hidden: Tensor = model.get_decoder()(
        **named,
        position_ids=slots.places,
        attention_mask=slots.mask(),
        past_key_values=slots,
        use_cache=True,
    ).last_hidden_state
    state.lengths[fed] += fresh
    return hidden


def finite(numbers: Tensor) -> Tensor:
    """States or logits as they are. Raises FloatingPointError where some are too large for their precision."""
    if not torch.isfinite(numbers).all():
        dtype = str(numbers.dtype).removeprefix("torch.")
        raise FloatingPointError(f"states that are no finite numbers in {dtype}: load the model in bfloat16 or float32")
    return numbers


def _check_inputs(state: State, inputs: Tensor, rows: list[int], fresh: Tensor) -> None:
    most = state.memory.slots if state.memory.sink is None else state.memory.spare
    if not len(inputs) == len(rows) == len(fresh) == len(set(rows)):
        raise ValueError(f"inputs for {len(inputs)} rows and {len(fresh)} counts, but the rows are {rows}")
    if not 0 <= fresh.min() <= fresh.max() <= inputs.shape[1]:
        raise ValueError(f"counts of {fresh.tolist()} for {inputs.shape[1]} tokens a row: give 0 to {inputs.shape[1]}")
    if fresh.max() > most:
        raise ValueError(f"{fresh.max()} tokens in a step, but only {most} slots can be freed: feed them in parts")


class _Slots:
    """Where one step writes and reads: what a transformers model takes for its cache."""

    is_compileable = False

    def __init__(self, state: State, rows: list[int], fresh: Tensor, tokens: int) -> None:
        device, before, order = state.keys.device, state.lengths[rows][:, None], torch.arange(tokens)
        self._keys, self._values = state.keys, state.values
        self._used = int((before[:, 0] + fresh).max())
        self.positions = torch.where(order < fresh[:, None], before + order, state.memory.slots).to(device)
        self.places = self.positions.clamp(max=state.memory.slots - 1)
        self._written = torch.tensor(rows, device=device)[:, None]
        neighbours = rows == list(range(rows[0], rows[0] + len(rows)))
        self._read = slice(rows[0], rows[0] + len(rows)) if neighbours else self._written[:, 0]

    def mask(self) -> Tensor:
        """0 where a token may look (at itself and back), the lowest number elsewhere: [B, 1, N, slots in use]."""
        slots = torch.arange(self._used, device=self.positions.device)
        hidden = slots > self.positions[:, None, :, None]
        dtype = self._keys.dtype
        return torch.zeros(hidden.shape, dtype=dtype, device=slots.device).masked_fill_(hidden, torch.finfo(dtype).min)

    def get_seq_length(self, *_: Any) -> int:
        """Slots in use. Some decoders ask, though they are given the positions."""
        return self._used

    def update(self, keys: Tensor, values: Tensor, layer: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Keep the step's [B, H, N, head width]; give all that may be seen, [B, H, slots in use, head width]."""
        self._keys[self._written, layer, :, self.positions] = keys.transpose(1, 2)
        self._values[self._written, layer, :, self.positions] = values.transpose(1, 2)
        return self._keys[self._read, layer, :, : self._used], self._values[self._read, layer, :, : self._used]


# ---------------------------------------------------------------- forgetting


def _forget(model: Any, state: State, row: int) -> None:
    """Drop the oldest tokens behind the sink, so that `spare` slots are free."""
    memory, length = state.memory, int(state.lengths[row])
    if memory.sink is None:
        raise ValueError(
            f"row {row} has filled {length} of {memory.slots} slots: give it more, or a Memory with a sink"
        )
    gone = length - (memory.slots - memory.spare)
    kept, moved = slice(memory.sink, length - gone), slice(memory.sink + gone, length)
    state.keys[row, :, :, kept] = _turned(model, state.keys[row, :, :, moved], -gone)
    state.values[row, :, :, kept] = state.values[row, :, :, moved].clone()
    state.lengths[row] -= gone
    state.dropped[row] += gone


def _turned(model: Any, keys: Tensor, by: int) -> Tensor:
    """Keys [L, H, N, head width] as they would be `by` positions further: by the model's own rotation, which may turn
    their first part alone."""
    decoder = model.get_decoder()
    cos, sin = decoder.rotary_emb(keys, torch.tensor([[by]], device=keys.device))
    scale = decoder.rotary_emb.attention_scaling
    rotary, rest = keys[..., : cos.shape[-1]], keys[..., cos.shape[-1] :]
    turned: Tensor = _module(decoder).apply_rotary_pos_emb(rotary, rotary, cos / scale, sin / scale)[1]
    return torch.cat((turned, rest), -1)


def _module(decoder: Any) -> Any:
    return sys.modules[type(decoder).__module__]
