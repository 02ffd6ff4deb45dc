"""Recognisers: sound in, words out.

The embedded default is pocketsphinx, whose American English model comes in its wheel. `Whisper` and
`OpenAITranscriber` take its place where there is a model or an endpoint.
"""

from __future__ import annotations

import io
import os
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
import soundfile

from duologue.engines import EngineError
from duologue.engines.asr_grammar import Bigram
from duologue.engines.asr_sphinx import SphinxProcess
from duologue.session import HEARD_HZ, Audio


@dataclass(frozen=True)
class Transcript:
    """What was said; an empty text where nobody spoke. `confidence` in [0, 1], where the engine can tell."""

    text: str
    language: str = "en"
    confidence: float | None = None


class ASR(Protocol):
    def transcribe(self, audio: Audio) -> Transcript:
        """The words in `audio`, [N] at 16 kHz. Raises EngineError. Several threads may call at once."""
        ...


def checked(audio: Audio) -> Audio:
    """`audio` as float32 in [-1, 1]. Raises EngineError where it is not mono sound."""
    sound = np.asarray(audio, dtype=np.float32)
    if sound.ndim != 1:
        raise EngineError(f"a recogniser hears mono sound [N], this has the shape {sound.shape}; mix it down first")
    if not np.isfinite(sound).all():
        raise EngineError("the sound holds samples that are not finite; nothing can be recognised in it")
    return np.clip(sound, -1.0, 1.0)


# ---------------------------------------------------------------- embedded


class PocketSphinx:
    """pocketsphinx with the model in its wheel, decoding in a process of its own (see `asr_sphinx`).

    `grammar` is what may be said: one JSGF text, or one for each topic (better: paths then stay in their topic), or a
    bigram of what is said.
    What does not fit it, or everything without one, is heard with the wheel's language model.
    """

    def __init__(self, grammar: str | Sequence[str] | Bigram | None = None) -> None:
        one = (grammar,) if isinstance(grammar, str) else grammar
        self._process = SphinxProcess(one if isinstance(one, Bigram) else tuple(one or ()))

    def start(self) -> None:
        """Load in the background, so that the first utterance need not wait."""
        self._process.start()

    def transcribe(self, audio: Audio) -> Transcript:
        sound = checked(audio)
        if not sound.any():
            return Transcript("", confidence=1.0)
        heard = self._process.hear(sound)
        return Transcript(heard.text, confidence=heard.confidence)


# ---------------------------------------------------------------- transformers


class Whisper:
    """Whisper (Radford et al. 2022) through transformers, by path or hub id. Writes greedily, so the same sound gives
    the same text."""

    def __init__(self, path_or_hub_id: str, language: str = "en") -> None:
        self.path_or_hub_id, self.language = path_or_hub_id, language

    def transcribe(self, audio: Audio) -> Transcript:
        import torch

        model, processor = _whisper(self.path_or_hub_id)
        features = processor.feature_extractor(checked(audio), sampling_rate=HEARD_HZ, return_tensors="pt")
        many = getattr(model.generation_config, "is_multilingual", False)
        asked = {"language": self.language, "task": "transcribe"} if many else {}
        with torch.inference_mode():
            tokens = model.generate(features.input_features, do_sample=False, num_beams=1, **asked)
        return Transcript(processor.batch_decode(tokens, skip_special_tokens=True)[0].strip(), self.language)


@lru_cache(maxsize=2)
def _whisper(path_or_hub_id: str) -> tuple[Any, Any]:
    from transformers import AutoProcessor, WhisperForConditionalGeneration

    try:
        model = WhisperForConditionalGeneration.from_pretrained(path_or_hub_id).eval()
        return model, AutoProcessor.from_pretrained(path_or_hub_id)
    except (OSError, ValueError) as error:
        raise EngineError(f"no Whisper model at {path_or_hub_id!r}: {error}") from error


# ---------------------------------------------------------------- endpoint


class OpenAITranscriber:
    """Any OpenAI-compatible endpoint's /audio/transcriptions."""

    def __init__(
        self, model: str, base_url: str | None = None, api_key: str | None = None, language: str = "en"
    ) -> None:
        from openai import OpenAI

        self.model, self.language = model, language
        self._client = OpenAI(base_url=base_url, api_key=api_key or os.environ.get("OPENAI_API_KEY", "none"))
        weakref.finalize(self, self._client.close)

    def transcribe(self, audio: Audio) -> Transcript:
        from openai import OpenAIError

        try:
            answer = self._client.audio.transcriptions.create(
                model=self.model, file=("speech.wav", _wav(checked(audio))), language=self.language
            )
        except OpenAIError as error:
            raise EngineError(f"the transcription endpoint {self._client.base_url} failed: {error}") from error
        return Transcript(answer.text.strip(), self.language)


def _wav(audio: Audio) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, audio, HEARD_HZ, format="WAV", subtype="PCM_16")
    return file.getvalue()
