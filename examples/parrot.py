"""A system of your own in twenty lines: it says back what it hears. Run: python examples/parrot.py in.wav out.wav"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import duologue
from duologue.session import Part, Speech
from duologue.sound.wav import resample


class Parrot:
    """All that turn-taking needs is `said_hz` and `reply`; listening, ending turns and giving way come for free."""

    said_hz = 24_000

    def reply(self, turn: duologue.Turn) -> Iterator[Part | None]:
        if turn.audio is not None:
            yield Speech(resample(turn.audio, 16_000, self.said_hz))


if __name__ == "__main__":
    heard, said = sys.argv[1:]
    conversation = duologue.converse(duologue.TurnSession(Parrot()), duologue.read(heard, 16_000))
    duologue.write(said, conversation.sound, conversation.hz)
    print(f"{said}: {len(conversation.sound) / conversation.hz:.1f} s")
