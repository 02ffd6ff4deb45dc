"""The recogniser that judges what a model says: the embedded one, told how the desk's answers go."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from itertools import islice

import numpy as np

from duologue.desk import questions
from duologue.desk.knowledge import facts, spellings
from duologue.desk.transcript import plain
from duologue.engines.asr import PocketSphinx
from duologue.engines.asr_grammar import counted
from duologue.session import HEARD_HZ, Audio

ANSWERS = 20_000
"""Answers of the training split that its bigram has seen. The wording of held-out ones is the same, what they say is
not; names and words that only tests ask for, it knows from what the desk knows, as a listener would."""
EARS_NAME = f"PocketSphinx, a bigram of {ANSWERS} answers and what the desk knows"
NAME, SOUND = "duologue", "duo log"
"""A word that the recogniser's dictionary lacks, and how it is said."""
QUIET = np.zeros(HEARD_HZ // 4, np.float32)


def answers_recogniser() -> Callable[[Audio], str]:
    """[N] at 16 kHz → the words, "" for none."""
    said = defaultdict[str, list[str]](list, facts=list(facts("en")), spelling=list(spellings("en").values()))
    for question in islice(questions(0, "train", "en"), ANSWERS):
        said[question.topic].append(question.answer)
    recogniser = PocketSphinx(counted([[_sounded(answer) for answer in topic] for topic in said.values()]))

    def heard(audio: Audio) -> str:
        if not audio.any():
            return ""
        return recogniser.transcribe(np.concatenate((QUIET, _inner(audio), QUIET))).text.replace(SOUND, NAME)

    return heard


def _sounded(answer: str) -> str:
    return plain(answer, "en").replace(NAME, SOUND)


def _inner(audio: Audio) -> Audio:
    """Without the silence at both ends."""
    sounds = np.flatnonzero(audio)
    return audio[sounds[0] : sounds[-1] + 1]
