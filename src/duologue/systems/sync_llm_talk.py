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
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from duologue.duplex import LATEST_ANSWER_S, TURN_ENDS_UNITS
from duologue.model.picking import Pick, Picking
from duologue.session import Audio, Event, Said
from duologue.streaming import Memory, start, step
from duologue.systems.sync_llm import (
    MEMORY,
    Alphabet,
    Config,
    Part,
    SyncLLM,
    after,
    encode,
    spread,
    units_after,
    written,
)
from duologue.units import nano_codec
from duologue.units.codec import Codec, CodecState

# ---------------------------------------------------------------- what callers share

LIKELIEST = Picking()


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


# ---------------------------------------------------------------- the model of one conversation


class Mind(Protocol):
    """A language model and its context. Tokens at the end of it can be taken back."""

    @property
    def length(self) -> int:
        """Tokens that it was given."""
        ...

    def put(self, tokens: Sequence[int]) -> None: ...

    def back_to(self, length: int) -> None:
        """Forget all tokens but the first `length`."""
        ...

    def choose(self, units: Tensor, ends: Sequence[int]) -> int | None:
        """The token that comes next, one of `units`; None: one of `ends` does. It is not put."""
        ...


class StreamingMind:
    """A model of transformers, fed as it goes on: what is put waits until something is asked."""

    def __init__(self, lm: Any, memory: Memory, pick: Pick, seed: int = 0) -> None:
        self._lm, self._pick, self._state = lm, pick, start(lm, 1, memory)
        self._most = memory.slots if memory.sink is None else memory.spare
        self._generator = torch.Generator().manual_seed(seed)
        self._waiting: list[int] = []
        self._hidden: Tensor | None = None

    @property
    def length(self) -> int:
        return int(self._state.fed[0]) + len(self._waiting)

    def put(self, tokens: Sequence[int]) -> None:
        self._waiting += tokens

    def back_to(self, length: int) -> None:
        fed = int(self._state.fed[0])
        del self._waiting[max(0, length - fed) :]
        if length < fed:
            self._state.rollback([length])

    def choose(self, units: Tensor, ends: Sequence[int]) -> int | None:
        """The tags that end a part are one outcome: which of them it is belongs to what comes after."""
        logits = self._logits()
        ended = logits[list(ends)].logsumexp(-1, keepdim=True)
        chosen = self._pick(torch.cat((logits[units], ended)), tuple, self._generator)
        return None if chosen == len(units) else int(units[chosen])

    def _logits(self) -> Tensor:
        """After all that was put: [V]."""
        while self._waiting:
            fed, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
            self._hidden = step(self._lm, self._state, torch.tensor([fed], device=self._state.keys.device))[:, -1]
        if self._hidden is None:
            raise RuntimeError("nothing was put yet: a conversation begins with a prompt")
        logits: Tensor = self._lm.get_output_embeddings()(self._hidden)[0].float().cpu()
        return logits


# ---------------------------------------------------------------- a call, chunk by chunk


@dataclass(frozen=True)
class _Guess:
    """What the user was guessed to say new, and the length of the context after it and the own part behind it."""

    part: Part
    end: int


class Call:
    """The chunks of one conversation: `hear` and `speak` take turns, `speak` first.

    It begins with chunks of both sides (the units of each part); the user's are fewer by the latency and one: own
    chunks are written before it is known what the user says in them. Of the context, what stands behind the last real
    chunk of the user's and the own one after it may be taken back.
    """

    def __init__(
        self, mind: Mind, alphabet: Alphabet, config: Config, own: Sequence[Part], user: Sequence[Part]
    ) -> None:
        self._mind, self._alphabet, self._config = mind, alphabet, config
        self.latency_chunks = len(own) - len(user)
        if not user or self.latency_chunks < 0:
            raise ValueError(f"a call begins with a chunk of the user's and as many of its own, not with {len(user)}")
        self.said: Part = ()
        self.heard_chunks, self.guessed_right = 0, 0
        self._own_held, self._user_held = _last(own), _last(user)
        self._guesses: deque[_Guess] = deque()
        self._ahead = deque(own[len(user) :])
        for mine, theirs in zip(own, user, strict=False):
            self._put_own(mine)
            self._put_user(theirs)
        self._go_on()

    def hear(self, units: Sequence[int]) -> Part:
        """The real units of the user's next chunk, [slots], take the place of the guess. Gives what is new in them,
        against what was really heard before."""
        part = written(units, self._user_held, self._config.repeats)
        self._user_held = units[-1]
        self.heard_chunks += 1
        if self.expected == part:
            self.guessed_right += 1
            self._known = self._guesses.popleft().end
            self._ahead.popleft()
            return part
        self._guesses.clear()
        self._mind.back_to(self._known)
        self._put_user(part)
        self._go_on()
        return part

    def speak(self) -> Part:
        """The next own chunk: what is new in it."""
        for _ in self.speaking():
            pass
        return self.said

    def speaking(self) -> Iterator[None]:
        """`speak`, by one pass of the model at a time; `said` is the chunk when it has come to its end."""
        for own in [*self._ahead][len(self._guesses) :]:
            guess = yield from self._guessed()
            self._put_own(own)
            self._guesses.append(_Guess(guess, self._mind.length))
        if not self.latency_chunks:
            yield from self._say()
            self._known = self._mind.length
            return
        guess = yield from self._guessed()
        yield from self._say()
        self._ahead.append(self.said)
        self._guesses.append(_Guess(guess, self._mind.length))

    @property
    def expected(self) -> Part | None:
        """What the user is guessed to say new in the chunk that is heard next."""
        return self._guesses[0].part if self._guesses else None

    @property
    def passes(self) -> int:
        """Of the model, that `speaking` makes at most."""
        slots = self._config.slots
        return self.latency_chunks * (slots + 1) + slots

    # ------------------------------------------------------------ parts

    def _say(self) -> Iterator[None]:
        s0, s1, _ = self._alphabet
        self._mind.put([s0])
        self.said = yield from self._part(self._own_held, (s0, s1))
        self._own_held = self.said[-1] if self.said else self._own_held

    def _guessed(self) -> Generator[None, None, Part]:
        """What the user says new in the next chunk, as the model has it."""
        s0, s1, _ = self._alphabet
        held = _last([guess.part for guess in self._guesses], self._user_held)
        if after((), held, self._config).end:
            speaks = self._mind.choose(torch.tensor([s1]), (s0,))
            yield
            if speaks is None:
                return ()
        self._mind.put([s1])
        return (yield from self._part(held, (s0,), least=1))

    def _part(self, held: int | None, ends: Sequence[int], least: int = 0) -> Generator[None, None, Part]:
        """As the grammar has it, of so many units at least, up to one of the tags `ends`, which is left out."""
        part: Part = ()
        while len(units := units_after(part, held, self._alphabet, self._config)):
            may_end = len(part) >= least and after(part, held, self._config).end
            token = self._mind.choose(units, ends if may_end else ())
            yield
            if token is None:
                break
            self._mind.put([token])
            part = (*part, token - self._alphabet.units.start)
        return part

    def _put_own(self, part: Part) -> None:
        self._mind.put([self._alphabet.s0, *(self._alphabet.units[code] for code in part)])

    def _put_user(self, part: Part) -> None:
        if part:
            self._mind.put([self._alphabet.s1, *(self._alphabet.units[code] for code in part)])

    def _go_on(self) -> None:
        """What stands now is certain, and so is the own chunk that was written behind it."""
        if self._ahead:
            self._put_own(self._ahead.popleft())
        self._known = self._mind.length


def _last(parts: Sequence[Part], before: int | None = None) -> int | None:
    """The unit that sounds after the parts."""
    return next((part[-1] for part in reversed(parts) if part), before)


# ---------------------------------------------------------------- a session


class SyncSession:
    """A conversation of one caller, a `session.Session`. The sound of a frame is said `delay_frames` after its place
    on the clock: the decoder looks ahead."""

    def __init__(self, talking: Talking) -> None:
        self.talking, codec = talking, talking.codec
        self.said_hz, self.said_samples = codec.said_hz, codec.unit_samples
        self.heard_samples = round(codec.heard_hz / codec.unit_hz)
        self.frame_s = 1 / codec.unit_hz
        self.delay_frames = codec.ahead_units
        self.frames = 0
        own = _silence(talking)
        mind = StreamingMind(talking.model.lm, talking.memory, talking.picking, talking.seed)
        self.call = Call(mind, talking.model.alphabet, talking.model.config, own, own[:1])
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
        for _ in islice(self._work, -(-self.call.passes // self.talking.model.config.slots)):
            pass
        unit = self._next_unit()
        audio = torch.from_numpy(np.ascontiguousarray(heard, np.float32))[None]
        self._hear(self.talking.codec.encode(audio, self._hearing)[:, 0, 0].tolist())
        self.frames += 1
        events = self._teller.tell(self.frames * self.frame_s, unit)
        return Said(self._voice.say(unit), tuple(events), self._teller.speaking)

    def _next_unit(self) -> int:
        """What sounds in this frame."""
        config, silence = self.talking.model.config, self.talking.codec.silence[0]
        if not self._sounding:
            if not self._due:
                self._finish()
            part = self._due.popleft()
            self._sounding.extend(spread(part, config.slots, self._held, silence, config.filling))
            self._held = _last([part], self._held)
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


class Voice:
    """Codes into sound, one at a time. It rests while there is nothing but silence."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self._state: CodecState | None = None
        self._silent_units = 0

    def say(self, code: int) -> Audio:
        """The sound of the code `ahead_units` before this one."""
        silent = code == self._codec.silence[0]
        self._silent_units = self._silent_units + 1 if silent else 0
        if self._silent_units > self._codec.ahead_units:
            self._state = None
        if self._state is None:
            if silent:
                return np.zeros(self._codec.unit_samples, np.float32)
            self._state = self._codec.start_decoder(1)
        sound = self._codec.decode(torch.tensor([[[code]]]), self._state)[0]
        return sound.clamp(-1, 1).numpy()


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

CODEC = "nano_units.safetensors"
"""The codec in a model's folder."""
SHIPPED = Path(__file__).parents[1] / "weights" / "sync_llm_nano"


def session(
    model: str | Path | None = None, latency_chunks: int = 1, picking: Picking = LIKELIEST, seed: int = 0
) -> SyncSession:
    """A conversation with a trained model (a folder with its codec; None: the nano one that comes along). Raises
    ValueError, FileNotFoundError where there is none."""
    folder = Path(model or SHIPPED)
    return SyncSession(Talking(*loaded(folder), latency_chunks, picking, seed))


@lru_cache(maxsize=2)
def loaded(folder: Path) -> tuple[SyncLLM, Codec]:
    """What the sessions of the model in a folder share."""
    return SyncLLM.load(folder), nano_codec.load(folder / CODEC)
