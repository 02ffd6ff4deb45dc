"""CosyVoice 3's detokenizer: units at 25 Hz to sound at 24 kHz in a voice, by flow and vocoder, as it is spoken.

A chunk of units (25 as released) and three units more give the chunk's mel, and a mel gives sound up to a little more
than its last four frames. Nothing is computed twice: a chunk goes on from what the one before it left behind. What is
computed together is always one chunk, however the units come in.

In step (`decode`) sound is later by `ahead_units`, 30 as released; aloud (`say`) it comes as soon as it is final.

What the flow remembers grows by 180 MB with each second of speech at the released sizes (ten steps, 22 layers, keys and
values of two passes, float32), as long as every frame sees all before it. `DiTConfig.left_chunks` bounds it.

Letters in shapes: B batch, R some of its rows, T units, F frames at 50 Hz, M mel bands, N samples.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from duologue.units.codec import CodecState
from duologue.units.flow import Flow, FlowConfig
from duologue.units.growing import GrowingState
from duologue.units.hift import HiFT, HiFTConfig, named_here
from duologue.units.lookahead import NOTHING
from duologue.units.released import fields_of, fill, found, tensors_of
from duologue.units.voice import Voice

QUIET_UNITS = (1, 2, 28, 29, 55, 248, 494, 2241, 2242, 2322, 2323)
"""Units of the third S3 tokenizer that are silence or breath."""
Sounding = tuple[int, int, Tensor]
"""A row, how many of its new units are taken, and the sound [N] that they complete."""


class CosyVoice3:
    """A `UnitDecoder`. Raises ValueError where flow, vocoder and voice do not fit each other.

    Its state: units fed (those of the voice's sample first) [B], the latest of them, what the look ahead remembers,
    what the vocoder does, and what the flow does.
    """

    books = 1

    def __init__(self, flow: Flow, hift: HiFT, voice: Voice, silence: tuple[int, ...] = QUIET_UNITS[:1]) -> None:
        if (bands := flow.config.dit.mel_bands) != hift.config.mel_bands:
            raise ValueError(f"mel of {bands} bands for a vocoder of {hift.config.mel_bands}: take one release")
        voice.check(flow.config)
        self.flow, self.hift, self.silence = flow.eval(), hift.eval(), silence
        self.voice = voice.to(flow.noise.device)
        self.codes, self.said_hz = flow.config.codes, hift.config.hz
        self.unit_samples = flow.config.unit_frames * hift.config.frame_samples
        self._unit_frames, self._after = flow.config.unit_frames, flow.config.ahead_units
        self._chunk_units = flow.config.dit.chunk_frames // self._unit_frames
        self._flow_from = 3 + len(hift.start(1))

    @property
    def ahead_units(self) -> int:
        """The other units of a chunk, those that the flow looks ahead at, and those that the vocoder does."""
        return self._chunk_units - 1 + self._after - (-self.hift.late_samples // self.unit_samples)

    # ------------------------------------------------------------ in step

    def start_decoder(self, batch: int) -> CodecState:
        queue = self.flow.noise.new_zeros(1, self.ahead_units * self.unit_samples)
        return GrowingState([queue, *self._begun.tensors]).fork([0] * batch)

    @torch.no_grad()
    def decode(self, codes: Tensor, state: CodecState) -> Tensor:
        """[B, 1, T] → [B, T * unit_samples], later by `ahead_units` units. Raises ValueError for codes of another
        shape, or that are none."""
        queue, core = state.tensors[0], GrowingState(state.tensors[1:])
        self._check(codes, len(queue))
        counts = torch.full((len(codes),), codes.shape[-1], device=codes.device)
        said = functional.pad(queue, (0, codes.shape[-1] * self.unit_samples))
        lag = self._after * self.unit_samples + self.hift.late_samples
        for row, units, sound in self._chunks(codes[:, 0], counts, core):
            end = queue.shape[1] + units * self.unit_samples - lag
            said[row, end - len(sound) : end] = sound
        now = codes.shape[-1] * self.unit_samples
        state.tensors[:] = [said[:, now:], *core.tensors]
        return said[:, :now]

    # ------------------------------------------------------------ aloud

    def start_aloud(self, batch: int) -> CodecState:
        return self._begun.fork([0] * batch)

    @torch.no_grad()
    def say(self, codes: Sequence[Tensor], state: CodecState, last: bool = False) -> list[Tensor]:
        """New units of each row, [1, T] with T of its own → the sound that is final now, [N] of each row.

        With `last` everything comes out, and the rows are as at the start. Raises as `decode`.
        """
        for new in codes:
            self._check(new[None], 1)
        core, before = GrowingState(list(state.tensors)), self._frames(state)
        sounds = [[self.flow.noise.new_zeros(0)] for _ in codes]
        for row, _, sound in self._all_chunks(codes, core, last):
            sounds[row].append(sound)
        after = self._frames(core)
        state.tensors[:] = self.start_aloud(len(codes)).tensors if last else core.tensors
        return [self._final(torch.cat(sounds[n]), before[n], after[n], last) for n in range(len(codes))]

    def _all_chunks(self, codes: Sequence[Tensor], core: GrowingState, last: bool) -> Iterator[Sounding]:
        """As `_chunks`; with `last` also what is no whole chunk."""
        counts = torch.tensor([row.shape[-1] for row in codes], device=self.flow.noise.device)
        counts = counts + self._after if last else counts
        rows = [functional.pad(row[0], (0, int(counts.max()) - row.shape[-1]), value=NOTHING) for row in codes]
        yield from self._chunks(torch.stack(rows), counts, core)
        if last:
            units = (core.tensors[0] - self._after) % self._chunk_units
            yield from self._sounding(torch.ones_like(counts, dtype=torch.bool), units, counts, core, last)

    def _frames(self, state: CodecState) -> list[int]:
        """How many frames of each row the vocoder has heard."""
        return [int(frames) for frames in state.tensors[3]]

    def _final(self, sound: Tensor, before: int, after: int, last: bool) -> Tensor:
        """One row's sound [N], of what the vocoder gave late: not before its beginning, not behind its end."""
        late, frame = self.hift.late_samples, self.hift.config.frame_samples
        end = late + (after - before) * frame if last else len(sound)
        return sound[max(0, late - before * frame) : end]

    # ------------------------------------------------------------ chunks

    def _chunks(self, codes: Tensor, counts: Tensor, core: GrowingState) -> Iterator[Sounding]:
        """Take the first `counts` units of each row, [B, T], and make sound of each chunk that is complete."""
        fed, window, *_ = core.tensors
        known, taken = torch.cat([window, codes], 1), torch.zeros_like(counts)
        whole = torch.full_like(counts, self._chunk_units)
        while bool((taken < counts).any()):
            left = whole - (fed + taken - self._after) % self._chunk_units
            step = torch.minimum(counts - taken, left)
            taken = taken + step
            latest = known.gather(1, taken[:, None] + torch.arange(window.shape[1], device=known.device))
            core.tensors[:2] = [fed + taken, latest]
            yield from self._sounding((step == left) & (fed + taken > self._after), whole, taken, core)

    def _sounding(
        self, due: Tensor, units: Tensor, taken: Tensor, core: GrowingState, last: bool = False
    ) -> Iterator[Sounding]:
        """The rows that are due, those together whose chunks are alike: so many units, and so many frames of them are
        the voice's sample."""
        begin = (core.tensors[0] - self._after - units) * self._unit_frames
        sample = (self.voice.sample_frames - begin).clamp(min=0).minimum(units * self._unit_frames)
        for size, told in sorted({(int(units[row]), int(sample[row])) for row in due.nonzero()}):
            rows = (due & (units == size) & (sample == told)).nonzero()[:, 0].tolist()
            part = core if len(rows) == len(due) else core.fork(rows)
            mel = self._mel(part, size) if size else self.flow.noise[None, :, :0].expand(len(rows), -1, -1)
            sound = self._sound(mel[..., told:], part, last)
            if part is not core:
                core.scatter(part, rows)
            yield from zip(rows, taken[rows].tolist(), sound, strict=True)

    def _mel(self, part: GrowingState, units: int) -> Tensor:
        """The mel [R, M, F] of the last units before those that are looked ahead at."""
        fed, window, before, *_ = part.tensors
        frames = torch.arange(units * self._unit_frames, device=fed.device)
        place = (fed - self._after - units)[:, None] * self._unit_frames + frames
        said, part.tensors[2] = self.flow.said(window[:, -(units + self._after) :], before)
        speaker = self.flow.speaker(self.voice.vector[None]).expand(len(fed), -1)
        mel, part.tensors[self._flow_from :] = self.flow.sample(
            said, speaker, self._told(place), place, part.tensors[self._flow_from :]
        )
        return mel

    def _sound(self, mel: Tensor, part: GrowingState, last: bool) -> Tensor:
        """[R, M, F] → what the vocoder gives of it, late; with `last`, everything that it holds."""
        more = -(-self.hift.late_samples // self.hift.config.frame_samples) if last else 0
        if not mel.shape[-1] + more:
            return mel[:, 0]
        inside = functional.pad(torch.ones_like(mel[:, 0], dtype=torch.bool), (0, more))
        sound, heard = self.hift.late(functional.pad(mel, (0, more)), inside, part.tensors[3 : self._flow_from])
        part.tensors[3 : self._flow_from] = heard
        return sound

    # ------------------------------------------------------------ the voice

    @cached_property
    def _begun(self) -> GrowingState:
        """One row, after the voice's sample."""
        fed = torch.zeros(1, dtype=torch.int64, device=self.flow.noise.device)
        window = fed.new_full((1, self._chunk_units + self._after), NOTHING)
        past = self.flow.start(1)
        begun = GrowingState([fed, window, self.flow.start_said(1), *self.hift.start(1), *past])
        if self.voice.codes is not None:
            codes = self.voice.codes[None]
            with torch.no_grad():
                list(self._chunks(codes, torch.full_like(fed, codes.shape[1]), begun))
        return begun

    def _told(self, place: Tensor) -> Tensor:
        """The mel of the voice's sample at the places [R, F], nothing behind it: [R, M, F]."""
        mel = self.flow.noise[:, :0] if self.voice.mel is None else self.voice.mel
        return functional.pad(mel, (0, 1))[:, place.clamp(max=mel.shape[-1])].movedim(0, 1)

    def _check(self, codes: Tensor, rows: int) -> None:
        if codes.ndim != 3 or codes.shape[:2] != (rows, 1):
            raise ValueError(f"codes of shape {list(codes.shape)} for {rows} rows: give [B, 1, T]")
        if codes.numel() and not (codes.min() >= 0 and codes.max() < self.codes):
            raise ValueError(
                f"codes {int(codes.min())} to {int(codes.max())}: there are 0 to {self.codes - 1}; "
                "take special ids out before decoding"
            )


# ---------------------------------------------------------------- weights


def load(
    source: str | Path,
    voice: Voice,
    sizes: str | Path | None = None,
    silence: tuple[int, ...] = QUIET_UNITS[:1],
) -> CosyVoice3:
    """The detokenizer of a folder, or of an id on the Hugging Face hub (`FunAudioLLM/Fun-CosyVoice3-0.5B-2512`).

    It has flow.pt and hift.pt, of which nothing is run. `sizes` is a JSON file with the fields of cosyvoice3.yaml under
    "flow" and "hift"; without one they are those released. Raises FileNotFoundError, and ValueError where weights are
    missing, too many or of another shape.
    """
    fields = fields_of(sizes) if sizes else {}
    flow = Flow(FlowConfig.read(fields["flow"]) if "flow" in fields else None)
    hift = HiFT(HiFTConfig.read(fields["hift"]) if "hift" in fields else None)
    fill(flow, tensors_of(found(source, "flow.pt")), "flow.pt")
    fill(hift, named_here(tensors_of(found(source, "hift.pt"))), "hift.pt")
    return CosyVoice3(flow, hift, voice, silence)
