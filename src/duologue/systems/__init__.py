"""The systems, by name. Registering one here is all it takes to talk with it, serve it and test it.

A factory makes the system for one caller; its arguments have defaults; what is heavy is shared between callers.
`SYSTEMS` answer when it is their turn, and `TurnSession` makes sessions of them; so do those of `TRAINED`, by a model
in a folder. Those of `DUPLEX`, by a model too, hear while they speak, and make sessions themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

from duologue.session import TurnTaker
from duologue.systems.clean_s2s import cascade

if TYPE_CHECKING:
    from pathlib import Path

    from duologue.duplex import LayoutSession
    from duologue.model.precision import Precision
    from duologue.systems.sync_llm_talk import SyncSession

    Duplex = LayoutSession | SyncSession

# Who talks with the cascade does not wait for torch to be loaded: these are imported when they are asked for.


def _llama_omni(
    model: str | Path | None = None,
    now: Callable[[], datetime] = datetime.now,
    omega: float | None = None,
    dtype: Precision | None = None,
) -> TurnTaker:
    from duologue.systems import llama_omni_turns

    manner = llama_omni_turns.Manner() if omega is None else llama_omni_turns.Manner(omega)
    return llama_omni_turns.talker(model, now, manner, dtype)


def _mini_omni(
    model: str | Path | None = None,
    now: Callable[[], datetime] = datetime.now,
    rows: int = 2,
    dtype: Precision = "float32",
    speaker: int = 0,
) -> TurnTaker:
    from duologue.systems import mini_omni_turns
    from duologue.systems.mini_omni_decoding import Decoding

    return mini_omni_turns.talker(model, now, Decoding(parallel=rows == 2), dtype, speaker)


def _fun_audio_chat(
    model: str | Path | None = None,
    now: Callable[[], datetime] = datetime.now,
    voice: str | Path | None = None,
) -> TurnTaker:
    from duologue.systems import fun_audio_chat_trained

    return fun_audio_chat_trained.talker(model, now, voice)


def _omni_flatten(model: str | Path | None = None, now: Callable[[], datetime] = datetime.now) -> LayoutSession:
    from duologue.systems import omni_flatten

    return omni_flatten.session(model, now)


def _sync_llm(
    model: str | Path | None = None,
    now: Callable[[], datetime] = datetime.now,
    latency: int = 1,
    voice: str | Path | None = None,
) -> SyncSession:
    from duologue.systems import sync_llm_talk

    return sync_llm_talk.session(model, latency, voice=voice)


SYSTEMS: dict[str, Callable[..., TurnTaker]] = {"clean_s2s": cascade}
TRAINED: dict[str, Callable[..., TurnTaker]] = {
    "llama_omni": _llama_omni,
    "mini_omni": _mini_omni,
    "fun_audio_chat": _fun_audio_chat,
}
DUPLEX: dict[str, Callable[..., Duplex]] = {"omni_flatten": _omni_flatten, "sync_llm": _sync_llm}
