"""Layouts of the systems with streams that fit them, drawn at random."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

import layouts
from duologue.layout import Grid, Layout
from duologue.systems import fun_audio_chat, omni_flatten
from duologue.systems.mini_omni import AUDIO
from layouts import GROUP, MARKS, MINI, S0, S1, TAGS, UNIT_IDS

laws = settings(max_examples=60)

Woven = tuple[Layout, dict[str, list[int]]]
UNIT = st.integers(10, 99)
UNITS = st.lists(UNIT, max_size=9)


def ended(end: int, units: st.SearchStrategy[list[int]] = UNITS) -> st.SearchStrategy[list[int]]:
    return units.map(lambda tokens: [*tokens, end])


def joined(parts: Sequence[Sequence[int]]) -> list[int]:
    return [token for part in parts for token in part]


@st.composite
def alignments(draw: st.DrawFn) -> Woven:
    layout = omni_flatten.alignment(draw(st.sampled_from(["asr", "tts"])), TAGS)
    return layout, {"speech": draw(ended(TAGS.eos)), "text": draw(ended(TAGS.eot))}


@st.composite
def exchanges(draw: st.DrawFn) -> Woven:
    turns = draw(st.integers(0, 4))
    ends = {"user": TAGS.eos, "heard": TAGS.eot, "text": TAGS.eot, "speech": TAGS.eos}
    layout = omni_flatten.half_duplex(TAGS)
    return layout, {name: joined([draw(ended(end)) for _ in range(turns)]) for name, end in ends.items()}


@st.composite
def chunks(draw: st.DrawFn) -> Woven:
    config = omni_flatten.Config(draw(st.integers(1, 10)), draw(st.integers(0, 4)), draw(st.integers(0, 3)))
    n, layout = draw(st.integers(0, 12)), omni_flatten.full_duplex(config)
    every = {"heard": config.heard_chunk, "text": config.text_chunk}
    streams = {name: every.get(name, config.speech_chunk) for name in layout.streams}
    return layout, {name: [draw(UNIT) for _ in range(size * n)] for name, size in streams.items()}


@st.composite
def clocked(draw: st.DrawFn) -> Woven:
    chunks = draw(st.lists(st.tuples(UNITS, st.none() | st.lists(UNIT, min_size=1, max_size=6)), max_size=8))
    own = [[*mine, S0 if theirs is None else S1] for mine, theirs in chunks]
    return layouts.sync_llm(), {
        "own": joined(own),
        "user": joined([[*t, S0] for _, t in chunks if t is not None]),
    }


@st.composite
def books(draw: st.DrawFn) -> Woven:
    frames, heard = draw(st.integers(0, 9)), draw(st.integers(0, 5))
    streams = {name: [draw(UNIT) for _ in range(frames)] for name in AUDIO}
    streams[AUDIO[0]].append(MINI.marks.eoa)
    typed, text = () if heard else draw(UNITS), draw(ended(MINI.marks.eot))
    return layouts.mini_omni(heard, typed), {"user": [MINI.marks.pad_a] * heard, "text": text, **streams}


@st.composite
def groups(draw: st.DrawFn) -> Woven:
    """Turns that are answered in text alone, or in text that speaks for a while."""
    streams: dict[str, list[int]] = {"given": [], "text": [], "speech": []}
    for spoken in draw(st.lists(st.booleans(), max_size=3)):
        streams["given"] += [*draw(UNITS), *MARKS.answer]
        if spoken:
            units = [draw(UNIT) for _ in range(draw(st.integers(0, 14)))]
            speech = [*units, *[UNIT_IDS.eos] * (GROUP - len(units) % GROUP)]
            streams["speech"] += speech
            streams["text"] += [MARKS.opens, *(draw(UNIT) for _ in range(len(speech) // GROUP))]
        streams["text"] += [*draw(UNITS), *MARKS.ends]
    return layouts.fun_audio_chat(), streams


@st.composite
def group_duplex(draw: st.DrawFn) -> Woven:
    n = draw(st.integers(0, 9))
    streams = {"user": n, "text": n, "speech": GROUP * n}
    return fun_audio_chat.full_duplex(GROUP), {k: [draw(UNIT) for _ in range(size)] for k, size in streams.items()}


@st.composite
def heard_then_text(draw: st.DrawFn, layout: Callable[..., Layout]) -> Woven:
    heard = draw(UNITS)
    return layout(len(heard), end=2), {"user": heard, "text": draw(ended(2))}


WOVEN = {
    "omni_flatten, alignment": alignments(),
    "omni_flatten, four streams": exchanges(),
    "omni_flatten, two to four streams in chunks": chunks(),
    "sync_llm": clocked(),
    "mini_omni": books(),
    "fun_audio_chat": groups(),
    "fun_audio_chat, duplex": group_duplex(),
    "mooer": heard_then_text(layouts.mooer),
    "llama_omni": heard_then_text(layouts.llama_omni),
}


def same(a: Grid, b: Grid) -> bool:
    return all(np.array_equal(*pair) for pair in ((a.tokens, b.tokens), (a.said, b.said), (a.stream, b.stream)))
