"""A system hears cases of Full-Duplex-Bench, one after the other: input.wav → output.wav, on the same clock.

    SYSTEM/run.json                 what talked
    SYSTEM/pause/00/output.wav      what it said, as long as the input, at its own rate
    SYSTEM/pause/00/output.json     the words of it, as the benchmark's recogniser writes them
    SYSTEM/.../00/clean_output.wav  of version 1.5's: what it said when nobody came in
    SYSTEM/scores.json              official and corrected figures, of each case and of each task

What is there is not made again; a transcript that other ears made, or of another sound, is. One that somebody else
wrote, without segments, is kept. A recogniser hears each stretch of speech alone, and its words are laid over it by
their letters: when somebody speaks is the VAD's to say.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from difflib import SequenceMatcher
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import IO, Any
from zlib import crc32

import numpy as np

from duologue.evaluate import full_duplex_bench_table as bench
from duologue.evaluate.answers import Ears
from duologue.evaluate.by_ear import listened
from duologue.evaluate.full_duplex_bench import TimedWord, words_of
from duologue.evaluate.full_duplex_cases import Case
from duologue.evaluate.timing import Span, joined, of_sound
from duologue.session import HEARD_HZ, Audio, Session
from duologue.sound import wav
from duologue.sound.vad import Vad
from duologue.whole import whole_file

JOIN_MS = 200
"""Speech of the system up to this far apart is heard as one."""
UNHEARD = "…"
"""A stretch of speech in which no word was understood."""

# ---------------------------------------------------------------- talking


def answered(session: Session, heard: Audio) -> Audio:
    """What a session says while it hears [N] at 16 kHz: as long, at its `said_hz`. It is closed."""
    found = listened(session, heard)
    return found.sound[: round(len(heard) * found.hz / HEARD_HZ)]


def talked(
    cases: Iterable[Case],
    inputs: Path,
    folder: Path,
    make: Callable[[], Session],
    described: Mapping[str, Any],
) -> Iterator[Case]:
    """Let a fresh session hear each case of `inputs` and leave its output in `folder`; the cases, as they are done.
    Raises ValueError for a folder with the outputs of something else."""
    _same_system(folder, described)
    return _talked(cases, inputs, folder, make)


def _talked(cases: Iterable[Case], inputs: Path, folder: Path, make: Callable[[], Session]) -> Iterator[Case]:
    for case in cases:
        (folder / case.name).mkdir(parents=True, exist_ok=True)
        for heard in sorted((inputs / case.name).glob("*input.wav")):
            path = folder / case.name / heard.name.replace("input", "output")
            if not path.exists():
                session = make()
                wav.write(path, answered(session, wav.read(heard, HEARD_HZ)), session.said_hz)
        yield case


def _same_system(folder: Path, described: Mapping[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    path, told = folder / "run.json", json.dumps(described)
    if path.exists() and path.read_text() != told:
        raise ValueError(f"{folder} holds the outputs of {path.read_text()}; give these another name, or remove it")
    whole_file(path, lambda file: file.write(told.encode()))


# ---------------------------------------------------------------- words


def transcript(sound: Audio, ears: Ears | None, vad: Vad | None = None) -> dict[str, Any]:
    """The words of [N] samples at 16 kHz with their times, and the segments of the VAD, in seconds. Without ears each
    stretch is one word."""
    words = [word for span in joined(of_sound(sound, vad), JOIN_MS) for word in _words(sound, span, ears)]
    chunks = [{"text": word.text, "timestamp": [word.start_s, word.end_s]} for word in words]
    segments = [[span.start_ms / 1000, span.end_ms / 1000] for span in of_sound(sound, vad)]
    return {"text": " ".join(word.text for word in words), "chunks": chunks, "segments": segments}


def _words(sound: Audio, span: Span, ears: Ears | None) -> list[TimedWord]:
    per_ms = HEARD_HZ // 1000
    found = ears(sound[span.start_ms * per_ms : span.end_ms * per_ms]).split() if ears else []
    texts = found or [UNHEARD]
    ends = np.cumsum([len(text) for text in texts]) / sum(map(len, texts))
    at_s = [round((span.start_ms + share * span.length_ms) / 1000, 3) for share in (0.0, *ends.tolist())]
    return [TimedWord(text, *times) for text, times in zip(texts, pairwise(at_s), strict=True)]


# ---------------------------------------------------------------- scores


def scored(
    cases: Sequence[Case], folder: Path, ears: Ears | None, vad: Vad | None = None, ears_name: str = "ears"
) -> dict[str, Any]:
    """The figures of a system's outputs in `folder`, kept in its scores.json. `ears_name`: who the ears are."""
    names = {"ears": ears_name if ears else None}
    each = {case.name: score(case, *_heard(folder / case.name, ears, vad, names)) for case in cases}
    tasks: dict[str, Any] = {}
    for task in dict.fromkeys(case.task for case in cases):
        tasks[task] = asdict(bench.side_by_side([each[case.name] for case in cases if case.task == task]))
    found = {"tasks": tasks, "each": {name: asdict(scores) for name, scores in each.items()}}
    whole_file(folder / "scores.json", lambda file: file.write(json.dumps(found, indent=1).encode()))
    return found


def _heard(folder: Path, ears: Ears | None, vad: Vad | None, names: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The transcript of the output, and of the clean one where there is one."""
    for sound in sorted(folder.glob("*output.wav"), reverse=True):
        path, by = sound.with_suffix(".json"), {**names, "sound": crc32(sound.read_bytes())}
        kept = json.loads(path.read_text()) if path.exists() else {"segments": []}
        if "segments" not in kept:
            yield {**kept, "segments": transcript(wav.read(sound, HEARD_HZ), None, vad)["segments"]}
            continue
        if kept.get("by") != by:
            kept = {**transcript(wav.read(sound, HEARD_HZ), ears, vad), "by": by}
            whole_file(path, partial(_put, json.dumps(kept).encode()))
        yield kept


def _put(content: bytes, file: IO[bytes]) -> None:
    file.write(content)


def score(case: Case, heard: Mapping[str, Any], clean: Mapping[str, Any] | None = None) -> bench.Scores:
    """One case, by what was heard of the output, and of the output when nobody came in."""
    words = words_of(heard)
    segments = [(start_s, end_s) for start_s, end_s in heard["segments"]]
    if case.task == "pause":
        return bench.pause(words, case.pauses, case.event[1])
    if case.task == "turn":
        return bench.smooth_turn(words, case.event[1])
    if case.task == "interruption":
        return bench.interruption(words, cropped(words, case.event[1]), case.event)
    if case.task == "backchannel":
        return bench.backchannel(segments, words, case.scene.duration_s, case.reference)
    found = bench.timing(case.user, segments, case.event)
    goes_on = goes_on_share(words, words_of(clean or heard), case.event[0])
    return replace(found, corrected={"goes_on": goes_on, **found.corrected})


def goes_on_share(said: Sequence[TimedWord], clean: Sequence[TimedWord], onset_s: float) -> float | None:
    """How many of the words that are said after the onset when nobody comes in are said after it all the same, in
    their order; None where none is: the answer had come to its end. What else is said is no going on."""
    after, unmoved = ([word.text for word in cropped(words, onset_s)] for words in (said, clean))
    same = SequenceMatcher(None, unmoved, after, autojunk=False).get_matching_blocks()
    return sum(block.size for block in same) / len(unmoved) if unmoved else None


def cropped(words: Sequence[TimedWord], at_s: float) -> list[TimedWord]:
    """What is heard of the words in the sound from there on."""
    return [
        TimedWord(word.text, max(at_s, word.start_s or 0.0), word.end_s)
        for word in words
        if word.end_s is not None and word.end_s > at_s
    ]
