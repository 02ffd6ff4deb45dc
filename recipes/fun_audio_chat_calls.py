"""Speech function calling by the nano Fun-Audio-Chat: are the right tools called, one or two at once, for made voices
that it never heard and for people who order coffee?

    python recipes/fun_audio_chat_calls.py runs/omni_flatten --recordings ../shared/data

Users ask aloud; what they ask for is called for real, its result is told to the model, which says what was done. Rows
are right as a whole, by the rules of BFCL, and so in its columns; beside them, what the report measured on
SpeechFCEval.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from rich.console import Console
from rich.progress import track

from duologue.desk import Desk, Question, check
from duologue.dialogue import ToolCall
from duologue.evaluate.bfcl import exactly
from duologue.evaluate.conversing import recorded
from duologue.evaluate.function_calling import Verdict, judge
from duologue.evaluate.function_calling_table import Accuracy, Column, accuracy, accuracy_table
from duologue.evaluate.replies import AFTER_S, BEFORE_S, Replied, replied, turns_of
from duologue.session import HEARD_HZ, Audio, Turn
from duologue.synthesis import Plan
from duologue.systems.fun_audio_chat_trained import nano
from duologue.systems.fun_audio_chat_turns import Talker, Talking
from nano_units_speech import prepare
from omni_flatten_data import noises_in

TOPICS = ("order", "timers", "notes", "dialling")
BETWEEN_S = 0.3
"""Of silence between two things that are asked for at once."""
NOW = datetime(2026, 1, 5, 9)


class Asked(NamedTuple):
    """`says` are what an answer must say, in order."""

    audio: Audio
    calls: tuple[ToolCall, ...]
    says: tuple[Question, ...] = ()


def main() -> None:
    options = parsed()
    torch.set_num_threads(options.threads)
    talking = nano(options.model or options.folder / "fun_audio_chat_5" / "model")
    single = list(from_desk(options))
    sets: dict[str, dict[Column, Sequence[Asked]]] = {
        "nano, the desk": {"BFCL single": single, "BFCL parallel": list(at_once(single))},
        "nano, people's orders": {"BFCL single": list(from_people(options))},
    }
    measured = {name: {kind: right(talking, f"{name}, {kind}", asked) for kind, asked in each.items()}
                for name, each in sets.items()}  # fmt: skip
    Console(highlight=False, width=180).print(accuracy_table(measured))


def right(talking: Talking, name: str, asked: Sequence[Asked]) -> Accuracy:
    found = [answered(talking, one) for one in track(asked, name)]
    told(name, asked, found)
    both = list(zip(asked, found, strict=True))
    official, strict = ([judged(*pair, strict=strict) for pair in both] for strict in (False, True))
    return accuracy(official, strict)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "folder", type=Path, help="of recipes/omni_flatten.py, in which recipes/fun_audio_chat.py was run"
    )
    parser.add_argument("--model", type=Path, default=None, help="another model")
    parser.add_argument("--recordings", type=Path, default=Path("../shared/data"), help="recordings of people")
    parser.add_argument("--questions", type=int, default=200, help="of made voices; as many two at once")
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


# ---------------------------------------------------------------- what is asked


def from_desk(options: argparse.Namespace) -> Iterator[Asked]:
    """Recorded questions for which something is called, in test voices and noise."""
    plan = Plan(
        options.questions,
        split="test",
        topics=TOPICS,
        timing="prompt",
        exchanges=(1, 1),
        noises=noises_in(options.recordings),
        seed=78,
    )
    rows, users = recorded(options.folder / "fun_audio_chat_calls", plan)
    for row, user in zip(rows, users, strict=True):
        question = Question.from_json(row["questions"][-1])
        if question.tool_call is not None:
            (audio,) = turns_of(row, user)
            yield Asked(audio, (question.tool_call,), (question,))


def at_once(asked: Sequence[Asked]) -> Iterator[Asked]:
    """Each with the one after it, in one breath."""
    for one, other in pairwise([*asked, *asked[:1]]):
        end = len(one.audio) - round((AFTER_S - BETWEEN_S / 2) * HEARD_HZ)
        start = round((BEFORE_S - BETWEEN_S / 2) * HEARD_HZ)
        audio = np.concatenate((one.audio[:end], other.audio[start:]))
        yield Asked(audio, (*one.calls, *other.calls), (*one.says, *other.says))


def from_people(options: argparse.Namespace) -> Iterator[Asked]:
    """Orders of people, every fifth, which nobody learnt from; what they order was labelled when they were recorded."""
    speech, labelled = prepare(options.folder / "units" / "speech", options.recordings), orders(options.recordings)
    around = round(BEFORE_S * HEARD_HZ)
    for number in speech.numbers("test", "person:barista"):
        if (call := labelled.get(speech.clips[number][0].text)) is not None:
            yield Asked(np.pad(speech.audio(number), around), (call,))


def orders(recordings: Path) -> dict[str, ToolCall]:
    """What each sentence of the recordings orders."""
    manifest = recordings / "manifest.jsonl"
    rows = map(json.loads, manifest.read_text().splitlines() if manifest.exists() else ())
    calls = ((row["text"], row.get("function_call")) for row in rows if row.get("dataset") == "barista")
    return {text: ToolCall("", call["name"], json.dumps(call["arguments"])) for text, call in calls if text and call}


# ---------------------------------------------------------------- what came of it


def answered(talking: Talking, asked: Asked) -> Replied:
    return replied(Talker(talking, Desk(lambda: NOW)), Turn(0, audio=asked.audio))


def judged(asked: Asked, reply: Replied, strict: bool = False) -> Verdict:
    return judge(reply.calls, Desk.tools, exactly(asked.calls), "bfcl", strict=strict)


def told(name: str, asked: Sequence[Asked], replies: Sequence[Replied]) -> None:
    """Whether something was said aloud, and right, after the results were there."""
    spoken = [len(reply.sound) > 0 for reply in replies]
    right = [check(one.says[0], reply.written) for one, reply in zip(asked, replies, strict=True) if len(one.says) == 1]
    said = f", {sum(right)} of {len(right)} said right" if right else ""
    print(f"{name}: {sum(spoken)} of {len(spoken)} answered aloud{said}", flush=True)


if __name__ == "__main__":
    main()
