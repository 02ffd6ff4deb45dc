"""How well a session converses that writes nothing down: all that is known of it is its sound.

Answers are what a recogniser hears, turns are where it makes sound. Any session will do; recorded users of the desk
talk to it, one after the other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from duologue.desk import Question
from duologue.evaluate.answers import Answered, Ears, Score, judged
from duologue.evaluate.answers import score as scored
from duologue.evaluate.conversing import SILENT, Track
from duologue.evaluate.duplex import asked_at
from duologue.session import HEARD_HZ, Audio, Session
from duologue.sound.frames import Framer
from duologue.sound.wav import resample

AUDIBLE = 1e-3
"""Of the loudest sample of a frame in which something is said."""


@dataclass(frozen=True)
class Listened:
    """What a session said while a user talked: [N] at `hz`, in frames of `frame_samples`; and what it knew."""

    sound: Audio
    hz: int
    frame_samples: int
    guessed_right: float | None = None

    def track(self, delay_frames: int) -> Track:
        """Where it speaks, on the clock of what it hears: by so many frames its sound is late."""
        frames = self.sound.reshape(-1, self.frame_samples)
        sounds = np.abs(frames).max(axis=1) > AUDIBLE
        lane = np.pad(sounds, (0, delay_frames))[delay_frames:]
        return Track(np.where(lane, 0, SILENT), {})


def listened(session: Session, user: Audio, late_s: float = 0.0) -> Listened:
    """A session hears [N] at 16 kHz, `late_s` seconds later than the clock says. It is closed."""
    heard = np.concatenate((np.zeros(round(late_s * HEARD_HZ), np.float32), user))[: len(user)]
    framer = Framer(session.heard_samples)
    try:
        said = [session.step(frame).audio for frame in (*framer.push(heard), *framer.flush())]
        guessed = getattr(session, "guessed_right", None)
    finally:
        session.close()
    return Listened(np.concatenate([np.zeros(0, np.float32), *said]), session.said_hz, session.said_samples, guessed)


def all_listened(make: Callable[[], Session], users: Sequence[Audio], late_s: float = 0.0) -> Iterator[Listened]:
    """Of each user in turn, talking to a fresh session."""
    for user in users:
        yield listened(make(), user, late_s)


def answered(row: Mapping[str, Any], found: Listened, ears: Ears) -> Answered:
    """The answer to the last question of a recording, as it is heard from the question on."""
    since = asked_at(row, found.hz / found.frame_samples) * found.frame_samples
    spoken = ears(resample(found.sound[since:], found.hz, HEARD_HZ))
    return judged(Question.from_json(row["questions"][-1]), "", "", (), spoken)


def score(answers: Sequence[Answered]) -> Score:
    """In speech alone, by topic too."""
    of, right = Counter(a.topic for a in answers), Counter(a.topic for a in answers if a.speech_right)
    return replace(scored(answers), text=None, calls=None, by_topic={t: (right[t], of[t]) for t in sorted(of)})
