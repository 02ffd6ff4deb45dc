"""A whole conversation in lock-step: a recording of a person in, both voices out.

The person is the left channel, duologue the right one. Nothing here looks at a clock: the same recording gives the
same conversation, byte for byte, on any machine.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from duologue.dialogue import Dialogue, Utterance
from duologue.session import HEARD_HZ, Audio, Event, Session
from duologue.sound.frames import Framer
from duologue.sound.wav import resample

LONGEST_REPLY_S = 120.0


class Converser(Session, Protocol):
    """A session that tells when it has nothing more to say."""

    @property
    def frame_s(self) -> float: ...
    @property
    def settles_s(self) -> float:
        """Silence after which it has understood that nobody speaks any more."""
        ...

    @property
    def busy(self) -> bool:
        """Whether it is speaking, or about to, or still listening to something."""
        ...


@dataclass(frozen=True)
class Conversation:
    """`sound` [N, 2] at `hz`: the person left, duologue right. `events` in order. `dialogue`: who said what when."""

    sound: NDArray[np.float32]
    hz: int
    events: tuple[Event, ...]
    dialogue: Dialogue

    def to_json(self) -> dict[str, Any]:
        return {
            "duration_s": round(len(self.sound) / self.hz, 3),
            "dialogue": self.dialogue.to_json(),
            "events": [dataclasses.asdict(event) for event in self.events],
        }


def converse(session: Converser, heard: Audio) -> Conversation:
    """Let `session` hear [N] samples at 16 kHz, then silence until it has nothing more to say."""
    said, events = [], list[Event]()
    for frame in _frames(session, heard):
        answer = session.step(frame)
        said.append(answer.audio)
        events += answer.events
    ours = np.concatenate(said) if said else np.zeros(0, np.float32)
    theirs = np.zeros(len(ours), np.float32)
    person = resample(heard, HEARD_HZ, session.said_hz)[: len(ours)]
    theirs[: len(person)] = person
    return Conversation(np.stack((theirs, ours), axis=1), session.said_hz, tuple(events), dialogue_of(events))


def _frames(session: Converser, heard: Audio) -> Iterator[Audio]:
    framer = Framer(session.heard_samples)
    yield from framer.push(heard)
    yield from framer.flush()
    silence = np.zeros(session.heard_samples, np.float32)
    for _ in range(round(session.settles_s / session.frame_s)):
        yield silence
    for _ in range(round(LONGEST_REPLY_S / session.frame_s)):
        if not session.busy:
            return
        yield silence


def dialogue_of(events: Iterable[Event]) -> Dialogue:
    """Who said what when, as the events tell it."""
    utterances: list[Utterance] = []
    turns: dict[int, Event] = {}
    speaking: Utterance | None = None
    for event in events:
        if event.kind == "turn":
            turns[event.data["turn"]] = event
        elif event.kind == "heard" and event.data["turn"] in turns:
            times = turns[event.data["turn"]].data
            utterances.append(Utterance("user", times["start_s"], times["end_s"], event.data["text"]))
        elif event.kind == "said":
            start_s = event.at_s if speaking is None else speaking.start_s
            text = event.data["text"] if speaking is None else speaking.text + event.data["text"]
            speaking = Utterance("assistant", start_s, event.at_s, text)
        elif event.kind in ("done", "stopped") and speaking is not None:
            text = event.data.get("heard_text", speaking.text)
            cut = event.kind == "stopped"
            utterances.append(dataclasses.replace(speaking, end_s=event.at_s, text=text, cut=cut))
            speaking = None
        elif event.kind == "resumed":
            speaking = Utterance("assistant", event.at_s, event.at_s, event.data["text"])
    return Dialogue(tuple(utterances))
