"""Engines by name, as the command line spells them: `kind` or `kind:which`.

    recogniser   pocketsphinx · whisper:PATH_OR_HUB_ID · openai:MODEL
    mind         desk · transformers:PATH_OR_HUB_ID · openai:MODEL
    voice        embedded · flite:VOICE · espeak:VOICE · vits:PATH_OR_HUB_ID · openai:MODEL/VOICE

Those named openai speak to any compatible endpoint: OPENAI_BASE_URL says where, OPENAI_API_KEY holds the key.
What is heavy is loaded once, at its first use, and shared by all callers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache

from duologue.desk import TOPICS, Desk, grammar
from duologue.engines import EngineError
from duologue.engines.asr import ASR, OpenAITranscriber, PocketSphinx, Whisper
from duologue.engines.llm import LLM, DeskMind, OpenAIChat, TransformersChat
from duologue.engines.tts import TTS, EmbeddedVoice, Espeak, Flite, OpenAISpeech, TransformersVits


@lru_cache
def recogniser(name: str) -> ASR:
    """Raises EngineError for a name that is none."""
    kinds: dict[str, Callable[[str], ASR]] = {
        "pocketsphinx": lambda _: _desk_ears(),
        "whisper": lambda which: Whisper(which or "openai/whisper-tiny"),
        "openai": lambda which: OpenAITranscriber(which or "whisper-1"),
    }
    kind, which = _parsed(name, "recogniser", kinds)
    return kinds[kind](which)


def _desk_ears() -> ASR:
    ears = PocketSphinx([grammar("en", [topic]) for topic in TOPICS])
    ears.start()
    return ears


def mind(name: str, desk: Desk) -> LLM:
    """Raises EngineError for a name that is none."""
    kinds: dict[str, Callable[[str], LLM]] = {
        "desk": lambda _: DeskMind(desk),
        "transformers": lambda which: TransformersChat(which or "Qwen/Qwen2.5-0.5B-Instruct"),
        "openai": lambda which: OpenAIChat(which or "gpt-4o-mini"),
    }
    kind, which = _parsed(name, "mind", kinds)
    return kinds[kind](which)


@lru_cache
def voice(name: str) -> TTS:
    """Raises EngineError for a name that is none."""
    kinds: dict[str, Callable[[str], TTS]] = {
        "embedded": lambda _: EmbeddedVoice(),
        "flite": lambda which: Flite(which or "slt"),
        "espeak": lambda which: Espeak(which or "en-us"),
        "vits": lambda which: TransformersVits(which or "facebook/mms-tts-eng"),
        "openai": _openai_voice,
    }
    kind, which = _parsed(name, "voice", kinds)
    return kinds[kind](which)


def _openai_voice(which: str) -> TTS:
    model, _, name = which.partition("/")
    return OpenAISpeech(model or "tts-1", name or "alloy")


def _parsed(name: str, role: str, kinds: Iterable[str]) -> tuple[str, str]:
    kind, _, which = name.partition(":")
    if kind not in kinds:
        raise EngineError(f"there is no {role} {name!r}; choose one of: {', '.join(kinds)}")
    return kind, which
