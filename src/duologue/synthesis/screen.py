"""What is dropped: texts that cannot be spoken, sounds that are none, speech that a recogniser does not follow."""

from __future__ import annotations

import re
import unicodedata
from itertools import groupby

import jiwer
import numpy as np

from duologue.engines.asr import ASR
from duologue.session import HEARD_HZ, Audio
from duologue.synthesis.placing import Event
from duologue.synthesis.scene import Scene

MOST_WORDS = 200
CHARACTERS_PER_S = {"en": (0.5, 35.0), "zh": (0.5, 14.0)}
"""Of speech; what lies outside was not spoken whole, or not as words. Spelling is slow."""
QUIETEST = 0.003
"""Peak of a sound that somebody can hear."""
CLIPPED_SHARE = 0.001
MOST_ERRORS = 0.3
"""Of the words (Mandarin: characters) of a turn, by a recogniser."""

EDGE_SAMPLES = HEARD_HZ // 4
"""Of silence around a turn for the recogniser."""

_CHINESE = re.compile(r"[\u3400-\u9fff]")
_RARE = re.compile(r"[^\w\s.,:;!?'\"()%+\-，。：；！？、（）“”‘’《》·]")


def text_fault(text: str) -> str | None:
    """Why the text is dropped, or None: as OmniFlatten, section 3.1, drops them."""
    units = len(_CHINESE.findall(text)) or len(text.split())
    if not re.search(r"\w", text):
        return "there is nothing to say"
    if units > MOST_WORDS:
        return f"{units} words, more than {MOST_WORDS}"
    if rare := _RARE.search(text):
        return f"{rare.group()!r} cannot be said"
    return None


def sound_fault(sound: Audio) -> str | None:
    """Why the sound [N] or [N, 2] is dropped, or None."""
    if not sound.size or not np.isfinite(sound).all():
        return "no samples, or some that are no numbers"
    if (np.abs(sound).max(axis=0) < QUIETEST).any():
        return "a channel is silent"
    if (np.abs(sound) >= 0.999).mean() > CLIPPED_SHARE:
        return "clipped"
    return None


def pace_fault(scene: Scene) -> str | None:
    """Why the speech of the scene is too fast or too slow to be what it should be, or None."""
    for event in scene.events:
        least, most = CHARACTERS_PER_S["zh" if _CHINESE.search(event.text) else "en"]
        pace = len(re.sub(r"\W", "", event.text)) / max(1e-3, event.end_s - event.start_s)
        if not event.cut and not least <= pace <= most:
            return f"{event.text!r} at {pace:.1f} characters a second"
    return None


def words_fault(scene: Scene, sound: Audio, asr: ASR) -> str | None:
    """Why the recogniser does not follow a turn of the user's, or None. `sound` is [N, 2]."""
    for _, stretches in groupby(filter(_asks, sorted(scene.events, key=_turn)), key=_turn):
        turn = tuple(stretches)
        start, end = (round(at_s * HEARD_HZ) for at_s in (turn[0].start_s, turn[-1].end_s))
        said, heard = (
            " ".join(e.text for e in turn),
            asr.transcribe(np.pad(sound[start:end, 0], EDGE_SAMPLES)).text,
        )
        if (rate := error_rate(said, heard)) > MOST_ERRORS:
            return f"{said!r} was heard as {heard!r} ({rate:.0%} wrong)"
    return None


def _asks(event: Event) -> bool:
    return event.speaker == "user" and event.kind != "back_channel"


def _turn(event: Event) -> int:
    return -1 if event.turn is None else event.turn


def error_rate(said: str, heard: str) -> float:
    """Errors per word (Mandarin: per character), marks and case aside. Raises ValueError where nothing was said."""
    said, heard = plain(said), plain(heard)
    if _CHINESE.search(said):
        return float(jiwer.cer(said.replace(" ", ""), heard.replace(" ", "")))
    return float(jiwer.wer(said, heard))


def plain(text: str) -> str:
    """Lower case, words and apostrophes only."""
    return " ".join(re.sub(r"[^\w']", " ", unicodedata.normalize("NFKC", text).lower()).split())
