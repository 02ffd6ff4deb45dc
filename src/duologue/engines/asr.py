"""Recognisers: sound in, words out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from duologue.session import Audio


@dataclass(frozen=True)
class Transcript:
    text: str
    language: str = "en"
    confidence: float | None = None


class ASR(Protocol):
    def transcribe(self, audio: Audio) -> Transcript: ...


class PocketSphinx:
    def __init__(self, grammar: str | None = None) -> None: ...
    def transcribe(self, audio: Audio) -> Transcript:
        raise NotImplementedError


class Whisper(PocketSphinx): ...


class OpenAITranscriber(PocketSphinx): ...
