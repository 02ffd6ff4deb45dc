"""Sound as it travels: base64 of PCM or G.711 in messages, float32 at the session's rates on this side."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Iterator

import numpy as np

from duologue.serve import g711
from duologue.serve.events import EventError
from duologue.session import HEARD_HZ
from duologue.sound import Audio
from duologue.sound.wav import Resampler

PCM_HZ = 24_000

_SLICE_CHARACTERS = 2**18
"""So much base64 is decoded at a time (a multiple of 4); other callers have their turn in between."""


def wire_hz(format_name: str) -> int:
    """Samples in a second of "audio/pcm", "audio/pcmu" or "audio/pcma"."""
    return PCM_HZ if format_name == "audio/pcm" else g711.G711_HZ


def refuse_half_samples(sound: bytes) -> None:
    """Raises EventError `invalid_audio` for bytes that are no whole number of samples of 16 bits."""
    if len(sound) % 2:
        raise EventError("invalid_audio", f"{len(sound)} bytes are no whole number of samples of 16 bits.", "audio")


def from_pcm16(sound: bytes) -> Audio:
    """Little-endian samples of 16 bits to [N] in [-1, 1)."""
    return np.frombuffer(sound, "<i2").astype(np.float32) / np.float32(32768)


def to_pcm16(samples: Audio) -> bytes:
    """[N] in [-1, 1] to little-endian samples of 16 bits; what is louder is clipped."""
    return np.clip(np.round(samples * 32768), -32768, 32767).astype("<i2").tobytes()


async def decode_base64(text: str, format_name: str) -> bytes:
    """The bytes of one append, whole samples. Raises EventError `invalid_base64` or `invalid_audio`."""
    pieces = []
    try:
        for start in range(0, len(text), _SLICE_CHARACTERS):
            pieces.append(binascii.a2b_base64(text[start : start + _SLICE_CHARACTERS], strict_mode=True))
            await asyncio.sleep(0)
    except (binascii.Error, ValueError) as error:
        raise EventError("invalid_base64", f"The audio is not base64: {error}.", "audio") from None
    if any(len(piece) % 3 for piece in pieces[:-1]):
        raise EventError("invalid_base64", "The audio is not base64: padding before its end.", "audio")
    sound = b"".join(pieces)
    if format_name == "audio/pcm":
        refuse_half_samples(sound)
    return sound


class Incoming:
    """One caller's sound: bytes as they arrive in, samples at 16 kHz out."""

    def __init__(self, format_name: str) -> None:
        self.format_name = format_name
        self._resampler = Resampler(wire_hz(format_name), HEARD_HZ)

    def push(self, sound: bytes) -> Audio:
        """Whole samples of the wire's format to [N] at 16 kHz."""
        is_pcm = self.format_name == "audio/pcm"
        return self._resampler.push(from_pcm16(sound) if is_pcm else g711.decode(sound, self.format_name))

    def flush(self) -> Audio:
        """What the change of rate still holds back."""
        return self._resampler.flush()

    def duration_ms(self, sound: bytes) -> float:
        return len(sound) / self._bytes_per_s * 1000

    def slices(self, sound: bytes, slice_s: float) -> Iterator[bytes]:
        """The bytes in pieces of `slice_s` seconds, whole samples each."""
        size = round(self._bytes_per_s * slice_s / 2) * 2
        return (sound[start : start + size] for start in range(0, len(sound), size))

    @property
    def _bytes_per_s(self) -> int:
        return wire_hz(self.format_name) * (2 if self.format_name == "audio/pcm" else 1)


class Outgoing:
    """One reply's sound: samples at the system's rate in, base64 deltas out, each decodable alone."""

    def __init__(self, said_hz: int, format_name: str) -> None:
        self.format_name = format_name
        self._resampler = Resampler(said_hz, wire_hz(format_name))

    def push(self, audio: Audio) -> str:
        """[N] samples in [-1, 1] to base64, "" when the change of rate holds all of them back."""
        return self._encoded(self._resampler.push(audio))

    def flush(self) -> str:
        return self._encoded(self._resampler.flush())

    def _encoded(self, samples: Audio) -> str:
        if self.format_name != "audio/pcm":
            return base64.b64encode(g711.encode(samples, self.format_name)).decode()
        return base64.b64encode(to_pcm16(samples)).decode()
