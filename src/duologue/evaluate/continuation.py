"""A conversation that SyncLLM heard the beginning of, and goes on with on both sides (section 5.3 of the paper).

    made = continued(model, codec, prompt, chunks=100, picking=Picking(0.8), seed=1)

How it takes turns is compared with how the true conversation goes on. The paper's controls are here too: what the
prompt alone tells, and the true continuation, cut into units and made sound again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from duologue.evaluate.timing import Tracks
from duologue.evaluate.turn_taking import Events, events
from duologue.model.picking import Pick
from duologue.sound import Audio
from duologue.sound.vad import Vad
from duologue.streaming import Memory
from duologue.systems.sync_llm import MEMORY, SyncLLM
from duologue.systems.sync_llm_call import Call, StreamingMind
from duologue.systems.sync_llm_format import decode, encode
from duologue.units.codec import Codec, decode_whole, encode_whole

Sides = tuple[list[int], list[int]]
"""Codes of the model's channel and of the user's, [T] each."""


@dataclass(frozen=True)
class Continued:
    """What happens in one conversation: in its prompt, in its true continuation, in that one resynthesised, and in what
    the model made in its place."""

    prompt: Events
    true: Events
    resynthesised: Events
    made: Events


@torch.inference_mode()
def continued(
    model: SyncLLM,
    codec: Codec,
    prompt: Sides,
    chunks: int,
    picking: Pick,
    seed: int = 0,
    memory: Memory = MEMORY,
) -> Sides:
    """So many chunks behind the prompt, whole chunks of both sides too."""
    begun = encode(*prompt, model.config)
    mind = StreamingMind(model.lm, memory, picking, seed)
    own, user = ([chunk[side] for chunk in begun] for side in (0, 1))
    call = Call(mind, model.alphabet, model.config, own, user)
    made = [call.imagine(codec.silence[0]) for _ in range(chunks)]
    whole = decode([*begun, *made], model.config, codec.silence[0])
    return whole[0][len(prompt[0]) :], whole[1][len(prompt[1]) :]


def compared(
    model: SyncLLM,
    codec: Codec,
    sound: Audio,
    prompt_s: float,
    rest_s: float,
    picking: Pick,
    seed: int = 0,
    vad: Vad | None = None,
) -> Continued:
    """Of a recording [N, 2] at the codec's rate, the user left. Raises ValueError for one that is too short."""
    chunk_s = model.config.chunk_ms / 1000
    first, more = int(prompt_s / chunk_s), int(rest_s / chunk_s)
    slots, hz = model.config.slots, codec.heard_hz
    user, own = (_units(sound[:, side], codec) for side in (0, 1))
    split, end = first * slots, (first + more) * slots
    if len(user) < end:
        raise ValueError(f"a recording of {len(sound) / hz:.1f} s is too short for {prompt_s} s and {rest_s} s more")
    made = continued(model, codec, (own[:split], user[:split]), more, picking, seed)
    cut = round(split / codec.unit_hz * hz)
    return Continued(
        prompt=_heard(sound[:cut], hz, vad),
        true=_heard(sound[cut : round(end / codec.unit_hz * hz)], hz, vad),
        resynthesised=_spoken((own[split:end], user[split:end]), codec, vad),
        made=_spoken(made, codec, vad),
    )


def _units(side: NDArray[np.float32], codec: Codec) -> list[int]:
    audio = torch.from_numpy(np.ascontiguousarray(side))[None]
    found: list[int] = encode_whole(codec, audio)[0, 0].tolist()
    return found


def _heard(sound: Audio, hz: int, vad: Vad | None) -> Events:
    return events(Tracks.of_sound(sound, hz, vad))


def _spoken(sides: Sides, codec: Codec, vad: Vad | None) -> Events:
    own, user = (_sound(units, codec) for units in sides)
    return _heard(np.stack((user, own), axis=1), codec.said_hz, vad)


def _sound(units: Sequence[int], codec: Codec) -> Audio:
    """Silence is silent, as when it is said live."""
    audio: Audio = decode_whole(codec, torch.tensor([[list(units)]]))[0].numpy()
    silent = np.repeat(np.array(units) == codec.silence[0], codec.unit_samples)
    return np.where(silent[: len(audio)], 0, audio).astype(np.float32)
