"""Samples of the public Full-Duplex-Bench (arXiv 2503.04721, v1.5: 2507.23159) as they lie in the folders given out:

    candor_pause_handling/12/input.wav       what the system hears
    candor_pause_handling/12/pause.json      [{"timestamp": [start, end]}, ...]: the user's pauses
    .../turn_taking.json                     [{"timestamp": [end of the user's turn, ...]}]
    .../interrupt.json                       [{"timestamp": [start, end]}]: what the user says over the assistant
    .../metadata.json                        of v1.5: {"timestamps": [start, end]} of what comes in; clean_input.wav
    .../transcription.json                   {"chunks": [{"text", "timestamp": [start, end]}, ...]}, the user's words
    icc_gt_distribution.json                 of back-channels: {sample: [how often people did, by 200 ms]}

What is assumed: times are seconds; back-channel samples, which have no annotation, lie in a folder with "backchannel"
in its name, and their reference in one of the folders above; the task of v1.5 is told by the folder's name; after
pauses the turn ends with the last word of the transcription, without one with the last speech. Pauses of Candor and
synthetic ones are one task here: give the folder of one of them to measure it alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import soundfile

from duologue.evaluate.full_duplex_bench import words_of
from duologue.evaluate.full_duplex_cases import GOES_ON, Case, Task
from duologue.evaluate.timing import of_sound
from duologue.session import HEARD_HZ
from duologue.sound import wav
from duologue.sound.vad import Vad
from duologue.synthesis.scene import Scene

REFERENCE = "icc_gt_distribution.json"
OVERLAPS: Mapping[str, Task] = {
    "interruption": "interruption",
    "backchannel": "user_backchannel",
    "talking_to_other": "talking_to_others",
    "background": "background_speech",
}
"""Tasks of version 1.5, by a part of their folder's name."""
Stretch = tuple[float, float]


@dataclass(frozen=True)
class Sample(Case):
    """A recorded case: where it lies in the folder, and when somebody speaks on the user's channel, in seconds."""

    path: str = ""
    speech: tuple[Stretch, ...] = ()

    @property
    def name(self) -> str:
        return self.path

    @property
    def user(self) -> tuple[Stretch, ...]:
        return self.speech


def samples(folder: str | Path, vad: Vad | None = None) -> list[Sample]:
    """All of a folder. Raises FileNotFoundError where there is none, ValueError for one whose annotation is missing or
    cannot be read."""
    folder = Path(folder)
    places = sorted(path.parent for path in folder.rglob("input.wav"))
    if not places:
        raise FileNotFoundError(f"{folder} holds no samples of Full-Duplex-Bench: no input.wav lies in a folder of it")
    return [_sample(place, folder, number, vad) for number, place in enumerate(places)]


def _sample(place: Path, folder: Path, number: int, vad: Vad | None) -> Sample:
    try:
        task, event, pauses, reference = _annotated(place, folder)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise ValueError(f"{place} is no sample of Full-Duplex-Bench that can be read: {error!r}") from error
    if task in GOES_ON and not (place / "clean_input.wav").exists():
        raise ValueError(f"{place} has no clean_input.wav, what is heard when nobody comes in: put it there")
    known = soundfile.info(place / "input.wav")
    sound = wav.read(place / "input.wav", HEARD_HZ)
    speech = tuple((span.start_ms / 1000, span.end_ms / 1000) for span in of_sound(sound, vad))
    scene = Scene(known.duration, {}, (), 0.0)
    path = str(place.relative_to(folder))
    if task == "pause":
        event = (0.0, _last_word_s(place) or (speech[-1][1] if speech else known.duration))
    return Sample(task, number, scene, event, pauses, reference, path, speech)


def _annotated(place: Path, folder: Path) -> tuple[Task, Stretch, tuple[Stretch, ...], tuple[float, ...]]:
    """Task, event, pauses and reference, each where there is one."""
    if (place / "pause.json").exists():
        pauses = tuple(_stretch(each["timestamp"]) for each in _read(place / "pause.json"))
        if not pauses:
            raise ValueError("pause.json holds no pause")
        return "pause", (0.0, 0.0), pauses, ()
    if (place / "turn_taking.json").exists():
        return "turn", (0.0, _seconds(_read(place / "turn_taking.json")[0]["timestamp"][0])), (), ()
    if (place / "interrupt.json").exists():
        return "interruption", _stretch(_read(place / "interrupt.json")[0]["timestamp"]), (), ()
    told = place.parent.name.lower()
    if (place / "metadata.json").exists():
        task = next((task for part, task in OVERLAPS.items() if part in told), None)
        if task is None:
            raise ValueError(
                f"no task is told by the name of {place.parent.name}: name one of {', '.join(OVERLAPS)} in it"
            )
        return task, _stretch(_read(place / "metadata.json")["timestamps"]), (), ()
    if "backchannel" in told:
        return "backchannel", (0.0, 0.0), (), _reference(place, folder)
    raise ValueError("pause.json, turn_taking.json, interrupt.json or metadata.json is missing")


def _reference(place: Path, folder: Path) -> tuple[float, ...]:
    """Of people, for this sample."""
    around = (place.parent, *place.parent.parents)
    path = next((above / REFERENCE for above in around if (above / REFERENCE).exists()), folder / REFERENCE)
    if not path.exists():
        raise ValueError(f"back-channels are compared with {REFERENCE}: put the benchmark's into {folder}")
    return tuple(map(_seconds, _read(path)[place.name]))


def _last_word_s(place: Path) -> float | None:
    path = place / "transcription.json"
    words = words_of(_read(path)) if path.exists() else ()
    return max((end for word in words if (end := word.start_s if word.end_s is None else word.end_s)), default=None)


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _stretch(times: Sequence[Any]) -> Stretch:
    start_s, end_s = map(_seconds, times)
    if end_s < start_s:
        raise ValueError(f"a stretch ends at {end_s} s, before it starts, at {start_s} s")
    return start_s, end_s


def _seconds(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{value!r} is no number")
    return float(value)
