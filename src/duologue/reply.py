"""A reply in the making: what was made of it and not sent, what was sent and not played."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from duologue.session import Audio, Part, Speech, Turn


@dataclass
class Latency:
    """When the steps of one turn were reached, in seconds of heard sound since the session began."""

    speech_end_s: float | None = None
    end_point_s: float | None = None
    transcript_s: float | None = None
    first_token_s: float | None = None
    first_audio_s: float | None = None


@dataclass
class Reply:
    """The generator of a reply, and its sound that was not played yet.

    `heard` says that the reply has begun to answer: its turn stands, and it has the floor.
    """

    turn: Turn
    parts: Iterator[Part | None]
    latency: Latency
    heard: bool = False
    exhausted: bool = False
    queue: deque[Speech] = field(default_factory=deque)
    """Sound that was made and not sent."""
    sent: deque[Speech] = field(default_factory=deque)
    """Sound that was sent and not known to have been played, so that it can be sent again."""
    sent_samples: int = 0
    said_text: str = ""

    @property
    def waiting_samples(self) -> int:
        return sum(len(speech.audio) for speech in self.queue)

    def send(self, samples: int) -> tuple[Audio, list[Speech]]:
        """The next frame [samples], and the pieces whose text begins in it. Silence while the frame is not full yet;
        what is short at the end of the reply is filled up with silence."""
        frame, begun, filled = np.zeros(samples, np.float32), list[Speech](), 0
        if self.waiting_samples < samples and not self.exhausted:
            return frame, begun
        while self.queue and filled < samples:
            if self.queue[0].text:
                begun.append(self.queue[0])
                self.said_text += self.queue[0].text
            sound = self._take(samples - filled)
            frame[filled : filled + len(sound)] = sound
            filled += len(sound)
        self.sent_samples += filled
        return frame, begun

    def _take(self, samples: int) -> Audio:
        """The next stretch of sound, `samples` long at most; it is kept until it was played."""
        speech = self.queue.popleft()
        if len(speech.audio) > samples:
            self.queue.appendleft(Speech(speech.audio[samples:]))
        sound = speech.audio[:samples]
        self.sent.append(Speech(sound))
        return sound

    def played(self, samples: int) -> None:
        """Let go of the sound before sample `samples`."""
        first = self.sent_samples - sum(len(speech.audio) for speech in self.sent)
        while self.sent and first < samples:
            speech = self.sent.popleft()
            played = min(samples - first, len(speech.audio))
            first += played
            if played < len(speech.audio):
                self.sent.appendleft(Speech(speech.audio[played:]))
                return

    def rewind(self, to_sample: int) -> None:
        """What was sent and not played is to be sent again, from `to_sample`."""
        self.queue.extendleft(reversed(self.sent))
        self.sent.clear()
        self.sent_samples = to_sample

    def close(self) -> None:
        """Stop the making."""
        self.exhausted = True
        close = getattr(self.parts, "close", None)
        if close is not None:
            close()
