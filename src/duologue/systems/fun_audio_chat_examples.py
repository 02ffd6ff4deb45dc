"""What Fun-Audio-Chat learns from: conversations woven by its layout, with what its ears are given beside them.

    example(model, [Turn("user", sound=heard(model, audio)), Turn("assistant", "it is two", units=codes)])

The answers are learnt: text, the token that opens speech and those that end it, and the units. Speech begins with
groups of begin units, by which text leads; where its text is at an end, silence is written.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from duologue.data.tensors import Example
from duologue.layout import weave
from duologue.sound import Audio
from duologue.systems.fun_audio_chat import LEARNT, STREAMS, TAG_TOKENS, FunAudioChat

Sound = Mapping[str, NDArray[Any]]
"""What the ears are given of an utterance, or have made of it: arrays [places, ...]."""
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
    """Columns [S, 1 + k], what is learnt of them, and the sound, zeros where there is none. Examples of one batch have
    one `kind` of sound. Raises ValueError where a text is too long for its speech."""
    streams: dict[str, list[int]] = {name: [] for name in STREAMS}
    chat = model.config.chat
    if system := chat.system if system is None else system:
        streams["given"] += model.text_ids(chat.header.format(role="system") + system + chat.end)
    for turn in turns:
        for name, tokens in (_asked(model, turn) if turn.role == "user" else _answer(model, turn)).items():
            streams[name] += tokens
    grid = weave(model.layout(), streams)
    learnt = np.array([*(LEARNT.index(n) if n in LEARNT else 0 for n in STREAMS), 0])
    padding = (np.arange(grid.tokens.shape[1]) > 0) & (grid.tokens == model.unit_ids.pad)
    columns = {
        "tokens": grid.tokens,
        "said": grid.said & ~padding,
        "stream": learnt[grid.stream],
    }
    return columns | _laid(model, grid.tokens[:, 0], [turn.sound for turn in turns if turn.sound], kind)


# ---------------------------------------------------------------- turns


def _asked(model: FunAudioChat, turn: Turn) -> dict[str, list[int]]:
    chat, marks = model.config.chat, model.marks
    ids = model.text_ids(chat.header.format(role="user"))
    text = _ids(model, turn.text)
    if turn.sound is not None:
        places = len(next(iter(turn.sound.values())))
        ids += [marks.opens, *[marks.heard] * places, marks.closes]
        text = [*model.text_ids("\n"), *text] if text else []
    return {"given": [*ids, *text, *model.text_ids(chat.end), *marks.answer]}


def _answer(model: FunAudioChat, turn: Turn) -> dict[str, list[int]]:
    marks, text = model.marks, _ids(model, turn.text)
    if turn.units is None:
        return {"text": [*text, *marks.ends], "speech": []}
    groups = _groups(model, turn.units)
    beside = _beside(model, text, len(groups) - 1)
    return {
        "text": [marks.opens, *beside, marks.closes, *marks.ends],
        "speech": [unit for group in groups for unit in group],
    }


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
    """What the ears hear, for ears that do not learn: means over groups [places, W]. Raises ValueError for less than
    40 ms."""
    places = model.places(len(audio))
    if not places:
        raise ValueError(f"{len(audio)} samples of sound are less than 40 ms: leave the utterance out")
    states = model.ears.start().push(audio, last=True).states
    return {"heard": model.grouped(states, places).float().cpu().numpy()}


def spectrum(model: FunAudioChat, mel: Tensor, places: int) -> Sound:
    """A spectrum at 100 Hz [F, M], for ears that learn, cut into groups: the last one has all that is left."""
    size = model.config.group * SPECTRUM_HZ // 25
    pieces = [mel[size * n : size * (n + 1)] for n in range(places - 1)] + [mel[size * (places - 1) :]]
    frames = np.array([len(piece) for piece in pieces])
    laid = np.zeros((places, size + 4, mel.shape[1]), np.float32)
    for row, piece in zip(laid, pieces, strict=True):
        row[: len(piece)] = piece.numpy()
    return {"mel": laid, "mel_frames": frames}


def _laid(model: FunAudioChat, text: NDArray[np.int64], sounds: Sequence[Sound], kind: str) -> dict[str, NDArray[Any]]:
    """Sounds at their places [S, ...], zeros elsewhere."""
    blank = _blank(model, kind)
    at, laid = text == model.marks.heard, {}
    for name, nothing in blank.items():
        laid[name] = np.zeros((len(text), *nothing.shape[1:]), nothing.dtype)
        laid[name][at] = np.concatenate([nothing, *(sound[name] for sound in sounds)])
    return laid


def _blank(model: FunAudioChat, kind: str) -> Sound:
    if kind == "heard":
        return {"heard": np.zeros((0, model.ears.width), np.float32)}
    mels: int = model.ears.n_mels  # type: ignore[attr-defined]
    frames = model.config.group * SPECTRUM_HZ // 25 + 4
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
