"""Two sessions talk with each other over a link that is late, uneven and lossy (SyncLLM, section 5.4).

    call = exchange(first, second, duration_s=120, link=Link(latency_ms=160))
    save(call, "call.wav")                   # both voices; call.json and call.png beside it

There is no clock: the same sessions over the same link give the same call, byte for byte. What is said in a step is
heard in the next one at the earliest. The first session is the left channel, and the "user" of all figures.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from duologue.dialogue import Dialogue
from duologue.evaluate import timeline
from duologue.evaluate.timing import SPEAKERS, Span, Tracks, outside, shared
from duologue.evaluate.turn_statistics import Rate, rates
from duologue.evaluate.turn_taking import Events, events
from duologue.session import HEARD_HZ, Audio, Event, Session
from duologue.sound import wav
from duologue.sound.frames import Framer
from duologue.sound.vad import Vad
from duologue.talk import Conversation, dialogue_of
from duologue.whole import whole_file

# ---------------------------------------------------------------- the link


@dataclass(frozen=True)
class Link:
    """What lies between two speakers, the same in both directions.

    latency_ms   that every frame takes
    jitter_ms    that a frame takes longer at most: drawn anew for each
    buffer_ms    of jitter that the listener waits for; None: all of it. A frame that is later is lost
    loss         share of the frames that never arrive: the listener hears silence
    """

    latency_ms: float = 0.0
    jitter_ms: float = 0.0
    buffer_ms: float | None = None
    loss: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("latency_ms", "jitter_ms", "waits_ms"):
            if not 0 <= getattr(self, name) < np.inf:
                raise ValueError(f"{name} of a link is {getattr(self, name)}: give milliseconds, 0 or more")
        if not 0 <= self.loss <= 1:
            raise ValueError(f"loss of a link is {self.loss}: it is a share, from 0 to 1")

    @property
    def waits_ms(self) -> float:
        """The listener's buffer."""
        return self.jitter_ms if self.buffer_ms is None else self.buffer_ms


class _Line:
    """One direction: frames of a speaker in, as much sound as is listened to out, [n] at 16 kHz."""

    def __init__(self, link: Link, speaker: Session, direction: int) -> None:
        self._link, self._draw = link, np.random.default_rng([link.seed, direction])
        self._resampler = wav.Resampler(speaker.said_hz, HEARD_HZ)
        delay_samples = round((link.latency_ms + link.waits_ms) / 1000 * HEARD_HZ)
        self._sound: Audio = np.zeros(delay_samples + speaker.heard_samples, np.float32)
        self.lost_frames = 0

    def send(self, frame: Audio) -> None:
        arrives, late_ms = self._draw.random() >= self._link.loss, self._draw.random() * self._link.jitter_ms
        if not arrives or late_ms > self._link.waits_ms:
            self.lost_frames += 1
            frame = np.zeros_like(frame)
        self._sound = np.concatenate((self._sound, self._resampler.push(frame)))

    def listen(self, samples: int) -> Audio:
        """What is not there yet is heard as silence, and everything behind it later: resampling holds some back."""
        heard, self._sound = self._sound[:samples], self._sound[samples:]
        return np.concatenate((np.zeros(samples - len(heard), np.float32), heard))


# ---------------------------------------------------------------- the call


@dataclass(frozen=True)
class Exchange:
    """`sound` [N, 2] at `hz`, each voice as it was said; `events` and `lost_frames` of each speaker, first and
    second."""

    sound: Audio
    hz: int
    events: tuple[tuple[Event, ...], tuple[Event, ...]]
    lost_frames: tuple[int, int]
    link: Link

    @property
    def dialogue(self) -> Dialogue:
        """Who spoke when, as the sessions tell it."""
        said = zip(SPEAKERS, map(dialogue_of, self.events), strict=True)
        return Dialogue(
            tuple(dataclasses.replace(u, speaker=name) for name, told in said for u in told.of("assistant"))
        )


class _Speaker:
    """A session, what it said, and the lines from it and to it."""

    def __init__(self, session: Session, opening: Audio | None) -> None:
        self.session, self.frame_s = session, session.heard_samples / HEARD_HZ
        self.said: list[Audio] = []
        self.events: list[Event] = []
        self._opening = _frames(opening, session)

    @property
    def ready_s(self) -> float:
        """When its next step ends."""
        return round((len(self.said) + 1) * self.frame_s, 9)

    def step(self, heard: _Line, said: _Line) -> None:
        answer = self.session.step(heard.listen(self.session.heard_samples))
        audio = next(self._opening, answer.audio)
        self.said.append(audio)
        self.events += answer.events
        said.send(audio)

    def sound(self, hz: int) -> Audio:
        return wav.resample(np.concatenate(self.said), self.session.said_hz, hz)


def _frames(opening: Audio | None, session: Session) -> Iterator[Audio]:
    if opening is not None:
        framer = Framer(session.said_samples)
        yield from framer.push(wav.resample(opening, HEARD_HZ, session.said_hz))
        yield from framer.flush()


def exchange(
    first: Session, second: Session, duration_s: float, link: Link = Link(), opening: Audio | None = None
) -> Exchange:
    """Let two sessions talk for so long, frame by frame, and close them. `opening`, [N] at 16 kHz, is said by the
    second in the place of its own voice: somebody has to begin. Raises ValueError for a call without a frame."""
    speakers = _Speaker(first, None), _Speaker(second, opening)
    lines = _Line(link, first, 0), _Line(link, second, 1)
    if not max(speaker.frame_s for speaker in speakers) <= duration_s < np.inf:
        raise ValueError(f"a call of {duration_s} s: give a duration that has a frame of each speaker at least")
    try:
        while min(speaker.ready_s for speaker in speakers) <= duration_s:
            turn = 0 if speakers[0].ready_s <= speakers[1].ready_s else 1
            speakers[turn].step(heard=lines[1 - turn], said=lines[turn])
    finally:
        first.close()
        second.close()
    sounds = [speaker.sound(first.said_hz) for speaker in speakers]
    length = min(map(len, sounds))
    return Exchange(
        sound=np.stack([sound[:length] for sound in sounds], axis=1),
        hz=first.said_hz,
        events=(tuple(speakers[0].events), tuple(speakers[1].events)),
        lost_frames=(lines[0].lost_frames, lines[1].lost_frames),
        link=link,
    )


# ---------------------------------------------------------------- figures

NAMES: timeline.Names = ("first", "second")
DEADLOCK_S = 10.0
"""Silence of both from which on a call is stuck."""
BABBLE_S = 5.0
"""Speech of both at once from which on nobody listens."""


@dataclass(frozen=True)
class Figures:
    """How a call went, by voice activity. Shares are of its duration; `speech_share` of each speaker."""

    duration_s: float
    turns: tuple[int, int]
    speech_share: tuple[float, float]
    silence_share: float
    overlap_share: float
    longest_silence_s: float
    longest_overlap_s: float
    rates: dict[str, Rate]
    deadlock: bool
    babble: bool


def figures(found: Events) -> Figures:
    """Of the events of a call."""
    tracks, ipus = found.tracks, [found.ipus[speaker] for speaker in SPEAKERS]
    silences, overlaps = outside((*ipus[0], *ipus[1]), tracks.duration_ms), shared(*ipus)
    silence_s, overlap_s = _longest_s(silences), _longest_s(overlaps)
    speech = [_share(spans, tracks) for spans in ipus]
    turns = [sum(turn.speaker == speaker for turn in found.turns) for speaker in SPEAKERS]
    return Figures(
        duration_s=tracks.duration_ms / 1000,
        turns=(turns[0], turns[1]),
        speech_share=(speech[0], speech[1]),
        silence_share=_share(silences, tracks),
        overlap_share=_share(overlaps, tracks),
        longest_silence_s=silence_s,
        longest_overlap_s=overlap_s,
        rates=rates([found]),
        deadlock=silence_s >= DEADLOCK_S,
        babble=overlap_s >= BABBLE_S,
    )


def heard_events(call: Exchange, vad: Vad | None = None) -> Events:
    """Who spoke when, as a listener hears it; without a VAD by Silero's."""
    return events(Tracks.of_sound(call.sound, call.hz, vad))


def _longest_s(spans: Sequence[Span]) -> float:
    return max((span.length_ms for span in spans), default=0) / 1000


def _share(spans: Sequence[Span], tracks: Tracks) -> float:
    return sum(span.length_ms for span in spans) / tracks.duration_ms


# ---------------------------------------------------------------- files


def save(call: Exchange, path: str | Path, vad: Vad | None = None, names: timeline.Names = NAMES) -> Figures:
    """Write the stereo file, and beside it the timeline (.png) and the statistics (.json), which are returned too."""
    path = Path(path)
    how_it_went = figures(heard_events(call, vad))
    as_json = json.dumps(_told(call, how_it_went), ensure_ascii=False, indent=1)
    wav.write(path, call.sound, call.hz)
    whole_file(path.with_suffix(".json"), lambda file: file.write(as_json.encode()))
    timeline.draw(Conversation(call.sound, call.hz, (), call.dialogue), path.with_suffix(".png"), names)
    return how_it_went


def _told(call: Exchange, how_it_went: Figures) -> dict[str, Any]:
    return {
        "link": dataclasses.asdict(call.link),
        "lost_frames": call.lost_frames,
        "figures": dataclasses.asdict(how_it_went),
        "dialogue": call.dialogue.to_json(),
        "events": [[dataclasses.asdict(event) for event in told] for told in call.events],
    }
