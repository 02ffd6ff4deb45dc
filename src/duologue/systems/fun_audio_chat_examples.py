"""What Fun-Audio-Chat learns from: conversations as its layout weaves them, with what its ears are given beside them.

    example(model, [Turn("user", sound=heard(model, audio)), Turn("assistant", "it is two", units=codes)])

The answers are learnt: text, the token that opens speech and those that end it, and the units. Speech begins with
groups of begin units, by which text leads; where its text is at an end, silence is written.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from duologue.data.tensors import Example
from duologue.sound import Audio
from duologue.systems.fun_audio_chat import LEARNT, TAG_TOKENS
from duologue.systems.fun_audio_chat_model import FunAudioChat

Sound = Mapping[str, NDArray[Any]]
"""What the ears are given of an utterance, or have made of it: arrays [places, ...]."""
Columns = dict[str, NDArray[Any]]
"""`tokens`, `said` and `stream` of some columns, each [S, 1 + k]."""
SPECTRUM_HZ = 100


@dataclass(frozen=True)
class Turn:
    """Of an assistant without `units`, only text is learnt. `text` may be ids."""

    role: Literal["user", "assistant"]
    text: str | Sequence[int] = ""
    sound: Sound | None = None
    units: Sequence[int] | None = None


def example(
    model: FunAudioChat,
    turns: Sequence[Turn],
    system: str | None = None,
    kind: Literal["heard", "mel"] = "heard",
) -> Example:
    """The columns that the layout weaves of the turns [S, 1 + k], what is learnt of them, and the sound of all
    placeholders [H, ...]. Examples of one batch have one `kind` of sound. Raises ValueError where a text is too long
    for its speech."""
    parts = list[Columns]()
    chat = model.config.chat
    if system := chat.system if system is None else system:
        parts.append(_text(model, model.text_ids(chat.header.format(role="system") + system + chat.end), False))
    for turn in turns:
        parts += _asked(model, turn) if turn.role == "user" else _answer(model, turn)
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    sounds = [_blank(model, kind), *(turn.sound for turn in turns if turn.sound)]
    return columns | {name: np.concatenate([sound[name] for sound in sounds]) for name in sounds[0]}


def read(model: FunAudioChat, ids: Sequence[int]) -> Example:
    """Text alone, all of it learnt: what a language model learns from."""
    return {**_text(model, ids, True), **_blank(model, "heard")}


# ---------------------------------------------------------------- turns


def _asked(model: FunAudioChat, turn: Turn) -> Iterator[Columns]:
    chat, marks = model.config.chat, model.marks
    ids = model.text_ids(chat.header.format(role="user"))
    text = _ids(model, turn.text)
    if turn.sound is not None:
        places = len(next(iter(turn.sound.values())))
        ids += [marks.opens, *[marks.heard] * places, marks.closes]
        text = [*model.text_ids("\n"), *text] if text else []
    yield _text(model, [*ids, *text, *model.text_ids(chat.end), *marks.answer], False)


def _answer(model: FunAudioChat, turn: Turn) -> Iterator[Columns]:
    marks, text = model.marks, _ids(model, turn.text)
    if turn.units is None:
        yield _text(model, [*text, *marks.ends], True)
        return
    groups = _groups(model, turn.units)
    yield _text(model, [marks.opens], True)
    yield _speech(model, [*_beside(model, text, len(groups) - 1), marks.closes], groups)
    yield _text(model, marks.ends, True)


def _text(model: FunAudioChat, ids: Sequence[int], learnt: bool) -> Columns:
    """With no speech beside it."""
    tokens = np.full((len(ids), 1 + model.config.group), model.unit_ids.pad)
    tokens[:, 0] = ids
    said = np.zeros(tokens.shape, bool)
    said[:, 0] = learnt
    return {"tokens": tokens, "said": said, "stream": np.full(tokens.shape, LEARNT.index("text"))}


def _speech(model: FunAudioChat, text: Sequence[int], groups: Sequence[Sequence[int]]) -> Columns:
    """A group beside each token. What fills up a last group is not learnt."""
    tokens = np.concatenate((np.array(text)[:, None], np.array(groups)), axis=1)
    stream = np.full(tokens.shape, LEARNT.index("speech"))
    stream[:, 0] = LEARNT.index("text")
    return {"tokens": tokens, "said": (stream == 0) | (tokens != model.unit_ids.pad), "stream": stream}


def _groups(model: FunAudioChat, units: Sequence[int]) -> list[list[int]]:
    """Groups of an answer, the last one with an end in it."""
    ids, config = model.unit_ids, model.config
    size = config.group
    units = [*[ids.bos] * (config.lead * size), *map(int, units)]
    if config.last_group == "pad":
        units = [*units, *[ids.pad] * (-len(units) % size)]
    units = [*units, *[ids.eos] * (size - len(units) % size)]
    return [units[start : start + size] for start in range(0, len(units), size)]


def _beside(model: FunAudioChat, text: Sequence[int], places: int) -> list[int]:
    """A token for each of so many groups."""
    if len(text) > places and model.config.text_too_long == "refuse":
        raise ValueError(
            f"{len(text)} tokens beside {places} groups of speech: leave the answer out, speak it more slowly, "
            "or let text be cut (Config.text_too_long)"
        )
    return [*text[:places], *[model.marks.silent] * (places - len(text))]


def _ids(model: FunAudioChat, text: str | Sequence[int]) -> list[int]:
    return model.text_ids(text) if isinstance(text, str) else list(text)


# ---------------------------------------------------------------- sound


@torch.no_grad()
def heard(model: FunAudioChat, audio: Audio) -> Sound:
    """What the ears hear, for ears that do not learn: groups of states [places, W']. Raises ValueError for less than
    40 ms."""
    places = model.places(len(audio))
    if not places:
        raise ValueError(f"{len(audio)} samples of sound are less than 40 ms: leave the utterance out")
    states = model.ears.start().push(audio, last=True).states
    return {"heard": model.grouped(states, places).half().cpu().numpy()}


def spectrum(model: FunAudioChat, mel: Tensor, places: int) -> Sound:
    """A spectrum at 100 Hz [F, M], for ears that learn, cut into groups: the last one has all that is left."""
    size = model.heard_group * SPECTRUM_HZ // 25
    pieces = [mel[size * n : size * (n + 1)] for n in range(places - 1)] + [mel[size * (places - 1) :]]
    frames = np.array([len(piece) for piece in pieces])
    laid = np.zeros((places, size + 4, mel.shape[1]), np.float32)
    for row, piece in zip(laid, pieces, strict=True):
        row[: len(piece)] = piece.numpy()
    return {"mel": laid, "mel_frames": frames}


def _blank(model: FunAudioChat, kind: str) -> Sound:
    """Of no utterance."""
    if kind == "heard":
        return {"heard": np.zeros((0, model.heard_width), np.float16)}
    mels: int = model.ears.n_mels  # type: ignore[attr-defined]
    frames = model.heard_group * SPECTRUM_HZ // 25 + 4
    return {"mel": np.zeros((0, frames, mels), np.float32), "mel_frames": np.zeros(0, np.int64)}


# ---------------------------------------------------------------- the released data's form

_PLACE = "".join((TAG_TOKENS[1], TAG_TOKENS[0], TAG_TOKENS[2]))


def released_turns(row: Mapping[str, Any], sound: Callable[[str, int], Sound], group: int = 5) -> list[Turn]:
    """Turns of a line of the released recipe's data; `sound` makes an utterance of a path and its number of places.

    An audio entry has `path` and as many pads as units for a user; `text` and `token`, ten begin units and `[AUxxxx]`,
    for the assistant.
    """
    audios = iter(row["audio"])
    turns = []
    for message in row["messages"]:
        role, content = message["role"], message["content"]
        if _PLACE not in content:
            turns.append(Turn(role, content))
            continue
        entry = next(audios)
        audio = json.loads(entry) if isinstance(entry, str) else entry
        if role == "user":
            places = ceil(audio["token"].count("<|audio_pad|>") / group)
            turns.append(Turn(role, content.replace(_PLACE, "").strip("\n"), sound(audio["path"], places)))
        else:
            units = [int(code) for code in re.findall(r"\[AU(\d+)\]", audio["token"])]
            turns.append(Turn(role, audio["text"], units=units))
    return turns
