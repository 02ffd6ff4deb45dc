"""What OmniFlatten's stages learn from: encoded conversations, woven by its layouts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate, islice
from math import ceil
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from duologue.data.encode import Encoded, Stretch, spoken_words
from duologue.data.tensors import Example, woven_example
from duologue.data.timed import TimedTurn, written
from duologue.layout import Tokens
from duologue.model.words import CALL
from duologue.systems.omni_flatten import (
    STREAMS,
    OmniFlatten,
    alignment,
    full_duplex,
    half_duplex,
    half_duplex_by_ear,
    hearing,
    streams,
)

HEARD_LATER = 3
"""Units after its end that a word of the user's is written: by then it can be told from a longer one."""
BEFORE = 5
"""Units that are heard before an utterance that is listened to alone."""
WORD_UNITS, GAP_UNITS = (4, 11), (4, 12)
"""How long a word lasts, and how long nobody speaks between turns, at least and at most, where there is no sound."""
LEFT_OUT, TOGETHER = (0.3, 1.0), 5
"""Share of the sound that is left out where some of it is, at least and at most; cells that are left out together."""


# ---------------------------------------------------------------- alignment (section 2.1)


def alignment_examples(model: OmniFlatten, rows: Sequence[Encoded]) -> Iterator[Example]:
    """The user's utterances to be recognised, the assistant's to be spoken. A model that writes what it hears does so
    word by word: for a small one that is learnt many times faster than a whole sentence after all of its sound."""
    recognition = _by_ear if model.config.heard_chunk else _by_the_whole
    for row in rows:
        yield from recognition(model, row)
        for stretch in row.stretches:
            if stretch.speaker == "assistant" and stretch.units and not stretch.cut:
                yield _sample(model, "tts", stretch)


def _by_the_whole(model: OmniFlatten, row: Encoded) -> Iterator[Example]:
    for stretch in row.stretches:
        if stretch.speaker == "user" and stretch.units:
            yield _sample(model, "asr", stretch)


def _by_ear(model: OmniFlatten, row: Encoded) -> Iterator[Example]:
    for utterance in utterances(row):
        if (heard := listened(model, row, utterance)) is not None:
            yield woven_example(hearing(model.config), heard, STREAMS)


def _sample(model: OmniFlatten, task: Any, stretch: Stretch) -> Example:
    said, _, _ = stretch.text.partition(CALL)
    speech, text = [*model.unit_ids(stretch.units), model.tags.eos], [*model.text_ids(said), model.tags.eot]
    return woven_example(alignment(task, model.tags), {"speech": speech, "text": text}, STREAMS)


def utterances(row: Encoded) -> list[list[Stretch]]:
    """What the user says: the stretches of each turn, and each that belongs to none alone."""
    found: dict[tuple[str, int], list[Stretch]] = {}
    for stretch in sorted(row.stretches, key=lambda s: s.start):
        if stretch.speaker == "user" and stretch.units:
            of = ("alone", stretch.start) if stretch.turn is None else ("turn", stretch.turn)
            found.setdefault(of, []).append(stretch)
    return list(found.values())


def listened(model: OmniFlatten, row: Encoded, utterance: Sequence[Stretch]) -> dict[str, Tokens] | None:
    """What is heard of an utterance, by chunk, with its words. None for one whose words do not fit beside its sound:
    those that the tokenizer has to spell."""
    config, start = model.config, max(0, utterance[0].start - BEFORE)
    end = utterance[-1].start + len(utterance[-1].units)
    chunks = ceil((end + HEARD_LATER + 1 - start) / config.speech_chunk)
    words = [TimedTurn(word.start - start, (), word.text) for stretch in utterance for word in _words(model, stretch)]
    heard = written(words, chunks, config.speech_chunk, config.heard_chunk, model.tags.silent_text)
    if len(heard) > (chunks + 1) * config.heard_chunk:
        return None
    units = len(heard) // config.heard_chunk * config.speech_chunk
    return {"user": _going_on(model, row.user[start : start + units], units), "heard": heard}


def _going_on(model: OmniFlatten, units: Sequence[int], length: int) -> Tokens:
    """The ids of the user's units; where they end, the sound goes on as it ended."""
    ids = np.array(model.unit_ids(units))
    return np.concatenate((ids, np.resize(ids[-model.config.speech_chunk :], max(0, length - len(ids)))))[:length]


# ---------------------------------------------------------------- half duplex (section 2.2)


def half_duplex_examples(model: OmniFlatten, rows: Sequence[Encoded]) -> Iterator[Example]:
    """Whole exchanges, up to an answer of which the sound is cut or missing: that one in text alone."""
    tags, by_ear = model.tags, bool(model.config.heard_chunk)
    layout = half_duplex_by_ear(model.config, tags) if by_ear else half_duplex(tags)
    for row in rows:
        woven: dict[str, list[int]] = {name: [] for name in STREAMS}
        for asked, answer in exchanges(row):
            heard = listened(model, row, asked) if by_ear else _whole(model, row, asked)
            if heard is None:
                break
            woven["user"] += [*heard["user"].tolist(), tags.eos]
            woven["heard"] += heard["heard"].tolist()
            woven["text"] += [*model.text_ids(answer.text), tags.eot]
            if answer.cut or not answer.units:
                break
            woven["speech"] += [*model.unit_ids(answer.units), tags.eos]
        if woven["text"]:
            yield woven_example(layout, woven, STREAMS)


def exchanges(row: Encoded) -> Iterator[tuple[list[Stretch], Stretch]]:
    """The stretches of each of the user's turns, and the answer to it. Back-channels are no turns."""
    asked: list[Stretch] = []
    for stretch in sorted((s for s in row.stretches if s.turn is not None), key=lambda s: (s.turn, s.start)):
        if stretch.speaker == "user":
            asked.append(stretch)
        elif asked:
            yield asked, stretch
            asked = []


def _whole(model: OmniFlatten, row: Encoded, asked: Sequence[Stretch]) -> dict[str, Tokens]:
    units = row.user[asked[0].start : asked[-1].start + len(asked[-1].units)]
    text = model.text_ids(" ".join(stretch.text for stretch in asked))
    return {"user": np.array(model.unit_ids(units)), "heard": np.array([*text, model.tags.eot])}


# ---------------------------------------------------------------- full duplex (sections 2.3 and 2.4)


def full_duplex_examples(model: OmniFlatten, rows: Sequence[Encoded]) -> Iterator[Example]:
    """Conversations by chunk, with what is really heard while the user is silent."""
    for row in rows:
        yield woven_example(full_duplex(model.config), timed(model, row), STREAMS)


def two_streams_examples(model: OmniFlatten, rows: Sequence[Encoded]) -> Iterator[Example]:
    """Conversations by chunk, their sound alone."""
    return full_duplex_examples(model.without_text(), rows)


def timed(model: OmniFlatten, row: Encoded) -> dict[str, Tokens]:
    """The streams of a conversation by chunk: whole chunks of the user's sound, as many more as the assistant needs.
    There the user's sound goes on as it ended."""
    config, said = model.config, [stretch for stretch in row.stretches if stretch.speaker == "assistant"]
    whole = len(row.user) // config.speech_chunk * config.speech_chunk
    assistant = [_turn(model, stretch) for stretch in said]
    length = max([whole, *(turn.start + len(turn.spoken) for turn in assistant)])
    heard = [word for stretch in row.stretches for word in _words(model, stretch)]
    woven = streams(config, model.tags, [], assistant, length, sorted(heard, key=lambda word: word.start))
    return {**woven, "user": _going_on(model, row.user, len(woven["user"]))}


def _turn(model: OmniFlatten, stretch: Stretch) -> TimedTurn:
    speech, text = model.unit_ids(stretch.units), model.text_ids(stretch.text)
    return TimedTurn(stretch.start, tuple(speech), tuple(text), len(speech) if stretch.cut else None)


def _words(model: OmniFlatten, stretch: Stretch) -> Iterator[TimedTurn]:
    for word, end in zip(spoken_words(stretch.text), stretch.ends, strict=False):
        yield TimedTurn(end + HEARD_LATER, (), tuple(model.text_ids(word)))


# ---------------------------------------------------------------- full duplex without the sound, or without most of it


def without_sound(model: OmniFlatten, turns: Sequence[str], seed: int) -> Example:
    """A conversation that was only written, user and assistant by turns, as it would lie in a call of which the sound
    is left out: by chunk, what is heard and what is written, each `steps` [S] behind the one before. What was written
    is answered over the distances of speech, for a fifth of the tokens. Only the words of answers are learnt: when to
    begin is told by the sound."""
    random, at, heard, answers = Random(seed), 0, list[TimedTurn](), list[TimedTurn]()
    for number, text in enumerate(turns):
        lasting = [random.randint(*WORD_UNITS) for _ in spoken_words(text)]
        at += random.randint(*GAP_UNITS)
        if number % 2:
            answers.append(TimedTurn(at, (), tuple(model.text_ids(text))))
        else:
            ends = accumulate(lasting, initial=at + HEARD_LATER)
            words = zip(spoken_words(text), islice(ends, 1, None), strict=True)
            heard += [TimedTurn(end, (), tuple(model.text_ids(word))) for word, end in words]
        at += sum(lasting)
    whole = woven_example(full_duplex(model.config), streams(model.config, model.tags, [], answers, at, heard), STREAMS)
    return _left({**whole, "said": _words_of_answers(model, whole)}, ~_sound(whole))


def with_some_sound(model: OmniFlatten, example: Example, seed: int) -> Example:
    """A real conversation of which some sound is left out, a few units at a time: between having all of it and none. Of
    its answers all words but the first are learnt."""
    draw = np.random.default_rng(seed)
    share, length = draw.uniform(*LEFT_OUT), len(example["tokens"])
    out = np.repeat(draw.random(length // TOGETHER + 1) < share, TOGETHER)[:length]
    words, text = _words_of_answers(model, example), np.flatnonzero(example["stream"] == STREAMS.index("text"))
    said = np.zeros_like(words)
    said[text[1:]] = words[text[1:]] & words[text[:-1]]
    return _left({**example, "said": said}, ~(_sound(example) & out))


def with_sound(example: Example) -> Example:
    """One of which no place is left out, to be learnt from beside those without sound."""
    return {**example, "steps": np.ones(len(example["said"]), np.int64)}


def _sound(example: Example) -> NDArray[np.bool_]:
    return np.isin(example["stream"], [STREAMS.index("user"), STREAMS.index("speech")])


def _words_of_answers(model: OmniFlatten, example: Example) -> NDArray[np.bool_]:
    words: NDArray[np.bool_] = (example["stream"] == STREAMS.index("text")) & (
        example["tokens"] != model.tags.silent_text
    )
    return words


def _left(example: Example, kept: NDArray[np.bool_]) -> Example:
    steps = np.diff(np.flatnonzero(kept), prepend=-1)
    return {**{name: array[kept] for name, array in example.items()}, "steps": steps}


EXAMPLES: Mapping[str, Callable[[OmniFlatten, Sequence[Encoded]], Iterator[Example]]] = {
    "alignment": alignment_examples,
    "half_duplex": half_duplex_examples,
    "full_duplex": full_duplex_examples,
    "two_streams": two_streams_examples,
}
"""Of each stage."""
