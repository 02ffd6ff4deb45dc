"""Layouts of systems to come, each a few lines, and small ids for the tags of those that are there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from duologue.layout import Columns, Hear, Layout, Put, Say
from duologue.systems.fun_audio_chat import Marks, half_duplex, unit_ids
from duologue.systems.mini_omni import example_layout, released
from duologue.systems.omni_flatten import Tags
from duologue.systems.sync_llm import Alphabet, full_duplex

# ---------------------------------------------------------------- omni_flatten's tags

TAGS = Tags(asr=4, tts=5, sos=0, eos=1, sot=2, eot=3, silent_speech=6, silent_text=7)

# ---------------------------------------------------------------- sync_llm's alphabet

S0, S1 = 1000, 1001
ALPHABET = Alphabet(S0, S1, range(501))


def sync_llm() -> Layout:
    return full_duplex(ALPHABET)


# ---------------------------------------------------------------- mini_omni's released ids

MINI = replace(released(), delay="forced")


def mini_omni(heard: int = 3, typed: Sequence[int] = ()) -> Layout:
    return example_layout(MINI, "A1A2" if heard else "T1A2", heard, typed)


# ---------------------------------------------------------------- fun_audio_chat's ids

GROUP = 5
MARKS = Marks(heard=299, opens=300, closes=301, silent=302, answer=(7, 8), ends=(303, 9))
UNIT_IDS = unit_ids(6561)


def fun_audio_chat() -> Layout:
    return half_duplex(MARKS, UNIT_IDS, GROUP)


# ---------------------------------------------------------------- mooer, llama_omni: heard, then text


def heard_then_text(before: Iterable[int], heard: int, after: Iterable[int], end: int) -> Columns:
    for token in before:
        yield Put(token)
    for _ in range(heard):
        yield Hear("user")
    for token in after:
        yield Put(token)
    while (yield Say("text")) != end:
        pass


def mooer(heard: int = 4, end: int = 2) -> Layout:
    return Layout(lambda: heard_then_text((1, 11), heard, (12,), end), ("user", "text"))


def llama_omni(heard: int = 6, end: int = 128009) -> Layout:
    """Its speech comes from the states at the text, not from the sequence."""
    return Layout(lambda: heard_then_text((128000, 128000, 5), heard, (6, 7, 8), end), ("user", "text"))
