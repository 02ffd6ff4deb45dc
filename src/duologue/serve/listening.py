"""One caller's sound, from base64 to frames: to turn detection while that is on, else into the input buffer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

import numpy as np

from duologue.serve.events import EventError
from duologue.serve.house import House
from duologue.serve.wire import Incoming, decode_base64
from duologue.session import HEARD_HZ, Audio, Event
from duologue.sound.frames import Framer
from duologue.turns import TurnSession

LEAST_COMMIT_MS = 100

_SLICE_S = 0.5
"""So much sound is heard at a time; other callers have their turn in between."""


class Ear:
    """Hears for one session. `on(event)` is called for whatever turn detection notices."""

    def __init__(
        self, session: TurnSession, house: House, format_name: str, on: Callable[[Iterable[Event]], None]
    ) -> None:
        self.detecting = True
        """Whether turns are detected; if not, sound waits in the buffer for a commit."""
        self.ended_by_client = False
        """Whether the utterance that ends now was ended by the client, which will ask for an answer itself."""
        self._session, self._on = session, on
        self._limits, self._metrics = house.limits, house.metrics
        self._incoming = Incoming(format_name)
        self._framer = Framer(session.heard_samples)
        self._buffer: list[Audio] = []
        self._position_samples = 0

    # ------------------------------------------------ settings

    def use_format(self, format_name: str) -> None:
        if format_name != self._incoming.format_name:
            self._incoming = Incoming(format_name)

    def detect(self, detecting: bool) -> None:
        """Turn detection on or off. An utterance that is open when it ends is dropped."""
        if self.detecting and not detecting:
            self.clear()
        self.detecting = detecting

    # ------------------------------------------------ sound

    async def append(self, base64_text: str) -> None:
        """Hear one append. Raises EventError, with nothing of it used."""
        if len(base64_text) > self._limits.append_characters:
            raise EventError(
                "invalid_value",
                f"One append holds {self._limits.append_characters} characters, not {len(base64_text)}.",
                "audio",
            )
        sound = await decode_base64(base64_text, self._incoming.format_name)
        self._refuse_overflow(self._incoming.duration_ms(sound) / 1000)
        for piece in self._incoming.slices(sound, _SLICE_S):
            self._take(self._incoming.push(piece))
            await asyncio.sleep(0)

    def _refuse_overflow(self, more_s: float) -> None:
        held_s = 0.0 if self.detecting else self.buffered_ms / 1000
        if held_s + more_s > self._limits.input_buffer_s:
            self._metrics.input_dropped_ms.inc(more_s * 1000)
            raise EventError(
                "input_audio_buffer_overflow",
                f"The buffer holds {self._limits.input_buffer_s:g} s of audio; commit or clear it.",
                "audio",
            )

    def _take(self, samples: Audio) -> None:
        if not self.detecting:
            self._buffer.append(samples)
            self._position_samples += len(samples)
            return
        for frame in self._framer.push(samples):
            self._position_samples += len(frame)
            self._on(self._session.hear(frame))

    @property
    def buffered_ms(self) -> float:
        return sum(map(len, self._buffer)) * 1000 / HEARD_HZ

    def position_ms(self, at_s: float) -> int:
        """A moment of the session's time, as milliseconds of appended audio since the beginning."""
        return max(0, round(self._position_samples * 1000 / HEARD_HZ - (self._session.now_s - at_s) * 1000))

    # ------------------------------------------------ the buffer

    def commit(self) -> Audio:
        """Take what is buffered, [N] at 16 kHz. Raises EventError when that is less than 100 ms."""
        tail = self._incoming.flush()
        self._buffer.append(tail)
        self._position_samples += len(tail)
        if self.buffered_ms < LEAST_COMMIT_MS:
            raise EventError(
                "input_audio_buffer_commit_empty",
                "Error committing input audio buffer: buffer too small. Expected at least "
                f"{LEAST_COMMIT_MS} ms of audio, but buffer only has {self.buffered_ms:.2f} ms of audio.",
            )
        audio = np.concatenate(self._buffer)
        self._buffer.clear()
        return audio

    def end_utterance(self) -> None:
        """The client says that the user has finished: an open utterance is over. Raises EventError if none is."""
        self.ended_by_client = True
        events = self._session.flush()
        self._on(events)
        self.ended_by_client = False
        if not any(event.kind == "turn" for event in events):
            raise EventError(
                "input_audio_buffer_commit_empty",
                "Error committing input audio buffer: buffer too small. Nobody has spoken since the last turn.",
            )

    def clear(self) -> None:
        """Drop what is buffered, and an utterance that is not over yet."""
        self._buffer.clear()
        self._incoming.flush()
        self._session.forget_sound()
