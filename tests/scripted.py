"""Engines and systems whose every word, sample and delay is known: for tests that must hold exactly."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from duologue.dialogue import Message, Tool, ToolCall
from duologue.engines.asr import Transcript
from duologue.session import Audio, Heard, Part, Speech, Turn
from duologue.sound.vad import WINDOW_SAMPLES

LOUD = np.full(WINDOW_SAMPLES, 0.5, np.float32)
QUIET = np.zeros(WINDOW_SAMPLES, np.float32)


class LevelVad:
    """Speech is whatever is louder than 0.1."""

    def start(self) -> None:
        return None

    def probability(self, window: Audio, state: None) -> tuple[float, None]:
        return float(np.abs(window).max() > 0.1), None


def tone(text: str, hz: int = 24_000, ms_per_character: int = 60, pitch_hz: float = 440.0) -> Audio:
    """A sound whose length is in proportion to the text."""
    samples = len(text) * ms_per_character * hz // 1000
    return (0.3 * np.sin(2 * np.pi * pitch_hz * np.arange(samples) / hz)).astype(np.float32)


@dataclass
class ScriptedSystem:
    """Hears what the script says, one entry a turn, and answers with its pieces. Counts how far it was pulled."""

    heard: list[str]
    answers: list[list[str]]
    delay_frames: int = 0
    turns: list[Turn] = field(default_factory=list)
    made: list[str] = field(default_factory=list)
    closed: int = 0
    said_hz: int = 24_000

    def reply(self, turn: Turn) -> Iterator[Part | None]:
        index = len(self.turns)
        self.turns.append(turn)
        try:
            for _ in range(self.delay_frames):
                yield None
            text = turn.text if turn.text is not None else self.heard[index]
            yield Heard(text)
            for piece in self.answers[index] if text else []:
                self.made.append(piece)
                yield Speech(tone(piece, self.said_hz), piece)
        except GeneratorExit:
            self.closed += 1
            raise


@dataclass
class ScriptedASR:
    texts: list[str]

    def transcribe(self, audio: Audio) -> Transcript:
        return Transcript(self.texts.pop(0))


@dataclass
class ScriptedLLM:
    """Writes its script, one entry a call; a string goes out character by character."""

    script: list[Sequence[str | ToolCall]]
    calls: list[tuple[Message, ...]] = field(default_factory=list)

    def think(self, messages: Sequence[Message], tools: Sequence[Tool]) -> Iterator[str | ToolCall]:
        self.calls.append(tuple(messages))
        for item in self.script.pop(0):
            yield from [item] if isinstance(item, ToolCall) else item


class ToneVoice:
    hz = 24_000

    def speak(self, text: str) -> Iterator[Audio]:
        yield tone(text)
