"""SyncLLM live: it speaks on time, whether the user was heard or not (section 3.3 of the paper).

    talking = Talking(SyncLLM.load(folder), codec, latency_chunks=1)
    session = SyncSession(talking)
    said = session.step(frame)               # one unit of sound in, one unit of sound out

The user is known `latency_chunks` later than the clock says. What is missing is guessed, so that the model can write
its own next chunk; when the real chunk arrives it is put in the place of the guess, by taking back the tokens from
there on. A guess that was right stays. With a latency of 0 nothing is guessed, and a chunk is written in the frame in
which it begins; with 1 there is the time of a chunk to write it, spread over the frames.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from duologue.duplex import LATEST_ANSWER_S, TURN_ENDS_UNITS
from duologue.model.picking import Picking
from duologue.session import Audio, Event, Said
from duologue.streaming import Memory
from duologue.systems.sync_llm import MEMORY, SyncLLM
from duologue.systems.sync_llm_call import Call, StreamingMind, last_unit
from duologue.systems.sync_llm_format import Part, encode, spread
from duologue.units import hubert_codec, nano_codec
from duologue.units.codec import Codec, encode_whole, refuse_unless_live
from duologue.units.speaking import Voice

# ---------------------------------------------------------------- what callers share

LIKELIEST, DRAWN = Picking(), Picking(temperature=0.8)
"""In each chunk silence is likelier than any one way to begin: who always takes the likeliest seldom speaks."""


@dataclass(frozen=True)
class Talking:
    """All that callers share. Each session picks tokens by a random generator of its own, begun with `seed`.

    Raises ValueError where the codec is not the one that the model was made for.
    """

    model: SyncLLM
    codec: Codec
    latency_chunks: int = 1
    picking: Picking = LIKELIEST
    seed: int = 0
    memory: Memory = MEMORY

    def __post_init__(self) -> None:
        codec, config, codes = self.codec, self.model.config, len(self.model.alphabet.units)
        if self.latency_chunks < 0:
            raise ValueError(f"latency_chunks is {self.latency_chunks}: 0 (nothing is guessed) or more")
        if self.picking.penalty != 1:
            raise ValueError(
                f"the penalty is {self.picking.penalty}: leave it at 1, the grammar keeps units from repeating"
            )
        if (codec.books, codec.codes, codec.unit_hz * config.unit_ms) != (1, codes, 1000):
            raise ValueError(
                f"the model has {codes} units of {config.unit_ms} ms, the codec {codec.books} books of {codec.codes}, "
                f"{codec.unit_hz:g} a second: take the codec that it was trained with"
            )


# ---------------------------------------------------------------- a session


class SyncSession:
    """A conversation of one caller, a `session.Session`. The sound of a frame is said `delay_frames` after its place
    on the clock: the decoder looks ahead. `opening`: units of its own that it begins with; somebody has to. An encoder
    that looks ahead takes its time out of the latency. Raises ValueError for a codec that cannot be used live, or not
    with so little latency."""

    def __init__(self, talking: Talking, opening: Sequence[int] = ()) -> None:
        slots, latency = talking.model.config.slots, talking.latency_chunks
        late = refuse_unless_live(talking.codec, slots, latency * slots)
        self._frames_to_write = min(slots, max(1, latency * slots - late))
        self.talking, codec = talking, talking.codec
        self.said_hz, self.said_samples = codec.said_hz, codec.unit_samples
        self.heard_samples = round(codec.heard_hz / codec.unit_hz)
        self.frame_s = 1 / codec.unit_hz
        self.delay_frames = codec.ahead_units
        self.frames = 0
        own = _silence(talking)
        mind = StreamingMind(talking.model.lm, talking.memory, talking.picking, talking.seed)
        self.call = Call(mind, talking.model.alphabet, talking.model.config, own, own[:1])
        self.call.tell([*opening, *[codec.silence[0]] * (-len(opening) % talking.model.config.slots)])
        self._due = deque(own[1:])
        self._work = self._speaking()
        self._sounding: deque[int] = deque()
        self._held: int | None = None
        self._heard: list[int] = []
        self._hearing, self._voice, self._teller = codec.start_encoder(1), Voice(codec), _Teller(codec.silence[0])

    @torch.inference_mode()
    def step(self, heard: Audio) -> Said:
        """Hear [heard_samples] at 16 kHz, say [said_samples]. Raises ValueError for what is not one finite frame."""
        if np.shape(heard) != (self.heard_samples,) or not np.isfinite(heard).all():
            raise ValueError(f"a frame is {self.heard_samples} finite samples, not {np.shape(heard)}")
        for _ in islice(self._work, -(-self.call.passes // self._frames_to_write)):
            pass
        unit = self._next_unit()
        audio = torch.from_numpy(np.ascontiguousarray(heard, np.float32))[None]
        self._hear(self.talking.codec.encode(audio, self._hearing)[0, 0].tolist())
        self.frames += 1
        events = self._teller.tell(self.frames * self.frame_s, unit)
        sound = self._voice.say(None if unit == self.talking.codec.silence[0] else unit)
        return Said(sound, tuple(events), self._teller.speaking)

    def _next_unit(self) -> int:
        """What sounds in this frame."""
        config, silence = self.talking.model.config, self.talking.codec.silence[0]
        if not self._sounding:
            if not self._due:
                self._finish()
            part = self._due.popleft()
            self._sounding.extend(spread(part, config.slots, self._held, silence, config.filling))
            self._held = last_unit([part], self._held)
        return self._sounding.popleft()

    def _hear(self, units: Sequence[int]) -> None:
        """When the user's chunk is whole, it is known, and the next own one can be written."""
        self._heard += units
        if len(self._heard) == self.talking.model.config.slots:
            self._finish()
            self.call.hear(self._heard)
            self._heard = []
            self._work = self._speaking()

    def _speaking(self) -> Iterator[None]:
        yield from self.call.speaking()
        self._due.append(self.call.said)

    def _finish(self) -> None:
        for _ in self._work:
            pass

    @property
    def guessed_right(self) -> float | None:
        """Share of the user's chunks that had been guessed; None where none was."""
        known = self.call.heard_chunks
        return self.call.guessed_right / known if known and self.call.latency_chunks else None

    @property
    def busy(self) -> bool:
        """Whether it is speaking."""
        return self._teller.speaking is not None

    @property
    def settles_s(self) -> float:
        """Silence by which it would have begun to answer."""
        chunks = self.call.latency_chunks + 2
        return chunks * self.talking.model.config.chunk_ms / 1000 + self.delay_frames * self.frame_s + LATEST_ANSWER_S

    def close(self) -> None:
        """Nothing is held beside memory."""


def _silence(talking: Talking) -> list[Part]:
    """Own chunks before the call: silence, one more than the latency."""
    config = talking.model.config
    raw = [talking.codec.silence[0]] * (config.slots * (talking.latency_chunks + 1))
    return [chunk.own for chunk in encode(raw, raw, config)]


class _Teller:
    """When it speaks, as events: read off its units. What it says is in its sound alone."""

    def __init__(self, silence: int) -> None:
        self._silence = silence
        self.speaking: int | None = None
        """The turn that sounds."""
        self._turn, self._silent_units = 0, 0

    def tell(self, at_s: float, code: int) -> list[Event]:
        """The events of a frame in which the model says this."""
        sounds = code != self._silence
        self._silent_units = 0 if sounds else self._silent_units + 1
        if sounds and self.speaking is None:
            self._turn += 1
            self.speaking, turn = self._turn, {"turn": self._turn}
            said = {**turn, "text": "", "samples": 0, "words": ()}
            return [Event("turn", at_s, {**turn, "start_s": at_s, "end_s": at_s}), Event("said", at_s, said)]
        if self.speaking is not None and self._silent_units >= TURN_ENDS_UNITS:
            turn, self.speaking = {"turn": self.speaking}, None
            return [Event("done", at_s, {**turn, "latency": {}})]
        return []


# ---------------------------------------------------------------- a trained model

SHIPPED = Path(__file__).parents[1] / "weights" / "sync_llm_nano"


def session(
    model: str | Path | None = None,
    latency_chunks: int = 1,
    picking: Picking = DRAWN,
    seed: int = 0,
    opening: Audio | None = None,
    voice: str | Path | None = None,
) -> SyncSession:
    """A conversation with a trained model (a folder that has its units; None: the nano one that comes along), which
    begins with saying `opening`, [N] at 16 kHz. `voice`: of HuBERT units, the folder of a unit HiFi-GAN. Raises
    ValueError, FileNotFoundError where there is none."""
    folder = Path(model or SHIPPED)
    found, codec = loaded(folder, voice)
    talking = Talking(found, codec, latency_chunks, picking, seed, found.memory)
    return SyncSession(talking, () if opening is None else _units(opening, talking.codec))


def _units(sound: Audio, codec: Codec) -> list[int]:
    found: list[int] = encode_whole(codec, torch.from_numpy(sound)[None])[0, 0].tolist()
    return found


@lru_cache(maxsize=2)
def loaded(folder: Path, voice: str | Path | None = None) -> tuple[SyncLLM, Codec]:
    """What the sessions of the model in a folder share: it, and the units that it says it has."""
    return SyncLLM.load(folder), _codec(folder, voice)


def _codec(folder: Path, voice: str | Path | None) -> Codec:
    if (folder / hubert_codec.UNITS).is_file():
        return hubert_codec.load(folder, voice)
    if voice is not None:
        raise ValueError(f"{folder} has no HuBERT units: it speaks in the voice of its codec, leave --voice out")
    return nano_codec.load(folder / nano_codec.CODEC)
