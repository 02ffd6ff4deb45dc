"""A recording as a value: who speaks how, what happens when, how it sounds. The value alone makes the sound."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

import numpy as np

from duologue.dialogue import Dialogue
from duologue.session import HEARD_HZ, Audio
from duologue.synthesis.mix import Clip, Noise, Room, below_peak, in_room, noise_samples, track, with_noise
from duologue.synthesis.placing import Event, Who
from duologue.synthesis.voice import Manner, speak

ASSISTANT_DB = -23.0


@dataclass(frozen=True)
class Scene:
    """All that is needed to make a recording of `duration_s`, noises aside, of which it holds the paths.

    `room`, `noise` and `level_db` (root mean square while speaking) are the user's; the assistant's channel is
    clean. A bystander is heard on the user's channel, `side_talk_db` against the user.
    """

    duration_s: float
    manners: Mapping[Who, Manner]
    events: tuple[Event, ...]
    level_db: float
    room: Room | None = None
    noise: Noise | None = None
    side_talk_db: float = 0.0

    def dialogue(self) -> Dialogue:
        """Who said what when; back-channels are utterances, a bystander is none."""
        return Dialogue(tuple(e.utterance(e.speaker) for e in self.events if e.speaker != "bystander"))

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Self:
        """Of a manifest's "scene". Raises TypeError or KeyError for what is none."""
        parts: dict[str, Any] = {
            "manners": {who: Manner(**manner) for who, manner in row["manners"].items()},
            "events": tuple(Event(**event) for event in row["events"]),
            "room": row["room"] and Room(**row["room"]),
            "noise": row["noise"] and Noise(**row["noise"]),
        }
        return cls(**{**row, **parts})


def dialogue_of(row: Mapping[str, Any]) -> Dialogue:
    """The dialogue of a manifest's line (or of a `Clip.rest`)."""
    return Scene.from_json(row["scene"]).dialogue()


def remake(row: Mapping[str, Any], noises: str | Path | None = None) -> Audio:
    """The sound of a manifest's line, made again: [N, 2] of a dialogue, [N] of an utterance, at 16 kHz. What noises
    it uses lie in the folder `noises`."""
    scene = Scene.from_json(row["scene"])
    made = sound(scene, noises)
    return made if row["kind"] == "dialogue" else made[:, int(scene.events[0].speaker == "assistant")]


# ---------------------------------------------------------------- the sound of it


def sound(scene: Scene, noises: str | Path | None = None) -> Audio:
    """[N, 2] at 16 kHz: user left, assistant right. Raises EngineError, SoundError, ValueError."""
    samples = _samples(scene.duration_s)
    assistant, _ = track(_clips(scene, "assistant"), samples, ASSISTANT_DB)
    user, active = track(_clips(scene, "user"), samples, scene.level_db)
    user += track(_clips(scene, "bystander"), samples, scene.level_db + scene.side_talk_db)[0]
    if scene.room is not None:
        user = in_room(user, scene.room)
    if scene.noise is not None and active.any():
        user = with_noise(user, active, noise_samples(scene.noise, noises, samples), scene.noise.snr_db)
    return np.stack((below_peak(user), below_peak(assistant)), axis=1)


def _clips(scene: Scene, who: Who) -> list[Clip]:
    return [
        (said(scene.manners[who], event.spoken), _samples(event.start_s), _samples(event.end_s))
        for event in scene.events
        if event.speaker == who
    ]


def _samples(seconds: float) -> int:
    return round(seconds * HEARD_HZ)


@lru_cache(maxsize=128)
def said(manner: Manner, text: str) -> Audio:
    """`speak`, remembered: a clip is needed once for its length and once for its sound."""
    return speak(manner, text)


def said_ms(manner: Manner, text: str) -> int:
    return len(said(manner, text)) * 1000 // HEARD_HZ
