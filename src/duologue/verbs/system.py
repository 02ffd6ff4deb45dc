"""Which system talks, and what it is made of: the options that `talk`, `serve` and `eval` share."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from duologue.session import TurnTaker
    from duologue.systems import Duplex
    from duologue.talk import Converser


OWN = {
    "latency": ("sync_llm",),
    "omega": ("llama_omni",),
    "dtype": ("llama_omni", "mini_omni"),
    "rows": ("mini_omni",),
    "speaker": ("mini_omni",),
    "voice": ("fun_audio_chat", "sync_llm"),
}
"""Options of some systems alone, which their factories take by the same name."""


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--system",
        default="clean_s2s",
        help="clean_s2s (cascade), llama_omni, mini_omni, fun_audio_chat; omni_flatten, sync_llm (full duplex)",
    )
    parser.add_argument("--model", default=None, help="folder or hub id of a trained model; default: the shipped one")
    parser.add_argument("--latency", type=int, help="sync_llm: chunks by which the user is known late (default: 1)")
    parser.add_argument("--omega", type=float, help="llama_omni: units that make a segment of speech (default: 40)")
    parser.add_argument(
        "--dtype",
        choices=["float32", "bfloat16", "int8", "int4"],
        help="llama_omni, mini_omni (not int4): of its weights",
    )
    parser.add_argument("--rows", type=int, choices=[1, 2], help="mini_omni: 2 answers batch-parallel (default), 1 not")
    parser.add_argument(
        "--voice",
        help="fun_audio_chat: CosyVoice 3, a folder or a hub id, for the released model; none: text alone. sync_llm: "
        "of HuBERT units, the folder of a unit HiFi-GAN",
    )
    parser.add_argument(
        "--speaker", type=int, help="mini_omni: who answers, of those that the model learnt (from 1 on)"
    )
    parser.add_argument("--asr", default="pocketsphinx", help="cascade: pocketsphinx, whisper:PATH or openai:MODEL")
    parser.add_argument("--llm", default="desk", help="cascade: desk, transformers:PATH or openai:MODEL")
    parser.add_argument(
        "--tts", default="embedded", help="cascade: embedded, flite:VOICE, espeak:VOICE, vits:PATH, openai:MODEL"
    )


def is_duplex(options: argparse.Namespace) -> bool:
    """Whether the system takes its turns itself. Raises ValueError for a name that is none."""
    from duologue.systems import DUPLEX, SYSTEMS, TRAINED

    known = (*SYSTEMS, *TRAINED, *DUPLEX)
    if options.system not in known:
        raise ValueError(f"there is no system {options.system!r}, only {', '.join(known)}")
    for name, owners in OWN.items():
        if getattr(options, name) is not None and options.system not in owners:
            raise ValueError(f"--{name} is a setting of {' and '.join(owners)}; leave it out for {options.system}")
    return options.system in DUPLEX


def _own(options: argparse.Namespace) -> dict[str, Any]:
    """The settings of some systems alone that were given."""
    return {name: value for name in OWN if (value := getattr(options, name)) is not None}


def turn_taker(options: argparse.Namespace, now: Callable[[], datetime]) -> Callable[[], TurnTaker]:
    """A factory of the system that the options name. One is made at once, so that a wrong name is told early."""
    from duologue.systems import SYSTEMS, TRAINED

    factory: Callable[[], TurnTaker]
    if options.system in TRAINED:
        factory = partial(TRAINED[options.system], options.model, now, **_own(options))
    else:
        factory = partial(SYSTEMS[options.system], options.asr, options.llm, options.tts, now)
    factory()
    return factory


def duplex(options: argparse.Namespace, now: Callable[[], datetime]) -> Callable[[], Duplex]:
    """A factory of the sessions of a system that hears while it speaks; one is made at once."""
    from duologue.systems import DUPLEX

    factory = partial(DUPLEX[options.system], options.model, now, **_own(options))
    factory()
    return factory


def session(options: argparse.Namespace, now: Callable[[], datetime]) -> Callable[[], Converser]:
    """A factory of the sessions of any system, with the usual settings of who takes turns."""
    from duologue.turns import TurnSession

    if is_duplex(options):
        return duplex(options, now)
    make = turn_taker(options, now)
    return lambda: TurnSession(make())
