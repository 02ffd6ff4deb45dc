"""How a trained OmniFlatten understands people it never heard: digit strings repeated, orders turned into calls.

    python recipes/omni_flatten_people.py runs/omni_flatten --recordings ../shared/data

Two speakers of the digits and every fifth order were kept out of training. Beside it, what the cascade makes of the
same recordings.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import numpy as np
import torch

from duologue.desk import Desk
from duologue.dialogue import ToolCall
from duologue.duplex import Talking
from duologue.evaluate.answers import same_calls
from duologue.evaluate.conversing import tracks
from duologue.model.calls import parted
from duologue.session import HEARD_HZ, Audio, Turn, Wrote
from duologue.systems import SYSTEMS, omni_flatten
from nano_units_speech import Clip, Speech, prepare
from omni_flatten_data import LEAD_S, answer_to

AFTER_S = 6.0
"""Of silence: time for the whole answer and its call."""
ASKED = {"digit strings, two people": "person:fsdd", "orders, every fifth": "person:barista"}

Reply = tuple[str, tuple[ToolCall, ...]]
"""What was said, what was called."""


def main() -> None:
    options = parsed()
    torch.set_num_threads(options.threads)
    speech = prepare(options.folder / "units" / "speech", options.recordings)
    talking = omni_flatten.loaded(options.folder / "model")
    for name, voice in ASKED.items():
        clips = [n for n in speech.numbers("test", voice) if speech.clips[n][0].text][: options.clips]
        if not clips:
            print(f"{name}: no recordings in {options.recordings}")
            continue
        for system, replies in (
            ("omni_flatten", duplex_replies(talking, speech, clips)),
            ("cascade", cascade(speech, clips)),
        ):
            print(f"{name:28}  {system:12}  {share(speech, clips, replies)}", flush=True)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of recipes/omni_flatten.py")
    parser.add_argument("--recordings", type=Path, default=Path("../shared/data"), help="recordings of people")
    parser.add_argument("--clips", type=int, default=200, help="at most, of each kind")
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def duplex_replies(talking: Talking, speech: Speech, clips: Sequence[int]) -> list[Reply]:
    heard = [np.concatenate((_silence(LEAD_S), speech.audio(n), _silence(AFTER_S))) for n in clips]
    return [talking.text_of(track.ids("text"), Desk.tools) for track in tracks(talking, heard)]


def cascade(speech: Speech, clips: Sequence[int]) -> list[Reply]:
    system = SYSTEMS["clean_s2s"](now=lambda: datetime(2026, 1, 5, 9))
    found = list[Reply]()
    for n in clips:
        parts = list(system.reply(Turn(0, audio=np.concatenate((_silence(0.3), speech.audio(n), _silence(0.3))))))
        said = "".join(part.text for part in parts if isinstance(part, Wrote))
        found.append((said, tuple(part for part in parts if isinstance(part, ToolCall))))
    return found


def share(speech: Speech, clips: Sequence[int], replies: Sequence[Reply]) -> str:
    """How many replies are those of the desk to what was truly said: the same digits, or the same call."""
    right = sum(_right(speech.clips[n][0], reply) for n, reply in zip(clips, replies, strict=True))
    return f"{right} of {len(clips)}  {right / len(clips):.1%}"


def _right(clip: Clip, reply: Reply) -> bool:
    said, calls = parted(answer_to(clip.text), Desk.tools)
    return same_calls(reply[1], calls) if calls else _words(reply[0]) == _words(said)


def _words(text: str) -> list[str]:
    return text.lower().replace(".", "").replace(",", "").split()


def _silence(seconds: float) -> Audio:
    return np.zeros(round(seconds * HEARD_HZ), np.float32)


if __name__ == "__main__":
    main()
