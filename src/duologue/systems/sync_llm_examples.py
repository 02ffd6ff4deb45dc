"""What SyncLLM's stages learn from: encoded conversations, woven by its layouts (section 4 of the paper)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import groupby, repeat

import numpy as np

from duologue.data.encode import Encoded, Stretch, spoken_words
from duologue.data.tensors import Example, woven_example
from duologue.dialogue import Speaker
from duologue.model.words import CALL
from duologue.systems.sync_llm import PARTS_OF_TURN_BASED, STREAMS, SyncLLM, full_duplex, turn_based
from duologue.systems.sync_llm_format import encode, streams

SPEECH_SHARE = (0.3, 0.9)
"""Mean share of the sentences that are speech, at the beginning of stage 1 and at its end."""
SPREAD_OF_SHARE = 0.2
SIDES: Mapping[Speaker, Speaker] = {"user": "assistant", "assistant": "user"}
"""The other one of each."""
Turn = tuple[int, list[Stretch]]
"""Who speaks (0 or 1), and the sentences."""


# ---------------------------------------------------------------- before stage 1, for small models: speech and text


def listening_examples(model: SyncLLM, rows: Sequence[Encoded]) -> Iterator[Example]:
    """Turns in speech and in text at once: each of the user's words is written behind its sound, each sentence of the
    assistant's before its own. Beyond the paper: what a large model finds out by itself from millions of sentences a
    small one is told. Who is not answered is only listened to."""
    for row in rows:
        alone = [(1, [stretch]) for stretch in row.stretches if stretch.speaker == "user" and stretch.units]
        if turns := turns_of(row) or alone:
            yield _turns(model, turns, [_told(model, speaker, said) for speaker, said in turns])


def _told(model: SyncLLM, speaker: int, said: Sequence[Stretch]) -> list[int]:
    if STREAMS[speaker] == "user":
        return [token for stretch in said for token in _word_by_word(model, stretch)]
    return [token for stretch in said for token in (*_in_text(model, stretch), *_spoken(model, stretch))]


def _word_by_word(model: SyncLLM, stretch: Stretch) -> Iterator[int]:
    """The new units up to the end of each word, and the word; then the units after the last one."""
    texts, ends = (
        [*spoken_words(stretch.text)[: len(stretch.ends)], ""],
        [*stretch.ends, stretch.start + len(stretch.units)],
    )
    held, heard = None, 0
    for text, end in zip(texts, ends, strict=True):
        for unit in stretch.units[heard : end - stretch.start]:
            if unit != held:
                yield model.alphabet.units[unit]
            held = unit
        heard = end - stretch.start
        yield from model.text_ids(text)


# ---------------------------------------------------------------- stage 1: sentences, in text or in speech


def turn_based_examples(
    model: SyncLLM, rows: Sequence[Encoded], progress: tuple[float, float] = (0.0, 1.0), seed: int = 0
) -> Iterator[Example]:
    """Conversations turn by turn, each sentence in text or in units. How many of a conversation's sentences are speech
    is drawn anew for each: from the share that belongs to a moment of the stage between the two of `progress`.

    A sentence is a stretch of speech. Back-channels are no turns; a conversation ends before an answer that was cut.
    """
    draw = np.random.default_rng(seed)
    for row in rows:
        share = speech_share(draw.uniform(*progress), draw)
        if turns := turns_of(row):
            yield _sentences(model, turns, share, draw)


def speech_share(progress: float, draw: np.random.Generator) -> float:
    """Drawn from a normal distribution that is cut to [0, 1], whose mean rises along the stage."""
    first, last = SPEECH_SHARE
    mean = first + (last - first) * progress
    while not 0 <= (share := float(draw.normal(mean, SPREAD_OF_SHARE))) <= 1:
        pass
    return share


def turns_of(row: Encoded) -> list[Turn]:
    """The turns of a conversation in order, of which the sound is whole."""
    in_turns = sorted((s for s in row.stretches if s.turn is not None), key=lambda s: (s.turn, s.start))
    turns: list[Turn] = []
    for speaker, stretches in groupby(
        in_turns, key=lambda s: STREAMS.index("own" if s.speaker == "assistant" else "user")
    ):
        said = list(stretches)
        if any(stretch.cut or not stretch.units for stretch in said):
            break
        turns.append((speaker, said))
    return turns


def excerpts(row: Encoded, most_units: int) -> Iterator[Encoded]:
    """A long conversation in pieces of whole turns, each of so many units or of one turn. What is in no turn, or has no
    sound, is left out, and the user's channel with it: for stages that learn from turns."""
    in_turns = sorted((s for s in row.stretches if s.turn is not None and s.units), key=lambda s: (s.turn, s.start))
    piece: list[Stretch] = []
    for _, turn in groupby(in_turns, key=lambda s: s.turn):
        said = list(turn)
        if piece and sum(len(stretch.units) for stretch in (*piece, *said)) > most_units:
            yield Encoded(row.name, (), tuple(piece))
            piece = []
        piece += said
    if piece:
        yield Encoded(row.name, (), tuple(piece))


def _sentences(model: SyncLLM, turns: Sequence[Turn], share: float, draw: np.random.Generator) -> Example:
    def sentence(stretch: Stretch) -> list[int]:
        return _spoken(model, stretch) if draw.random() < share else _in_text(model, stretch)

    return _turns(model, turns, [[token for stretch in said for token in sentence(stretch)] for _, said in turns])


def _turns(model: SyncLLM, turns: Sequence[Turn], tokens: Sequence[Sequence[int]]) -> Example:
    """What is said in each of the turns, by `turn_based`."""
    alphabet, woven = model.alphabet, dict[str, list[int]](own=[], user=[])
    speakers = [speaker for speaker, _ in turns]
    for speaker, said, following in zip(speakers, tokens, [*speakers[1:], None], strict=True):
        end = [] if following is None else [(alphabet.s0, alphabet.s1)[following]]
        woven[STREAMS[speaker]] += [*said, *end]
    return woven_example(turn_based(alphabet, speakers), woven, STREAMS)


def _in_text(model: SyncLLM, sentence: Stretch) -> list[int]:
    """What is said of it: no call."""
    return model.text_ids(sentence.text.partition(CALL)[0])


def _spoken(model: SyncLLM, sentence: Stretch) -> list[int]:
    return [model.alphabet.units[code] for code in sentence_units(sentence.units)]


def sentence_units(raw: Sequence[int]) -> list[int]:
    """The units of a spoken sentence, repeats removed in it alone: neighbours keep the units at their edges."""
    return [unit for unit, _ in groupby(raw)]


# ---------------------------------------------------------------- stage 2: full duplex without overlap


def no_overlap_examples(
    model: SyncLLM, rows: Sequence[Encoded], silence: int, gaps_units: Iterable[int] = repeat(0)
) -> Iterator[Example]:
    """The same turns by chunk, laid end to end, with a gap before each but the first: who does not speak is silent.
    `silence` is the code of silence."""
    gaps = iter(gaps_units)
    for row in rows:
        if turns := turns_of(row):
            yield _chunks(model, *end_to_end(turns, silence, gaps))


def end_to_end(turns: Sequence[Turn], silence: int, gaps: Iterator[int]) -> tuple[list[int], list[int]]:
    """Codes of the two channels, [T] each."""
    raw: tuple[list[int], list[int]] = ([], [])
    for number, (speaker, said) in enumerate(turns):
        gap = [silence] * (next(gaps) if number else 0)
        units = [*gap, *(unit for stretch in said for unit in stretch.units)]
        raw[speaker].extend(units)
        raw[1 - speaker].extend([silence] * len(units))
    return raw


# ---------------------------------------------------------------- stage 3: two channels as they were recorded


def two_channel_examples(
    model: SyncLLM, rows: Sequence[Encoded], silence: int, window_chunks: int | None = None
) -> Iterator[Example]:
    """Conversations by chunk, everything in its place; the user's channel as it was heard, noise included. In windows
    of so many chunks where they are given: long recordings have to be cut."""
    for row in rows:
        own, user = channels(row, silence)
        size = len(own) if window_chunks is None else window_chunks * model.config.slots
        for start in range(0, len(own), size):
            yield _chunks(model, own[start : start + size], user[start : start + size])


def channels(row: Encoded, silence: int) -> tuple[list[int], list[int]]:
    """Codes of the assistant's and of the user's channel, [T] each; the one that is shorter ends with silence."""
    said = [stretch for stretch in row.stretches if stretch.speaker == "assistant"]
    length = max([len(row.user), *(stretch.start + len(stretch.units) for stretch in said)])
    own = [silence] * length
    for stretch in said:
        own[stretch.start : stretch.start + len(stretch.units)] = stretch.units
    return own, [*row.user, *[silence] * (length - len(row.user))]


def swapped(row: Encoded, silence: int) -> Encoded:
    """The same with the sides exchanged: the model asks, in the user's voice without its noise, and is answered."""
    own, _ = channels(row, silence)
    theirs = tuple(replace(stretch, speaker=SIDES[stretch.speaker]) for stretch in row.stretches)
    return Encoded(row.name, tuple(own), theirs)


def _chunks(model: SyncLLM, own: Sequence[int], user: Sequence[int]) -> Example:
    chunks = encode(own, user, model.config)
    return woven_example(full_duplex(model.alphabet), streams(chunks, model.alphabet), STREAMS)


# ---------------------------------------------------------------- by stage

Examples = Callable[[SyncLLM, Sequence[Encoded], int], Iterator[Example]]


def _part_of_turn_based(part: int, model: SyncLLM, rows: Sequence[Encoded], silence: int) -> Iterator[Example]:
    progress = part / PARTS_OF_TURN_BASED, (part + 1) / PARTS_OF_TURN_BASED
    return turn_based_examples(model, rows, progress, seed=part)


EXAMPLES: Mapping[str, Examples] = {
    **{f"turn_based_{part + 1}": partial(_part_of_turn_based, part) for part in range(PARTS_OF_TURN_BASED)},
    "no_overlap": no_overlap_examples,
    "two_channels": two_channel_examples,
}
"""Of each stage: of a model, conversations, and the code of silence."""
