"""Somebody to talk with: Fun-Audio-Chat out of a folder or of the hub, of the nano size or as released.

The nano one has its codec in its folder. The released one is spoken by CosyVoice 3, which is another release: where
that is not at hand, it answers in text alone.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import torch

from duologue.desk import Desk
from duologue.model import calls, tagged_calls
from duologue.model.picking import Picking
from duologue.model.weights import folder_of
from duologue.model.words import CALL
from duologue.sound import Audio
from duologue.systems import fun_audio_chat_nano, fun_audio_chat_released
from duologue.systems.fun_audio_chat import TEXT_AND_SPEECH, TEXT_ONLY
from duologue.systems.fun_audio_chat_model import FunAudioChat
from duologue.systems.fun_audio_chat_tools import IN_TAGS, IN_WORDS
from duologue.systems.fun_audio_chat_turns import Talker, Talking
from duologue.units import cosyvoice3, nano_codec
from duologue.units.cosyvoice3 import CosyVoice3
from duologue.units.nano_codec import NanoCodec
from duologue.units.released import found
from duologue.units.speaking import Speaking
from duologue.units.voice import Voice

SHIPPED = Path(__file__).parents[1] / "weights" / "fun_audio_chat_nano"
COSYVOICE = "cosyvoice3"
"""The folder of CosyVoice 3 in that of the released model."""
SPEAKERS, SPEAKER = ("spk2info.pt", "new_spk2info.pt"), "中文女"
"""Files with vectors of speakers, beside CosyVoice 3 or the released model, and who of them speaks."""
SIZES = "sizes.json"
"""Beside weights of CosyVoice 3 of other sizes than those released (`cosyvoice3.load`)."""
MUTE = "none"
"""In place of a voice: answers are text alone."""
MOST_STEPS = 512
"""Of an answer of the released model, as in its demo."""
SAID_HZ = 24_000


def talker(
    model: str | Path | None = None,
    now: Callable[[], datetime] = datetime.now,
    voice: str | Path | None = None,
) -> Talker:
    """With a trained model.

    model   a folder with a nano one and its codec (None: that which comes along; it has the desk's tools at hand), or
            with the released one, or this one's id on the hub
    voice   CosyVoice 3 for the released one, a folder or an id on the hub; None: that in the model's folder, where it
            is there. "none": answers are text alone

    Raises ValueError, FileNotFoundError where there is none.
    """
    if model is not None and _is_released(Path(model)):
        return Talker(released(str(model), None if voice is None else str(voice)))
    if voice not in (None, MUTE):
        raise ValueError(f"a model of the nano size speaks with its own codec: no --voice, or {MUTE!r} for text alone")
    shared = nano(Path(model or SHIPPED))
    return Talker(shared if voice is None else _mute(shared, fun_audio_chat_nano.WRITES), Desk(now))


def _is_released(source: Path) -> bool:
    """Or on the hub; what is neither is said to be none of the nano size."""
    is_small = (source / fun_audio_chat_nano.SIZES).is_file()
    return not source.is_dir() or ((source / "config.json").is_file() and not is_small)


# ---------------------------------------------------------------- the nano size


@lru_cache(maxsize=2)
def nano(folder: Path) -> Talking:
    """What the callers of the nano model in a folder share."""
    return small_talking(fun_audio_chat_nano.load(folder), nano_codec.load(folder / nano_codec.CODEC))


def small_talking(model: FunAudioChat, codec: NanoCodec) -> Talking:
    """Of a nano model. It speaks what is likeliest."""
    text_of, utterance = partial(calls.said_and_called, model.words), partial(Speaking, codec)
    opens = (model.words.convert_tokens_to_ids(CALL),)
    return Talking(model, codec.said_hz, utterance, text_of, "", Picking(), opens, IN_WORDS)


# ---------------------------------------------------------------- as released


@lru_cache(maxsize=1)
def released(source: str, voice: str | None = None) -> Talking:
    """What the callers of the released model share."""
    folder = folder_of(source)
    if voice is None and (folder / COSYVOICE).is_dir():
        voice = str(folder / COSYVOICE)
    decoder = None if voice in (None, MUTE) else cosyvoice(str(voice), folder)
    model = fun_audio_chat_released.load(folder, torch.bfloat16)
    if decoder is not None and decoder.codes != model.unit_ids.codes:
        raise ValueError(f"{voice} speaks {decoder.codes} units, {source} {model.unit_ids.codes}: give CosyVoice 3")
    if voice is None:
        logging.warning(
            "%s answers in text alone: there is no %s; give CosyVoice 3 as --voice to hear it, or --voice %s",
            *(source, folder / COSYVOICE, MUTE),
        )
    return _released(model, decoder)


def _released(model: FunAudioChat, decoder: CosyVoice3 | None) -> Talking:
    opens, text_of = model.text_ids(tagged_calls.OPENS), partial(tagged_calls.said_and_called, model.words)
    talking = Talking(
        model,
        SAID_HZ,
        Silent,
        text_of,
        TEXT_ONLY,
        instead=tuple(opens if len(opens) == 1 else ()),
        calling=IN_TAGS,
        speaks=False,
        most_steps=MOST_STEPS,
    )
    if decoder is None:
        return talking
    return replace(
        talking, said_hz=decoder.said_hz, utterance=partial(Aloud, decoder), system=TEXT_AND_SPEECH, speaks=True
    )


def _mute(talking: Talking, system: str) -> Talking:
    return replace(talking, utterance=Silent, system=system, speaks=False)


def cosyvoice(source: str, folder: Path) -> CosyVoice3:
    """CosyVoice 3, of a folder or of the hub; its speaker's vector is there or in the model's folder. Raises
    FileNotFoundError, ValueError."""
    sizes = Path(source) / SIZES
    speaker = Voice.read(_speakers(source, folder), SPEAKER)
    return cosyvoice3.load(source, speaker, sizes if sizes.is_file() else None)


def _speakers(source: str, folder: Path) -> Path:
    for place in (source, str(folder)):
        for name in SPEAKERS:
            try:
                return found(place, name)
            except FileNotFoundError:
                continue
    raise FileNotFoundError(
        f"neither {source} nor {folder} has {' or '.join(SPEAKERS)}: put the speakers' vectors there"
    )


class Aloud:
    """An utterance by CosyVoice 3."""

    def __init__(self, decoder: CosyVoice3) -> None:
        self._decoder, self._state = decoder, decoder.start_aloud(1)

    def say(self, units: Sequence[int], last: bool = False) -> Audio:
        """The sound that is final now, [N]."""
        (sound,) = self._decoder.say([torch.tensor([list(units)], dtype=torch.int64)], self._state, last)
        return sound.clamp(-1, 1).numpy().astype(np.float32)


class Silent:
    """An utterance without sound."""

    def say(self, units: Sequence[int], last: bool = False) -> Audio:
        return np.zeros(0, np.float32)
