"""Recordings of two people on two channels, brought into a manifest: Fisher, moshi-finetune's layout, Lhotse's cuts,
files without transcripts.

    write("talk/manifest.jsonl", fisher("fisher/audio", "fisher/trans"))
    rows = [encoded(clip, tokenizer) for clip in manifest.read("talk/manifest.jsonl")]

Whoever is to be learnt is the assistant, the other the user. The sound stays where it is; of a line `dialogue` says who
speaks when, `user_channel` on which channel the user is.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import soundfile

from duologue.data import encode
from duologue.data.encode import Encoded, Heard
from duologue.data.manifest import Clip
from duologue.dialogue import Dialogue, Speaker, Utterance
from duologue.sound.wav import read_channels
from duologue.units.codec import UnitEncoder
from duologue.whole import whole_file

SIDES = ("A", "B")
"""Names of the left and of the right channel in Fisher's transcripts."""
SPEAKER_MAIN = "SPEAKER_MAIN"
"""Whom the words of moshi-finetune's transcripts belong to: the assistant, on the left channel."""
BREATH_S = 0.5
"""Words of one speaker up to so far apart are one utterance."""
SOUNDS = (".wav", ".flac", ".sph")


@dataclass(frozen=True)
class Recording:
    """A file with two channels, the number of the user's, and who says what when."""

    path: Path
    user_channel: int
    dialogue: Dialogue


# ---------------------------------------------------------------- Fisher (LDC2004T19, LDC2005T19)

_FISHER = re.compile(r"(\d+\.?\d*)\s+(\d+\.?\d*)\s+([AB]):\s*(.*)")


def fisher(sounds: str | Path, transcripts: str | Path, assistant: Literal["A", "B"] = "B") -> Iterator[Recording]:
    """Stereo recordings and transcripts of the same names, in folders of any depth; lines are `0.45 2.03 A: hello`.
    Raises FileNotFoundError for a transcript without its recording, ValueError for a line that is none."""
    found = {path.stem: path for path in sorted(Path(sounds).rglob("*")) if path.suffix in SOUNDS}
    for path in _some(sorted(Path(transcripts).rglob("*.txt")), transcripts, "transcripts (.txt)"):
        if path.stem not in found:
            raise FileNotFoundError(f"{path} has no recording in {sounds}: bring {path.stem}.wav, .flac or .sph there")
        said = tuple(_fisher_line(path, number, line, assistant) for number, line in _lines(path))
        yield Recording(found[path.stem], 1 - SIDES.index(assistant), Dialogue(said))


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if line.strip() and not line.startswith("#"):
            yield number, line


def _fisher_line(path: Path, number: int, line: str, assistant: str) -> Utterance:
    match = _FISHER.fullmatch(line.strip())
    if match is None:
        raise ValueError(f"{path}:{number}: {line!r} is no line of a transcript: START END A: WORDS")
    start_s, end_s, side, text = match.groups()
    return Utterance(_speaker(side == assistant), float(start_s), float(end_s), text)


def _speaker(is_assistant: bool) -> Speaker:
    return "assistant" if is_assistant else "user"


def _some(paths: Sequence[Path], folder: str | Path, what: str) -> Sequence[Path]:
    if not paths:
        raise FileNotFoundError(f"{folder} holds no {what}")
    return paths


# ---------------------------------------------------------------- moshi-finetune


def moshi_finetune(lines: str | Path) -> Iterator[Recording]:
    """A file of lines {"path", "duration"}; beside each recording, whose left channel is the assistant, a transcript
    {"alignments": [[word, [start, end], speaker], ...]}. Raises FileNotFoundError, ValueError."""
    lines = Path(lines)
    for number, line in _lines(lines):
        try:
            path = lines.parent / json.loads(line)["path"]
            if not (words_file := path.with_suffix(".json")).is_file():
                raise FileNotFoundError(f"{path} has no transcript: bring {words_file} there, or do without (`stereo`)")
            words = json.loads(words_file.read_text())["alignments"]
            said = _utterances([(word, *times, speaker == SPEAKER_MAIN) for word, times, speaker in words])
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{lines}:{number}: no recording with aligned words ({error!r})") from error
        yield Recording(path, 1, said)


def _utterances(words: Iterable[tuple[str, float, float, bool]]) -> Dialogue:
    """Words with their times, and whether they are the assistant's, as utterances."""
    found: dict[Speaker, list[Utterance]] = {"user": [], "assistant": []}
    for text, start_s, end_s, is_assistant in sorted(words, key=lambda word: word[1]):
        own = found[_speaker(is_assistant)]
        if own and start_s - own[-1].end_s <= BREATH_S:
            last = own.pop()
            own.append(Utterance(last.speaker, last.start_s, max(last.end_s, end_s), f"{last.text} {text.strip()}"))
        else:
            own.append(Utterance(_speaker(is_assistant), start_s, end_s, text.strip()))
    return Dialogue((*found["user"], *found["assistant"]))


# ---------------------------------------------------------------- Lhotse


def lhotse_cuts(cuts: str | Path, assistant_channel: int = 1) -> Iterator[Recording]:
    """Cuts of whole two-channel recordings that lie in one file each. Raises ImportError without lhotse, ValueError for
    cuts of another shape."""
    try:
        lhotse: Any = import_module("lhotse")
    except ImportError as error:
        raise ImportError("cuts are read by lhotse, which is not installed: pip install duologue[corpora]") from error
    for cut in lhotse.CutSet.from_file(cuts):
        recording = cut.recording
        if (
            recording.num_channels != 2
            or len(recording.sources) != 1
            or cut.start
            or cut.duration != recording.duration
        ):
            raise ValueError(f"the cut {cut.id} of {cuts} is no whole recording of two channels in one file")
        said = (
            Utterance(_speaker(_channel(one) == assistant_channel), one.start, one.end, one.text or "")
            for one in cut.supervisions
        )
        yield Recording(Path(recording.sources[0].source), 1 - assistant_channel, Dialogue(tuple(said)))


def _channel(supervision: Any) -> int:
    channel = supervision.channel
    return int(channel if isinstance(channel, int) else channel[0])


# ---------------------------------------------------------------- without transcripts


def stereo(folder: str | Path, assistant_channel: int = 1) -> Iterator[Recording]:
    """All stereo recordings of a folder of any depth. Nobody knows what is said in them, nor when. Raises
    FileNotFoundError where there are none, ValueError for a channel that is none."""
    if assistant_channel not in (0, 1):
        raise ValueError(f"channel {assistant_channel} of the assistant: 0 is left, 1 right")
    sounds = sorted(path for path in Path(folder).rglob("*") if path.suffix in SOUNDS)
    for path in _some(sounds, folder, f"recordings ({', '.join(SOUNDS)})"):
        yield Recording(path, 1 - assistant_channel, Dialogue(()))


# ---------------------------------------------------------------- the manifest


def write(manifest: str | Path, recordings: Iterable[Recording]) -> int:
    """A manifest of the recordings, whole or not at all; how many they are. Raises ValueError for a recording that has
    not two channels, or cannot be read."""
    manifest = Path(manifest)
    manifest.parent.mkdir(parents=True, exist_ok=True)
    rows = [_row(one, manifest.parent) for one in recordings]
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    whole_file(manifest, lambda file: file.write(text.encode()))
    return len(rows)


def _row(recording: Recording, folder: Path) -> dict[str, Any]:
    try:
        found = soundfile.info(recording.path)
    except soundfile.LibsndfileError as error:
        raise ValueError(f"{recording.path}: not a sound file that can be read; convert it to .wav or .flac") from error
    if found.channels != 2:
        raise ValueError(f"{recording.path}: has {found.channels} channels; one for each of two speakers is needed")
    return {
        "path": os.path.relpath(recording.path, folder),
        "kind": "conversation",
        "sample_rate": found.samplerate,
        "duration": round(found.duration, 3),
        "user_channel": recording.user_channel,
        "dialogue": recording.dialogue.to_json(),
    }


def encoded(clip: Clip, encoder: UnitEncoder) -> Encoded:
    """A line of such a manifest in units. Who goes on after the other was silent goes on with a turn; what is said by
    the other in between begins a new one. Where there is no transcript both channels are one stretch, and no turns.
    Raises ValueError for a line that says no channel of the user's or whose file has not two."""
    if (user := clip.rest.get("user_channel")) not in (0, 1):
        raise ValueError(f'{clip.path}: its line has the "user_channel" {user!r}: give 0 (left) or 1 (right)')
    sound = read_channels(clip.path, encoder.heard_hz)
    if sound.shape[1] != 2:
        raise ValueError(f"{clip.path}: has {sound.shape[1]} channels; one for each of two speakers is needed")
    duration_s = len(sound) / encoder.heard_hz
    said = [_within(one, duration_s) for one in Dialogue.from_json(clip.rest.get("dialogue", []))]
    turns = np.cumsum([0, *(a.speaker != b.speaker for a, b in pairwise(said))]).tolist()
    heard = [Heard(u.speaker, u.start_s, u.end_s, u.text, turn) for u, turn in zip(said, turns, strict=False)]
    heard = heard or [Heard(speaker, 0.0, duration_s, "") for speaker in get_args(Speaker)]
    return encode.encode(str(clip.path), sound[:, [user, 1 - user]], heard, encoder)


def _within(said: Utterance, duration_s: float) -> Utterance:
    """Transcripts may run on a little behind the sound."""
    start_s, end_s = min(said.start_s, duration_s), min(said.end_s, duration_s)
    return Utterance(said.speaker, start_s, end_s, said.text)
