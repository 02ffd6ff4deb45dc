"""Written instructions into spoken ones with spoken answers, as InstructS2S-200K was made (LLaMA-Omni, section 4).

    python recipes/instruct_s2s.py alpaca.json --folder runs/instruct --mind openai:llama-3.3-70b-instruct
    python recipes/instruct_s2s.py --folder runs/instruct --count 200        # offline: the desk asks, and answers

A mind rewrites each instruction as somebody would say it and answers it as one can speak; two voices say both; what
cannot be said, or is not followed by a recogniser where one is named, is dropped with the reason. Run it again to go
on where it was stopped, with more instructions too; what an engine failed at is tried again then. The folder then holds
`audio/`, `manifest.jsonl` and `dropped.jsonl`. Units are extracted by whoever trains: they depend on the codec.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from random import Random
from typing import Protocol, TypeVar

import numpy as np

import blocks
from blocks import Row, keep
from duologue.desk import Desk, questions
from duologue.desk.transcript import plain
from duologue.dialogue import Message
from duologue.engines.asr import ASR
from duologue.engines.llm import LLM
from duologue.engines.named import mind, recogniser
from duologue.session import HEARD_HZ, Audio
from duologue.sound.wav import write
from duologue.synthesis import screen
from duologue.synthesis.voice import Manner, speak, voices

MOST_WORDS = 120
"""Of an answer: more is not brief."""
TRIES = 3
"""For a mind to write what can be read."""
FILLERS = ("hey", "so", "uh", "um", "okay", "well")
ASSISTANT = "flite:slt"

REWRITE = """\
Somebody wants to ask a voice assistant for what the message below asks. Write it as they would say it aloud:
1. begin it, or break it, with a small word of hesitation or address now and then, as speakers do;
2. write every number, sign and abbreviation as the words that are spoken for it;
3. keep it short, with nothing in it that only a reader needs.
Reply with JSON alone: {"question": "..."}"""
ANSWER = """\
You answer by voice. Reply to the message below as a person would say it:
1. nothing that cannot be spoken: no lists, no headings, no brackets, no code;
2. every number and sign as words;
3. to the point, in a few sentences at most.
Reply with JSON alone: {"response": "..."}"""

Read = TypeVar("Read")


class DroppedError(Exception):
    """Why there is nothing to be heard of an instruction."""


def main() -> None:
    options = parsed()
    asked = list(islice(instructions(options.instructions), options.count))
    writer: Writer = ByDesk() if options.mind == "desk" else ByMind(mind(options.mind, Desk()))
    ears = recogniser(options.asr) if options.asr else None
    make(options.folder, asked, writer, ears, options.workers, options.seed)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("instructions", nargs="?", type=Path, help="Alpaca, UltraChat or chat JSON (L); none: the desk")
    parser.add_argument("--folder", type=Path, default=Path("runs/instruct_s2s"), help="where everything is kept")
    parser.add_argument("--mind", default="desk", help="desk, transformers:PATH_OR_HUB_ID or openai:MODEL")
    parser.add_argument("--asr", help="recogniser that has to follow the question, as `duologue talk --asr` names it")
    parser.add_argument("--count", type=int, default=None, help="how many instructions, at most")
    parser.add_argument("--workers", type=int, default=4, help="instructions at once")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


# ---------------------------------------------------------------- what is asked


def instructions(path: Path | None) -> Iterator[str]:
    """The instruction of each record; of a conversation its first turn. Raises ValueError for another format."""
    if path is None:
        yield from (question.written for question in questions(0, "train", "en") if not question.history)
        return
    text = path.read_text()
    records = json.loads(text) if text.lstrip().startswith("[") else map(json.loads, filter(None, text.splitlines()))
    for number, record in enumerate(records):
        if not (found := _instruction(record)):
            raise ValueError(f"{path}: record {number} has no instruction, only {sorted(record)}")
        yield found


def _instruction(record: Row) -> str:
    if "instruction" in record:
        return f"{record['instruction']}\n{record.get('input') or ''}".strip()
    turns = record.get("data") or record.get("messages") or record.get("conversation") or [""]
    first = next((turn for turn in turns if isinstance(turn, str) or _says(turn) in ("user", "human")), "")
    return first if isinstance(first, str) else str(first.get("content") or first.get("text") or "")


def _says(turn: Row) -> str:
    return str(turn.get("role") or turn.get("from") or "")


# ---------------------------------------------------------------- what is said


class Writer(Protocol):
    """Both raise DroppedError."""

    def question(self, instruction: str, drawn: Random) -> str: ...
    def answer(self, question: str) -> str: ...


class ByMind:
    """Any language model that follows instructions."""

    def __init__(self, llm: LLM) -> None:
        self._llm = llm

    def question(self, instruction: str, drawn: Random) -> str:
        return self._written(REWRITE, instruction, "question")

    def answer(self, question: str) -> str:
        return self._written(ANSWER, question, "response")

    def _written(self, system: str, text: str, field: str) -> str:
        written = as_json(self._llm, system, text, lambda fields: str(fields[field]).strip())
        if written is None:
            raise DroppedError(f"the mind wrote no JSON with a {field!r}")
        return written


def as_json(llm: LLM, system: str, text: str, read: Callable[[Row], Read]) -> Read | None:
    """What `read` makes of the JSON object that a model replies with; None where it writes none that can be read."""
    messages = [Message("system", system), Message("user", text)]
    for _ in range(TRIES):
        written = "".join(piece for piece in llm.think(messages, ()) if isinstance(piece, str))
        if found := re.search(r"\{.*\}", written, re.DOTALL):
            try:
                return read(json.loads(found.group()))
            except (ValueError, KeyError, TypeError):
                continue
    return None


class ByDesk:
    """The closed world, which needs no model: what it does not understand is dropped."""

    def __init__(self) -> None:
        self._desk = Desk()

    def question(self, instruction: str, drawn: Random) -> str:
        known = self._desk.answer([Message("user", instruction)])
        if not known.topic or known.tool_calls:
            raise DroppedError("the desk does not answer it by words alone")
        text = plain(instruction, "en")
        return f"{drawn.choice(FILLERS)}, {text}" if drawn.random() < 0.5 else text

    def answer(self, question: str) -> str:
        return self._desk.answer([Message("user", question)]).text


def text_fault(text: str) -> str | None:
    """Why it cannot be spoken as it stands, or None."""
    if figures := re.search(r"\d+", text):
        return f"the figures {figures.group()!r} are not in words"
    if len(text.split()) > MOST_WORDS:
        return f"{len(text.split())} words, more than {MOST_WORDS}"
    return screen.text_fault(text)


# ---------------------------------------------------------------- making


def make(
    folder: Path, asked: Sequence[str], writer: Writer, ears: ASR | None = None, workers: int = 4, seed: int = 0
) -> list[Row]:
    """Everything that is not there yet; the rows of the manifest. The same whatever the number of workers.

    Raises ValueError for a folder of other instructions, EngineError where an engine failed: what is made is kept.
    """
    (folder / "audio").mkdir(parents=True, exist_ok=True)
    rows: list[Row] = [{"instruction": instruction} for instruction in asked]
    made = blocks.made(folder, rows, lambda n: one(folder, n, asked[n], writer, ears, seed), workers, "instructions")
    keep(folder / "dropped.jsonl", (row for row in made.rows if "dropped" in row))
    kept = [row for row in made.rows if "dropped" not in row]
    keep(folder / "manifest.jsonl", kept)
    made.check()
    return kept


def one(folder: Path, number: int, instruction: str, writer: Writer, ears: ASR | None, seed: int) -> Row:
    """The line of one instruction: `path` is the question's sound; or why it was dropped. Raises EngineError."""
    drawn = Random(f"{seed} {number}")
    row: Row = {"id": number, "instruction": instruction}
    try:
        question = _checked(writer.question(instruction, drawn))
        answer = _checked(writer.answer(question))
        user = Manner(drawn.choice(voices("train", "en")), round(drawn.uniform(0.92, 1.1), 3), drawn.randint(140, 190))
        spoken = {"question": speak(user, question), "answer": speak(Manner(ASSISTANT), answer)}
        _followed(question, spoken["question"], ears)
    except DroppedError as fault:
        return row | {"dropped": str(fault)}
    paths = {name: f"audio/{number:07}_{name}.flac" for name in spoken}
    for name, sound in spoken.items():
        write(folder / paths[name], sound, HEARD_HZ)
    row |= {"path": paths["question"], "text": question, "speaker": user.voice, "sample_rate": HEARD_HZ}
    return row | {"answer": answer, "answer_path": paths["answer"]}


def _checked(text: str) -> str:
    if fault := text_fault(text):
        raise DroppedError(fault)
    return text


def _followed(question: str, sound: Audio, ears: ASR | None) -> None:
    if ears is not None:
        heard = ears.transcribe(np.pad(sound, screen.EDGE_SAMPLES)).text
        if (rate := screen.error_rate(question, heard)) > screen.MOST_ERRORS:
            raise DroppedError(f"{question!r} was heard as {heard!r} ({rate:.0%} wrong)")


if __name__ == "__main__":
    main()
