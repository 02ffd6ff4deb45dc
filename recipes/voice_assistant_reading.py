"""Spoken questions with spoken answers to learn from, in the layout of VoiceAssistant-400K: what Mini-Omni's authors
published, and what recipes/voice_assistant.py made.

    python recipes/mini_omni.py --folder runs/omni_flatten --records runs/voice_assistant

A record has the columns `question`, `question_audio`, `answer` and `answer_snac`: of the answer's sound there are codes
alone, "# c0 c1 … c6 # …", a frame of SNAC's levels [L1, L2a, L3a, L3b, L2b, L3c, L3d] behind each mark. They are those
of one codec: published ones are SNAC's for 24 kHz (4096 codes), so a nano model learns from records of its own codec.
Each record is a conversation of one turn: what the published `index` and `round` join is nowhere said.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import numpy as np

from duologue.layout import Tokens
from duologue.model.adapter import Ears
from duologue.session import HEARD_HZ, Audio
from duologue.sound.wav import read
from duologue.systems.mini_omni import BOOKS
from mini_omni_lessons import Exchanged, Lesson

RECORDS = "records.jsonl"
COLUMNS = ("question", "question_audio", "answer", "answer_snac")
_FRAME = re.compile(rf"\s*(\d+(?:\s+\d+){{{BOOKS - 1}}})\s*")

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Record:
    """A question, its sound [N] at 16 kHz, its answer and the codes of that, [books, frames]."""

    question: str
    sound: Audio
    answer: str
    codes: Tokens


# ---------------------------------------------------------------- records


def records(path: Path, codes: int) -> Iterator[Record]:
    """Of a file of parquet or JSON lines, or of all such files in a folder; for a codec of so many codes. Names of
    sound files are taken from the file's folder.

    Raises ValueError, naming the record, for one that is none; ImportError for parquet without pyarrow;
    FileNotFoundError, SoundError.
    """
    for file in _files(path):
        for number, row in enumerate(_rows(file)):
            try:
                yield _record(row, file.parent, codes)
            except (KeyError, TypeError, ValueError) as error:
                raise ValueError(f"{file}: record {number} is not of VoiceAssistant-400K's layout: {error}") from error


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if found := sorted(path.rglob("*.parquet")) or sorted(path.glob("*.jsonl")):
        return found
    raise FileNotFoundError(f"{path} holds no records: there are neither parquet files nor JSON lines in it")


def _rows(file: Path) -> Iterator[str | Row]:
    """Lines of JSON; or what a parquet file holds."""
    if file.suffix != ".parquet":
        with file.open() as lines:
            yield from filter(str.strip, lines)
        return
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise ImportError(f"{file} is parquet, which pyarrow reads: pip install pyarrow") from error
    for batch in parquet.ParquetFile(file).iter_batches(batch_size=64, columns=list(COLUMNS)):
        yield from batch.to_pylist()


def _record(line: str | Row, folder: Path, codes: int) -> Record:
    row = json.loads(line) if isinstance(line, str) else line
    if missing := [name for name in COLUMNS if name not in row]:
        raise ValueError(f"it has no {' and no '.join(missing)}, only {', '.join(sorted(row))}")
    if wrong := [name for name in ("question", "answer", "answer_snac") if not isinstance(row[name], str)]:
        raise ValueError(f"{' and '.join(wrong)}: give text")
    sound = _sound(row["question_audio"], folder)
    return Record(row["question"], sound, row["answer"], frames(row["answer_snac"], codes))


def _sound(of: str | Row, folder: Path) -> Audio:
    """By its name; or as a column of sound holds it, in bytes or by its name."""
    held, name = (of.get("bytes"), of.get("path")) if isinstance(of, Mapping) else (None, of)
    if not held and not isinstance(name, str):
        raise ValueError(f"question_audio {of!r}: give the name of a sound file, or its bytes")
    if not held:
        return read(folder / str(name), HEARD_HZ)
    with NamedTemporaryFile() as file:
        file.write(held)
        file.flush()
        return read(file.name, HEARD_HZ)


# ---------------------------------------------------------------- codes


def frames(written: str, codes: int) -> Tokens:
    """ "# c0 … c6 # …" → [books, frames]. Raises ValueError for another count in a frame, and for a code that a codec
    of so many does not have."""
    before, *parts = written.split("#")
    if before.strip() or not parts:
        raise ValueError(f"answer_snac {written[:40]!r}: give frames as '# c0 c1 … c6 # …'")
    for number, part in enumerate(parts):
        if not _FRAME.fullmatch(part):
            raise ValueError(f"frame {number} of answer_snac is {part.strip()[:60]!r}: a frame has {BOOKS} codes")
    found = np.array([part.split() for part in parts], np.int64).T
    if (largest := int(found.max())) >= codes:
        raise ValueError(
            f"answer_snac has the code {largest}, but the codec has {codes}: these are another codec's (the published "
            "ones are SNAC's for 24 kHz, 4096); make records with this one by recipes/voice_assistant.py"
        )
    return found


def as_written(codes: Tokens) -> str:
    """[books, frames] → "# c0 … c6 # …"."""
    return " ".join(f"# {' '.join(map(str, frame))}" for frame in codes.T.tolist())


# ---------------------------------------------------------------- lessons


def lessons(path: Path, ears: Ears, words: Any, codes: int) -> Iterator[Lesson]:
    """What Mini-Omni learns from, for the ears, the tokenizer and the codec of a model; without questions of which the
    ears hear nothing. Raises as `records` does."""
    for record in records(path, codes):
        heard = ears.features(record.sound).detach().half()
        asked, answer = (list(words(text).input_ids) for text in (record.question, record.answer))
        if len(heard):
            yield [Exchanged(heard, asked, answer, answer, record.codes)]
