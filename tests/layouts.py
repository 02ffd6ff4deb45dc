"""Layouts of systems to come, each a few lines, and small ids for the tags of those that are there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import count

from duologue.layout import Cell, Columns, Hear, Layout, Put, Say
from duologue.systems.omni_flatten import Tags

# ---------------------------------------------------------------- omni_flatten's tags

TAGS = Tags(asr=4, tts=5, sos=0, eos=1, sot=2, eot=3, silent_speech=6, silent_text=7)

# ---------------------------------------------------------------- sync_llm: one lane, clocked chunks

S0, S1 = 1000, 1001


def clocked_chunks() -> Columns:
    """The tag that ends a part belongs to that part: it says who comes next."""
    yield Put(S0)
    while True:
        while (token := (yield Say("own"))) not in (S0, S1):
            pass
        if token == S1:
            while (yield Say("user")) != S0:
                pass


def sync_llm() -> Layout:
    return Layout(clocked_chunks, ("own", "user"))


def sentences(speakers: Sequence[int]) -> Columns:
    """Stage 1: a tag puts the speaker of each turn; what is said ends the turn with the tag of the next."""
    yield Put(speakers[0])
    for speaker, following in zip(speakers, [*speakers[1:], None], strict=True):
        while (yield Say("own" if speaker == S0 else "user")) != following:
            pass


def sync_llm_turns(speakers: Sequence[int]) -> Layout:
    return Layout(lambda: sentences(speakers), ("own", "user"))


# ---------------------------------------------------------------- mini_omni: seven books and text in lanes

BOOKS = 7
EOA, PAD_A, INPUT_A, ANSWER_A = range(4096, 4100)
T_EOT, PAD_T, INPUT_T, ANSWER_T, ASR_T = range(151936, 151941)


def same_in_all_books(audio: Cell, text: Cell) -> tuple[Cell, ...]:
    return (*[audio] * BOOKS, text)


def mini_omni_prompt(heard: int, typed: Sequence[int], audio_end: int, text_end: int) -> Columns:
    """`heard` feature frames, or typed text; the last column asks for the task."""
    yield same_in_all_books(Put(INPUT_A if heard else PAD_A), Put(INPUT_T))
    for _ in range(heard):
        yield (Hear("user"), *[Put(PAD_A)] * (BOOKS - 1), Put(PAD_T))
    for token in typed:
        yield same_in_all_books(Put(PAD_A), Put(token))
    yield same_in_all_books(Put(EOA if heard else PAD_A), Put(T_EOT))
    yield same_in_all_books(Put(audio_end), Put(text_end))


def mini_omni_answer() -> Columns:
    """Text at once, each book one column later than the one before; a lane that has ended is padded."""
    silent = (*[PAD_A] * BOOKS, PAD_T)
    ends = (*[EOA] * BOOKS, T_EOT)
    names = (*(f"audio{book}" for book in range(BOOKS)), "text")
    going = [True] * len(names)
    for column in count():
        starts = (*range(1, BOOKS + 1), 0)
        cells = [
            Say(n) if g and column >= s else Put(p) for n, g, s, p in zip(names, going, starts, silent, strict=True)
        ]
        placed = yield tuple(cells)
        going = [g and token != end for g, token, end in zip(going, placed, ends, strict=True)]
        if not any(going):
            return


def mini_omni(heard: int = 3, typed: Sequence[int] = ()) -> Layout:
    def columns() -> Columns:
        yield from mini_omni_prompt(heard, typed, ANSWER_A, ANSWER_T)
        yield from mini_omni_answer()

    return Layout(columns, ("user", *(f"audio{book}" for book in range(BOOKS)), "text"), lanes=BOOKS + 1)


# ---------------------------------------------------------------- fun_audio_chat: text beside groups of five units

GROUP = 5
AUDIO_BOS, AUDIO_EOS, IM_END = 300, 301, 302
UNIT_BOS, UNIT_EOS, UNIT_PAD = 6561, 6562, 6563


def beside_units(text: Cell, unit: Cell) -> tuple[Cell, ...]:
    return (text, *[unit] * GROUP)


def grouped_answer(prompt: Sequence[int], heard: int, lead: int = 2) -> Columns:
    """Text leads speech by `lead` groups; a group with an end in it ends the speech, and text goes on alone."""
    for token in prompt:
        yield beside_units(Put(token), Put(UNIT_PAD))
    for _ in range(heard):
        yield beside_units(Hear("user"), Put(UNIT_PAD))
    yield beside_units(Put(AUDIO_BOS), Put(UNIT_PAD))
    for _ in range(lead):
        yield beside_units(Say("text"), Put(UNIT_BOS))
    while UNIT_EOS not in (yield beside_units(Say("text"), Say("speech"))):
        pass
    while (yield beside_units(Say("text"), Put(UNIT_PAD)))[0] != IM_END:
        pass


def fun_audio_chat(prompt: Sequence[int] = (7, 8), heard: int = 4) -> Layout:
    return Layout(lambda: grouped_answer(prompt, heard), ("user", "text", "speech"), lanes=1 + GROUP)


def fun_audio_chat_duplex() -> Layout:
    def columns() -> Columns:
        while True:
            yield (Say("text"), *[Say("speech")] * GROUP, Hear("user"))

    return Layout(columns, ("text", "speech", "user"), lanes=2 + GROUP, fixed=True)


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
