"""A grammar as an n-gram: what pocketsphinx hears with a grammar's words and freedom, at a recogniser's speed.

Sentences are drawn from the JSGF grammars and counted into a trigram. Each word carries the number of its grammar
(`two~3`), so that a path which began in one topic ends in it: a trigram alone would stray from an order into a sum.
"""

from __future__ import annotations

import re
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import lru_cache
from io import StringIO
from pathlib import Path
from random import Random

from duologue.engines import EngineError

SENTENCES = 800
"""Drawn from each grammar."""
MAX_WORDS = 40
DISCOUNT = 0.1
"""Share of the probability that is left for what was not drawn."""

_TOPIC_MARK = re.compile(r"~\d+")
_HEADER = re.compile(r"grammar\s+(?P<name>[\w.]+)\s*;.*?public\s*<(?P<rule>[\w.]+)>", re.DOTALL)

Arc = tuple[int, str, float]
"""The state that it leads to, what is said on the way ("" for nothing), how likely it is."""


def trigram(grammars: Sequence[str]) -> tuple[str, str]:
    """(language model as ARPA text, pronouncing dictionary). The same for the same grammars.

    Raises EngineError for a grammar that is no JSGF, and for words without a pronunciation.
    """
    from pocketsphinx.lm import ArpaBoLM

    said = [
        _marked(sentence, topic) for topic, grammar in enumerate(grammars) for sentence in _drawn(grammar)
    ]
    model = ArpaBoLM(text="\n".join(said), add_start=True, discount_mass=DISCOUNT)
    model.compute()
    arpa = StringIO()
    model.write(arpa)
    return arpa.getvalue(), _dictionary(sorted({word for sentence in said for word in sentence.split()}))


def unmarked(text: str) -> str:
    """The words without the numbers of their grammars."""
    return _TOPIC_MARK.sub("", text)


def _marked(sentence: Sequence[str], topic: int) -> str:
    return " ".join(f"{word}~{topic}" for word in sentence)


# ---------------------------------------------------------------- drawing sentences


def _drawn(grammar: str) -> Iterator[list[str]]:
    arcs, start, end = _automaton(grammar)
    random = Random(0)
    for _ in range(SENTENCES):
        state, sentence = start, list[str]()
        while state != end and len(sentence) < MAX_WORDS:
            state, word, _ = random.choices(arcs[state], [weight for *_, weight in arcs[state]])[0]
            sentence += [word] if word else []
        if state == end and sentence:
            yield sentence


def _automaton(grammar: str) -> tuple[dict[int, list[Arc]], int, int]:
    """(arcs, first state, last state) of the grammar's public rule. Silent arcs only lead to the last state."""
    lines = [line.split() for line in _compiled(grammar).splitlines()]
    end_of = {line[0]: int(line[1]) for line in lines if line and line[0].endswith("_STATE")}
    start, end = end_of["START_STATE"], end_of["FINAL_STATE"]
    spoken, silent = defaultdict[int, list[Arc]](list), defaultdict[int, list[Arc]](list)
    for _, come_from, to, weight, *word in (line for line in lines if line and line[0] == "TRANSITION"):
        (spoken if word else silent)[int(come_from)].append((int(to), "".join(word), float(weight)))
    arcs_of: dict[int, list[Arc]] = {}
    for state in {*spoken, *silent}:
        spoken_later = [
            (to, word, w * v) for via, _, w in silent[state] for to, word, v in spoken.get(via, ())
        ]
        ends = [arc for arc in silent[state] if arc[0] == end]
        arcs_of[state] = [*spoken.get(state, ()), *spoken_later, *ends]
    return arcs_of, start, end


def _compiled(grammar: str) -> str:
    """The grammar in the format of Sphinx's automata."""
    from pocketsphinx import Jsgf, LogMath

    header = _HEADER.search(grammar)
    if header is None:
        raise EngineError("the grammar names itself nowhere, or has no public rule; it must be JSGF text")
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "grammar.jsgf"), Path(folder, "grammar.fsg")
        source.write_text(grammar, encoding="utf-8")
        try:
            rules = Jsgf(str(source))
            rules.build_fsg(rules.get_rule(f"{header['name']}.{header['rule']}"), LogMath(), 1.0).writefile(
                str(target)
            )
        except (ValueError, RuntimeError) as error:
            raise EngineError(
                f"the grammar {header['name']!r} is no JSGF that can be used: {error}"
            ) from error
        return target.read_text(encoding="utf-8")


# ---------------------------------------------------------------- pronunciations


def _dictionary(words: Sequence[str]) -> str:
    known = _pronunciations()
    missing = sorted({unmarked(word) for word in words} - known.keys())
    if missing:
        raise EngineError(
            f"no pronunciation is known for {', '.join(missing[:10])}; use words of the CMU pronouncing dictionary"
        )
    return "".join(
        f"{word}{f'({number})' if number > 1 else ''} {phones}\n"
        for word in words
        for number, phones in enumerate(known[unmarked(word)], 1)
    )


@lru_cache(maxsize=1)
def _pronunciations() -> dict[str, list[str]]:
    """How words are said, after the dictionary in pocketsphinx's wheel."""
    from pocketsphinx import get_model_path

    said = defaultdict[str, list[str]](list)
    with Path(get_model_path("en-us/cmudict-en-us.dict")).open(encoding="utf-8") as lines:
        for line in lines:
            word, _, phones = line.strip().partition(" ")
            said[re.sub(r"\(\d+\)$", "", word)].append(phones)
    return dict(said)
