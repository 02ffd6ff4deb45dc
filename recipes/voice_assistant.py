"""Questions and answers into records of VoiceAssistant-400K's layout, which Mini-Omni's authors trained with: speech of
the question, text of the answer, and the codes of the answer in the assistant's voice.

    python recipes/voice_assistant.py pairs.json --codec runs/omni_flatten/levels/levels.safetensors
    python recipes/voice_assistant.py --count 200 --codec snac_24khz             # the desk asks and answers

Voices for training take the questions by turns. What cannot be said is dropped with the reason. Run it again to go on
where it was stopped, with more pairs too. The folder then holds `audio/`, `records.jsonl`, and in `blocks/` what was
dropped; recipes/voice_assistant_reading.py reads it.
"""

from __future__ import annotations

import argparse
import json
import zlib
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from random import Random

import torch

import blocks
from blocks import Row, keep
from duologue.desk import questions
from duologue.session import HEARD_HZ
from duologue.sound.wav import resample, write
from duologue.synthesis import screen
from duologue.synthesis.voice import Manner, speak, voices
from duologue.systems.mini_omni import BOOKS
from duologue.units import snac, snac_nano
from duologue.units.codec import encode_whole
from duologue.units.snac import Snac
from instruct_s2s import ASSISTANT
from voice_assistant_reading import RECORDS, as_written

Pair = tuple[str, str]
"""A question and its answer."""


def main() -> None:
    options = parsed()
    asked = list(islice(pairs(options.pairs), options.count))
    make(options.folder, asked, codec_of(options.codec), options.assistant, options.workers, options.seed)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs", nargs="?", type=Path, help="JSON (L) of question and answer; none: the desk")
    parser.add_argument("--folder", type=Path, default=Path("runs/voice_assistant"), help="where everything is kept")
    parser.add_argument("--codec", type=Path, required=True, help="file of a nano codec with levels, or folder of SNAC")
    parser.add_argument("--assistant", default=ASSISTANT, help="voice of the answers")
    parser.add_argument("--count", type=int, default=None, help="how many pairs, at most")
    parser.add_argument("--workers", type=int, default=2, help="pairs at once")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def pairs(path: Path | None) -> Iterator[Pair]:
    """[question, answer] or {"question": …, "answer": …}, in a JSON list or in lines. Raises ValueError for others."""
    if path is None:
        alone = (one for one in questions(0, "train", "en") if not one.history and not one.tool_call)
        yield from ((question.text, question.answer) for question in alone)
        return
    text = path.read_text()
    lines = filter(str.strip, text.splitlines())
    found = json.loads(text) if path.suffix == ".json" else map(json.loads, lines)
    for number, record in enumerate(found):
        pair = [record.get("question"), record.get("answer")] if isinstance(record, dict) else record
        if not isinstance(pair, list) or [type(text) for text in pair] != [str, str]:
            raise ValueError(f"{path}: record {number} is no question and answer: give two texts, or both by name")
        yield pair[0], pair[1]


def codec_of(path: Path) -> Snac:
    """Raises ValueError for a codec of another number of books, FileNotFoundError where there is none."""
    found = snac.load(path) if path.is_dir() else snac_nano.load(path)
    if found.books != BOOKS:
        raise ValueError(f"{path}: a codec of {found.books} books, where Mini-Omni's has {BOOKS}")
    return found


# ---------------------------------------------------------------- making


def make(
    folder: Path, asked: Sequence[Pair], codec: Snac, assistant: str = ASSISTANT, workers: int = 2, seed: int = 0
) -> list[Row]:
    """Every record that is not there yet; all of them. The same whatever the number of workers.

    Raises ValueError for a folder of other pairs, or of another codec or voice; EngineError where a voice failed: what
    is made is kept.
    """
    (folder / "audio").mkdir(parents=True, exist_ok=True)
    by = f"{assistant}, codec {_mark(codec)}"
    rows: list[Row] = [{"question": question, "answer": answer, "split_name": by} for question, answer in asked]
    made = blocks.made(folder, rows, lambda n: one(folder, n, rows[n], codec, assistant, seed), workers, "records")
    keep(folder / "blocks" / "dropped.jsonl", (row for row in made.rows if "dropped" in row))
    kept = [row for row in made.rows if "dropped" not in row]
    keep(folder / RECORDS, kept)
    made.check()
    return kept


def _mark(codec: Snac) -> str:
    """Of its weights."""
    mark = 0
    for weight in codec.state_dict().values():
        mark = zlib.crc32(weight.numpy().tobytes(), mark)
    return f"{mark:08x}"


@torch.no_grad()
def one(folder: Path, number: int, asked: Row, codec: Snac, assistant: str, seed: int) -> Row:
    """A record; or why it was dropped. Raises EngineError."""
    row = {"id": number, **asked, "index": f"{number:07}", "round": 1}
    for name in ("question", "answer"):
        if fault := screen.text_fault(asked[name]):
            return row | {"dropped": f"{name}: {fault}"}
    drawn = Random(f"{seed} {number}")
    user = Manner(drawn.choice(voices("train", "en")), round(drawn.uniform(0.92, 1.1), 3), drawn.randint(140, 190))
    path = f"audio/{number:07}_question.flac"
    write(folder / path, speak(user, asked["question"]), HEARD_HZ)
    said = resample(speak(Manner(assistant), asked["answer"]), HEARD_HZ, codec.heard_hz)
    codes = encode_whole(codec, torch.from_numpy(said)[None])[0].numpy()
    return row | {"question_audio": path, "answer_snac": as_written(codes)}


if __name__ == "__main__":
    main()
