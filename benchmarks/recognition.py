"""How well and how fast the embedded recogniser hears, with the settings of the live cascade and none other.

    python benchmarks/recognition.py [barista] [digits] [desk] [ljspeech] [pocketsphinx-test] [--limit N] [--json]

barista             orders of people: share whose tool call is wholly right (settings saw even ones and the first 80)
digits              strings of 3 to 7 digits, of takes of one person: share repeated right
desk                questions of the desk's test split, 10 synthetic voices, noise at 15 to 25 dB: share answered right
ljspeech, pocketsphinx-test    word error rate; lower case, no punctuation, numbers in words on both sides
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import jiwer
import numpy as np
from rich.console import Console
from rich.progress import track

from duologue.desk import TOPICS, Desk, check, grammar, questions
from duologue.desk.transcript import plain
from duologue.dialogue import Message
from duologue.engines.asr_sphinx import Sphinx
from duologue.engines.tts import TTS, Espeak, Flite
from duologue.session import HEARD_HZ, Audio
from duologue.sound.wav import read, resample

DATA = Path(__file__).parents[2] / "shared" / "data"
SETS = ("barista", "digits", "desk", "ljspeech", "pocketsphinx-test")
FLITE = ("kal16", "awb", "rms", "slt")
ESPEAK = ("en-us", "en-us+m3", "en-us+f2", "en-us+m7", "en-us+f5", "en-gb")


@dataclass(frozen=True)
class Item:
    """Something said. `wanted` is compared with what the set makes of the transcript; `part` names a share of it."""

    audio: Audio
    wanted: Any
    part: str


@dataclass(frozen=True)
class Heard:
    part: str
    text: str
    wanted: Any
    audio_s: float
    cpu_s: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", default=SETS, help=f"of {', '.join(SETS)}; all of them by default")
    parser.add_argument("--limit", type=int, default=None, help="items of each set")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    sphinx = Sphinx(tuple(grammar("en", [topic]) for topic in TOPICS))
    sphinx.hear(np.zeros(HEARD_HZ, np.float32))
    figures = {name: measured(sphinx, name, options.limit) for name in options.sets}
    print(json.dumps(figures, indent=1) if options.json else table(figures))


def measured(sphinx: Sphinx, name: str, limit: int | None) -> dict[str, Any]:
    items = track(list(islice(said(name), limit)), description=name, console=Console(stderr=True))
    heard = [hear(sphinx, item) for item in items]
    real_time_factor = sum(h.cpu_s for h in heard) / sum(h.audio_s for h in heard)
    parts = sorted({h.part for h in heard})
    shares = {part: figure(name, [h for h in heard if h.part == part]) for part in parts}
    return {
        "items": len(heard),
        **figure(name, heard),
        "parts": shares,
        "real_time_factor": round(real_time_factor, 3),
    }


def hear(sphinx: Sphinx, item: Item) -> Heard:
    began = time.process_time()
    text = sphinx.hear(item.audio).text
    return Heard(item.part, text, item.wanted, len(item.audio) / HEARD_HZ, time.process_time() - began)


def said(name: str) -> Iterator[Item]:
    if name == "digits":
        return digit_strings()
    return desk_questions() if name == "desk" else recordings(name)


def figure(name: str, heard: list[Heard]) -> dict[str, float]:
    if name in ("ljspeech", "pocketsphinx-test"):
        wanted = [plain(h.wanted, "en") for h in heard]
        return {"word_error_rate": round(jiwer.wer(wanted, [plain(h.text, "en") for h in heard]), 4)}
    right = {"barista": order_right, "digits": digits_right, "desk": answer_right}[name]
    return {"right": round(sum(right(h) for h in heard) / len(heard), 4)}


def table(figures: dict[str, dict[str, Any]]) -> str:
    return "\n".join(f"{name:18} {json.dumps(figure)}" for name, figure in figures.items())


# ---------------------------------------------------------------- what is said


def rows(dataset: str) -> list[dict[str, Any]]:
    lines = (DATA / "manifest.jsonl").read_text().splitlines()
    return [row for row in map(json.loads, lines) if dataset in (row.get("dataset"), row["kind"])]


def loaded(row: dict[str, Any]) -> Audio:
    return read(DATA / row["path"], HEARD_HZ)


def recordings(dataset: str) -> Iterator[Item]:
    for number, row in enumerate(rows(dataset)):
        wanted = row["function_call"] if dataset == "barista" else row["text"]
        yield Item(loaded(row), wanted, "odd" if number % 2 else "even")


def digit_strings(number: int = 200) -> Iterator[Item]:
    """Takes of one person with silences of 80 to 200 ms, from the 8 kHz recordings."""
    random = Random(0)
    takes = rows("fsdd")
    people = sorted({row["speaker"] for row in takes})
    for _ in range(number):
        person = random.choice(people)
        spoken = random.choices([row for row in takes if row["speaker"] == person], k=random.randint(3, 7))
        pieces = [silence(0.3)]
        for row in spoken:
            pieces += [loaded(row), silence(random.uniform(0.08, 0.2))]
        yield Item(np.concatenate(pieces), "".join(str(row["label"]) for row in spoken), person)


def desk_questions(number: int = 240) -> Iterator[Item]:
    random, noises = Random(0), rows("noise")
    voices: list[TTS] = [*map(Flite, FLITE), *map(Espeak, ESPEAK)]
    for count, question in enumerate(islice(questions(0, "test", "en"), number)):
        speech = spoken(voices[count % len(voices)], question.text)
        noise = loaded(random.choice(noises))
        yield Item(mixed(speech, noise, random.uniform(15, 25), random), question, question.topic)


def spoken(voice: TTS, text: str) -> Audio:
    """With the pre-roll and post-roll of an utterance that the cascade hands on."""
    speech = resample(np.concatenate(list(voice.speak(text))), voice.hz, HEARD_HZ)
    return np.concatenate([silence(0.3), speech, silence(0.1)])


def mixed(speech: Audio, noise: Audio, snr_db: float, random: Random) -> Audio:
    start = random.randrange(len(noise))
    under = np.resize(np.roll(noise, -start), len(speech))
    gain = np.sqrt(np.mean(speech**2) / max(float(np.mean(under**2)), 1e-10)) * 10 ** (-snr_db / 20)
    return np.asarray(np.clip(speech + gain * under, -1, 1), np.float32)


def silence(seconds: float) -> Audio:
    return np.zeros(round(seconds * HEARD_HZ), np.float32)


# ---------------------------------------------------------------- is it right


def order_right(heard: Heard) -> bool:
    calls = Desk().answer([Message("user", heard.text)]).tool_calls
    return [{"name": call.name, "arguments": call.parsed()} for call in calls] == [heard.wanted]


def digits_right(heard: Heard) -> bool:
    answer = Desk().answer([Message("user", heard.text)]).text
    return plain(answer, "en") == plain(" ".join(heard.wanted), "en", by_digit=True)


def answer_right(heard: Heard) -> bool:
    desk, messages = Desk(), [*heard.wanted.history, Message("user", heard.text)]
    answer = desk.answer(messages)
    if answer.tool_calls:
        messages.append(Message("assistant", answer.text, tool_calls=answer.tool_calls))
        messages += [Message("tool", desk.run(call), call_id=call.call_id) for call in answer.tool_calls]
        answer = desk.answer(messages)
    return check(heard.wanted, answer.text)


if __name__ == "__main__":
    main()
