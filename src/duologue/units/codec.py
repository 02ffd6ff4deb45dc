"""What every codec is to its users: waveform → units → waveform, live, with the state in the caller's hands.

    hearing = codec.start_encoder(batch=1)
    codes = codec.encode(audio, hearing)             # as many units as are complete
    saying = codec.start_decoder(batch=1)
    sound = codec.decode(codes, saying)              # as much sound as was put in units

However the sound is cut into chunks, the units are the same, and so is the sound that is made of them (to 1e-5).
Encoder and decoder are contracts of their own: a language model may hear through one and speak through another.

Letters in shapes: B batch, N samples, T units in time, Q books. Codes are [B, Q, T] int64.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


@dataclass(frozen=True)
class CodecState:
    """What a codec remembers of B streams. The batch is the first axis of every tensor; tensors are
    replaced in the list, never changed. Rows may have begun at different times."""

    tensors: list[Tensor]

    def fork(self, rows: Sequence[int] | None = None) -> CodecState:
        """The rows as a state of their own (a row may be asked for twice); None is all of them."""
        return CodecState([t if rows is None else t[list(rows)] for t in self.tensors])

    def scatter(self, other: CodecState, rows: Sequence[int]) -> None:
        """Put the rows of `other` in the place of `rows`. Raises ValueError where their sizes differ."""
        for number, (mine, theirs) in enumerate(zip(self.tensors, other.tensors, strict=True)):
            if theirs.shape != (len(rows), *mine.shape[1:]):
                raise ValueError(
                    f"rows of {list(theirs.shape)} do not fit {len(rows)} rows of {list(mine.shape)}: "
                    "bring both streams to the same place within a unit, by feeding whole units"
                )
            self.tensors[number] = mine.index_copy(0, torch.tensor(rows, device=mine.device), theirs)


class UnitEncoder(Protocol):
    """Waveform to units."""

    @property
    def heard_hz(self) -> int: ...
    @property
    def unit_hz(self) -> float: ...
    @property
    def books(self) -> int: ...
    @property
    def codes(self) -> int:
        """Codes of each book: 0 to codes - 1."""
        ...

    @property
    def heard_ahead_s(self) -> float:
        """How much sound after its own end a unit waits for; infinite where the whole utterance is heard first."""
        ...

    @property
    def silence(self) -> tuple[int, ...]:
        """The unit of silence, one code per book."""
        ...

    def start_encoder(self, batch: int) -> CodecState: ...

    def encode(self, audio: Tensor, state: CodecState, last: bool = False) -> Tensor:
        """[B, N] float32 at `heard_hz` → the units that are complete, [B, Q, T]. With `last`, the rest is filled
        with silence to a whole unit."""
        ...


class UnitDecoder(Protocol):
    """Units to waveform."""

    @property
    def said_hz(self) -> int: ...
    @property
    def unit_samples(self) -> int:
        """Samples at `said_hz` that a unit becomes."""
        ...

    @property
    def ahead_units(self) -> int:
        """Units after its own that the sound of a unit waits for."""
        ...

    @property
    def silence(self) -> tuple[int, ...]: ...

    def start_decoder(self, batch: int) -> CodecState: ...

    def decode(self, codes: Tensor, state: CodecState) -> Tensor:
        """[B, Q, T] → [B, T * unit_samples], later by `ahead_units` units: the first ones give silence."""
        ...


class Codec(UnitEncoder, UnitDecoder, Protocol):
    """Both."""


def refuse_unless_live(codec: Codec, chunk_units: int = 1, most_late_units: int = 0) -> int:
    """By how many units a chunk of so many is known late, sound coming unit by unit.

    Raises ValueError for a codec that no session can talk with: one without a decoder, one whose chunks are known later
    than `most_late_units` (`HubertUnits` and S3 hear the whole utterance first), or not one by one.
    """
    frame, hearing = torch.zeros(1, round(codec.heard_hz / codec.unit_hz)), codec.start_encoder(1)
    heard, known, books = 0, 0, codec.books
    while known < chunk_units and heard < chunk_units + most_late_units:
        _, books, units = codec.encode(frame, hearing).shape
        heard, known = heard + 1, known + units
    if not hasattr(codec, "start_decoder"):
        why = "it makes no sound of units"
    elif books != 1:
        why = f"its units have {books} books instead of one"
    elif known < chunk_units and 0 < codec.heard_ahead_s < math.inf:
        late_ms = 1000 * most_late_units / codec.unit_hz
        raise ValueError(
            f"{type(codec).__name__} knows a chunk more than {late_ms:g} ms after its end: take a greater latency"
        )
    elif known != chunk_units:
        why = f"the sound of {heard} units gives {known} units instead of {chunk_units}"
    else:
        return heard - chunk_units
    raise ValueError(
        f"{type(codec).__name__} cannot be talked with, {why}: take a model and the nano codec that it was trained "
        "with (recipes/nano_units.py makes one)"
    )


def encode_whole(encoder: UnitEncoder, audio: Tensor) -> Tensor:
    """All units of [B, N] at `heard_hz`: [B, Q, T], T = ceil of the duration times `unit_hz`."""
    return encoder.encode(audio, encoder.start_encoder(len(audio)), last=True)


def decode_whole(decoder: UnitDecoder, codes: Tensor) -> Tensor:
    """The sound of all units, beginning with the first one: [B, Q, T] → [B, T * unit_samples]."""
    after = torch.tensor(decoder.silence, device=codes.device).view(1, -1, 1)
    after = after.expand(len(codes), -1, decoder.ahead_units)
    audio = decoder.decode(torch.cat([codes, after], -1), decoder.start_decoder(len(codes)))
    return audio[:, decoder.ahead_units * decoder.unit_samples :]


def samples_per_unit(hz: int, unit_hz: float) -> int:
    """Raises ValueError where a unit is not a whole number of samples."""
    samples = hz / unit_hz
    if not math.isclose(samples, round(samples)):
        raise ValueError(f"{unit_hz} units a second do not fit {hz} Hz: a unit would be {samples} samples")
    return round(samples)
