"""The speech that the nano units are trained on: the desk's texts said by the voices of flite and espeak-ng, and
recordings of people where they are at hand.

Each source is made once and kept in the work folder as 16-bit samples with a list of clips, so that a run that was
stopped goes on where it was.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from duologue.desk import questions
from duologue.engines.tts import TTS, Espeak, Flite, resampled
from duologue.sound import Audio
from duologue.sound.wav import read
from duologue.whole import whole_file

HZ = 16_000
ASSISTANT = "flite:slt"
"""The one voice that the decoder speaks with."""

_FLITE_CLIPS = {"slt": 1000, "rms": 450, "kal16": 250}
_ESPEAK_CLIPS = 120
_ESPEAK = """
    en-us en-gb en-gb-scotland en-us+m1 en-us+m2 en-us+m3 en-us+m4 en-us+m5 en-us+m6 en-us+m8 en-us+f1 en-us+f2
    en-us+f3 en-us+f4 en-us+klatt en-us+klatt2 en-us+klatt3 en-us+klatt6 en-us+Andy en-us+Annie en-us+Denis
    en-us+Steph en-us+victor en-us+travis en-gb+Alicia en-gb+Michael en-gb+m4 en-gb+f3 en-gb-scotland+m6
    en-gb-scotland+f1 en-gb-x-rp en-gb-x-rp+f4 en-029 en-029+m3 en-029+f2 en-us-nyc en-us-nyc+m2 en-us-nyc+f1
""".split()
TEST_VOICES = ("flite:awb", "espeak:en-us+f5", "espeak:en-us+m7", "espeak:en-us+klatt4")
_TEST_CLIPS = 40
_TEST_PEOPLE = ("fsdd-george", "fsdd-nicolas")
_PEOPLE = ("fsdd", "barista", "speechocean762", "ljspeech")

Split = Literal["train", "test"]
Said = tuple[str, str, Split, Audio]
"""Text, voice, split and sound of an utterance."""


@dataclass(frozen=True)
class Clip:
    """Where one utterance lies in the samples of its source, and what is said in it (a-z, ' and spaces)."""

    text: str
    voice: str
    split: Split
    start: int
    samples: int


@dataclass(frozen=True)
class Speech:
    """The clips of all sources; `audio` gives the sound of one, [N] at 16 kHz."""

    clips: tuple[tuple[Clip, NDArray[np.int16]], ...]

    def audio(self, number: int) -> Audio:
        clip, sound = self.clips[number]
        return sound[clip.start : clip.start + clip.samples].astype(np.float32) / np.float32(32768)

    @property
    def voices(self) -> set[str]:
        """Of the clips to learn from."""
        return {clip.voice for clip, _ in self.clips if clip.split == "train"}

    def numbers(self, split: Split, voice: str = "") -> list[int]:
        """The clips of a split whose voice begins with `voice`."""
        return [n for n, (c, _) in enumerate(self.clips) if c.split == split and c.voice.startswith(voice)]


def prepare(folder: Path, recordings: Path, share: float = 1.0) -> Speech:
    """Make or find all sources under `folder`. `recordings` is the folder of people's recordings; without it, only
    the made voices are used. `share` of the clips is made of each voice."""
    folder.mkdir(parents=True, exist_ok=True)
    makers = {**_voices(share), **_people(recordings)}
    return Speech(tuple(pair for name, make in makers.items() for pair in found(folder / name, make)))


def found(path: Path, make: Callable[[], Iterable[Said]]) -> Iterator[tuple[Clip, NDArray[np.int16]]]:
    """The clips of one source, made if they are not there yet."""
    if not path.with_name(f"{path.name}.jsonl").exists():
        print(f"speech: making {path.name}", flush=True)
        _keep(path, make())
    yield from _kept(path)


def plain(text: str) -> str:
    """The words as they are trained: lower case a-z and ' with single spaces."""
    return " ".join(re.sub(r"[^a-z']", " ", text.lower()).split())


# ---------------------------------------------------------------- kept on the disk


def _keep(path: Path, said: Iterable[Said]) -> None:
    clips, sounds, start = list[Clip](), list[NDArray[np.int16]](), 0
    for text, voice, split, audio in said:
        clips.append(Clip(text, voice, split, start, len(audio)))
        sounds.append((np.clip(audio, -1, 1) * 32767).astype(np.int16))
        start += len(audio)
    lines = "".join(json.dumps(asdict(clip)) + "\n" for clip in clips)
    whole_file(path.with_name(f"{path.name}.npy"), lambda file: np.save(file, np.concatenate(sounds)))
    whole_file(path.with_name(f"{path.name}.jsonl"), lambda file: file.write(lines.encode()))


def _kept(path: Path) -> Iterator[tuple[Clip, NDArray[np.int16]]]:
    sound = np.load(path.with_name(f"{path.name}.npy"), mmap_mode="r")
    for line in path.with_name(f"{path.name}.jsonl").read_text().splitlines():
        yield Clip(**json.loads(line)), sound


# ---------------------------------------------------------------- made voices


def _voices(share: float) -> dict[str, Callable[[], Iterator[Said]]]:
    counts = {f"flite:{name}": clips for name, clips in _FLITE_CLIPS.items()}
    counts |= {f"espeak:{name}": _ESPEAK_CLIPS for name in _ESPEAK}
    makers: dict[str, Callable[[], Iterator[Said]]] = {}
    for seed, (voice, clips) in enumerate(counts.items(), 1):
        makers[voice.replace(":", "_")] = partial(_spoken, voice, seed, "train", max(2, round(clips * share)))
    for voice in (*TEST_VOICES, ASSISTANT):
        clips = max(2, round(_TEST_CLIPS * share))
        makers[f"test_{voice.replace(':', '_')}"] = partial(_spoken, voice, 0, "test", clips)
    return makers


def _spoken(voice: str, seed: int, split: Split, clips: int) -> Iterator[Said]:
    """Questions and answers of the desk by turns, said by one voice at changing speeds."""
    random = Random(f"{voice} {seed}")
    for number, question in enumerate(islice(questions(seed, split, "en"), clips)):
        text = question.answer if number % 2 else question.text
        engine = _engine(voice, random.randrange(130, 191))
        audio = np.concatenate(list(resampled(engine, text, HZ)))
        yield plain(text), voice, split, audio


def _engine(voice: str, words_per_minute: int) -> TTS:
    kind, _, name = voice.partition(":")
    return Flite(name) if kind == "flite" else Espeak(name, words_per_minute)


# ---------------------------------------------------------------- people


def _people(recordings: Path) -> dict[str, Callable[[], Iterator[Said]]]:
    manifest = recordings / "manifest.jsonl"
    if not manifest.exists():
        print(f"speech: no recordings of people ({manifest} is missing); made voices only")
        return {}
    rows = _rows(manifest)
    of = {name: [r for r in rows if r["dataset"] == name and _usable(r)] for name in _PEOPLE}
    makers: dict[str, Callable[[], Iterator[Said]]] = {}
    for name, chosen in of.items():
        makers[name] = partial(_digit_strings if name == "fsdd" else _recorded, recordings, chosen)
    return makers


def _rows(manifest: Path) -> list[dict[str, Any]]:
    """Of the people that are known here. Raises ValueError that names a line which cannot be used."""
    rows = []
    for number, line in enumerate(manifest.read_bytes().splitlines(), 1):
        try:
            if (row := json.loads(line)).get("dataset") in _PEOPLE:
                rows.append({name: row[name] for name in ("dataset", "path", "text", "speaker")})
        except (ValueError, KeyError, AttributeError) as error:
            fault = f"{manifest}:{number}: no recording with path, text and speaker ({error!r})"
            raise ValueError(f"{fault}; write the line again or remove it") from error
    return rows


def _usable(row: dict[str, Any]) -> bool:
    return bool(row["text"]) and not re.search(r"\d", row["text"])


def _recorded(recordings: Path, rows: list[dict[str, Any]]) -> Iterator[Said]:
    for number, row in enumerate(rows):
        split: Split = "test" if row["dataset"] == "barista" and number % 5 == 0 else "train"
        yield (
            plain(row["text"]),
            f"person:{row['speaker'] or row['dataset']}",
            split,
            read(recordings / row["path"], HZ),
        )


def _digit_strings(recordings: Path, rows: list[dict[str, Any]]) -> Iterator[Said]:
    """Single digits of one speaker, and strings of three to six of them with short gaps."""
    random = Random("digits")
    for speaker in sorted({row["speaker"] for row in rows}):
        split: Split = "test" if speaker in _TEST_PEOPLE else "train"
        mine = [row for row in rows if row["speaker"] == speaker]
        random.shuffle(mine)
        while mine:
            taken, mine = mine[: (length := random.choice((1, 3, 4, 5, 6)))], mine[length:]
            gaps = [np.zeros(round(random.uniform(0.03, 0.25) * HZ), np.float32) for _ in taken]
            sounds = [
                part for row, gap in zip(taken, gaps, strict=True) for part in (read(recordings / row["path"], HZ), gap)
            ]
            yield (
                " ".join(plain(row["text"]) for row in taken),
                f"person:{speaker}",
                split,
                np.concatenate(sounds),
            )
