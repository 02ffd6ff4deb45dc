"""Voices: text in, sound out. Each engine says one piece at a time and yields its sound as it is made.

The embedded voice is flite or espeak-ng, run as separate programs; both speak the same text the same way every
time. Closing the generator stops the program or the request behind it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Iterator
from functools import lru_cache
from importlib.util import find_spec
from typing import Any, Protocol

import numpy as np
import soundfile

from duologue.engines import EngineError
from duologue.session import Audio
from duologue.sound.wav import Resampler, resample

_CHINESE = re.compile(r"[\u3400-\u9fff]")
_SPEAKABLE = re.compile(r"\w")
_PROGRAM_TIMEOUT_S = 30


class TTS(Protocol):
    """`speak(text)` yields the sound of one piece, [n] float32 at `hz`. Raises EngineError."""

    @property
    def hz(self) -> int: ...

    def speak(self, text: str) -> Iterator[Audio]: ...


# ---------------------------------------------------------------- programs


class Flite:
    """CMU Flite (https://github.com/festvox/flite, BSD-like): English, voices slt, rms, awb, kal16, and kal at
    half the rate."""

    hz = 16_000

    def __init__(self, voice: str = "slt") -> None:
        self.voice = voice
        self._program = _program("flite")

    def speak(self, text: str) -> Iterator[Audio]:
        with tempfile.NamedTemporaryFile(suffix=".wav") as file:
            _run([self._program, "-voice", self.voice, "-t", text, "-o", file.name])
            audio, hz = soundfile.read(file.name, dtype="float32")
        yield trimmed(resample(audio, hz, self.hz), self.hz)


class Espeak:
    """espeak-ng (https://github.com/espeak-ng/espeak-ng, GPL-3.0, run as a program of its own): many languages.

    Where the system has no espeak-ng, the library in the wheel `espeakng-loader` is run in a process of its own.
    """

    hz = 22_050

    def __init__(self, voice: str = "en-us", words_per_minute: int = 165) -> None:
        self.voice, self.words_per_minute = voice, words_per_minute
        program = shutil.which("espeak-ng")
        bundled = [sys.executable, "-m", "duologue.engines.espeak_bundled"]
        if program is None and find_spec("espeakng_loader") is None:
            raise EngineError("espeak-ng is not installed; apt-get install espeak-ng, or pip install espeakng-loader")
        self._command = [program] if program else bundled

    def speak(self, text: str) -> Iterator[Audio]:
        options = ["-v", self.voice, "-s", str(self.words_per_minute), "--stdin", "--stdout"]
        wav = _run([*self._command, *options], text.encode())
        yield trimmed(_samples(wav[_after_header(wav) :]), self.hz)


def trimmed(audio: Audio, hz: int, before_ms: int = 20, after_ms: int = 150) -> Audio:
    """The sound with so much of the silence (below a hundredth of its peak) around it: nobody waits for more."""
    loud = np.flatnonzero(np.abs(audio) > 0.01 * np.abs(audio).max(initial=0.0))
    if not len(loud):
        return audio
    return audio[max(0, loud[0] - before_ms * hz // 1000) : loud[-1] + 1 + after_ms * hz // 1000]


def _samples(pcm: bytes) -> Audio:
    """16-bit little-endian samples as float32 in [-1, 1]."""
    return np.frombuffer(pcm, "<i2").astype(np.float32) / np.float32(32768)


def _after_header(wav: bytes) -> int:
    """Where the samples begin: espeak-ng writes a stream, whose header does not know their number."""
    return wav.index(b"data") + 8


def _program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise EngineError(f"{name} is not installed; apt-get install {name}")
    return path


def _run(command: list[str], text: bytes = b"") -> bytes:
    """What the program prints. The program is killed when it takes too long."""
    try:
        done = subprocess.run(command, input=text, capture_output=True, timeout=_PROGRAM_TIMEOUT_S, check=True)
    except subprocess.TimeoutExpired:
        raise EngineError(
            f"{command[0]} has said nothing for {_PROGRAM_TIMEOUT_S} s; the text may be too long"
        ) from None
    except (OSError, subprocess.CalledProcessError) as error:
        reason = getattr(error, "stderr", b"") or str(error).encode()
        raise EngineError(f"{command[0]} failed: {reason.decode(errors='replace').strip()}") from error
    return done.stdout


class EmbeddedVoice:
    """The best voice that this machine has for the language of each piece, all at `hz`: for English flite's slt,
    then espeak-ng; for Mandarin espeak-ng."""

    hz = 24_000

    def __init__(self, english: TTS | None = None, mandarin: TTS | None = None) -> None:
        self._english = english or (Flite() if shutil.which("flite") else Espeak("en-us"))
        self._mandarin = mandarin

    def speak(self, text: str) -> Iterator[Audio]:
        if not _SPEAKABLE.search(text):
            return
        voice = self._english
        if _CHINESE.search(text):
            self._mandarin = voice = self._mandarin or Espeak("cmn")
        yield from resampled(voice, text, self.hz)


def resampled(voice: TTS, text: str, hz: int) -> Iterator[Audio]:
    """`voice.speak(text)` at another rate, as it is made."""
    resampler = Resampler(voice.hz, hz)
    for chunk in voice.speak(text):
        yield resampler.push(chunk)
    yield resampler.flush()


# ---------------------------------------------------------------- models


class TransformersVits:
    """A VITS model of transformers (facebook/mms-tts-eng and the like), by path or hub id."""

    def __init__(self, path_or_hub_id: str, seed: int = 0) -> None:
        self._model, self._tokenizer = _vits(path_or_hub_id)
        self.hz = int(self._model.config.sampling_rate)
        self.seed = seed

    def speak(self, text: str) -> Iterator[Audio]:
        import torch

        inputs = self._tokenizer(text, return_tensors="pt")
        if not inputs["input_ids"].shape[-1]:
            return
        with torch.inference_mode(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            waveform = self._model(**inputs).waveform[0]
        yield waveform.numpy().astype(np.float32)


@lru_cache(maxsize=2)
def _vits(path_or_hub_id: str) -> tuple[Any, Any]:
    from transformers import AutoTokenizer, VitsModel

    try:
        return VitsModel.from_pretrained(path_or_hub_id).eval(), AutoTokenizer.from_pretrained(path_or_hub_id)
    except (OSError, ValueError) as error:
        raise EngineError(f"no VITS model at {path_or_hub_id!r}: {error}") from error


class OpenAISpeech:
    """Any OpenAI-compatible endpoint's /audio/speech, streamed as 24 kHz PCM."""

    hz = 24_000

    def __init__(
        self, model: str, voice: str = "alloy", base_url: str | None = None, api_key: str | None = None
    ) -> None:
        from openai import OpenAI

        self.model, self.voice = model, voice
        self._client = OpenAI(base_url=base_url, api_key=api_key or os.environ.get("OPENAI_API_KEY", "none"))
        weakref.finalize(self, self._client.close)

    def speak(self, text: str) -> Iterator[Audio]:
        from openai import OpenAIError

        odd = b""
        try:
            with self._client.audio.speech.with_streaming_response.create(
                model=self.model, voice=self.voice, input=text, response_format="pcm"
            ) as response:
                for chunk in response.iter_bytes(4800):
                    whole = odd + chunk
                    odd = whole[len(whole) // 2 * 2 :]
                    yield _samples(whole[: len(whole) // 2 * 2])
        except OpenAIError as error:
            raise EngineError(f"the speech endpoint {self._client.base_url} failed: {error}") from error
