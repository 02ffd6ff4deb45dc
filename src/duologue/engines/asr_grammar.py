"""A grammar as a bigram: what pocketsphinx hears with a grammar's strictness, at a recogniser's speed.

The binding's own grammar search is slow, and less accurate than its n-gram search. So each arc of the grammar's
minimal automaton becomes a word of its own, named after where it leads (`two~17`): what may follow such a word is known
exactly, and a bigram says it. Little probability is left for what no grammar foresees.
"""

from __future__ import annotations

import re
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from math import log10
from pathlib import Path

from duologue.engines import EngineError

BACK_OFF = 1e-4
"""Probability that is left for what the grammar does not foresee."""

_PLACE = re.compile(r"~\d+")
_HEADER = re.compile(r"grammar\s+(?P<name>[\w.]+)\s*;.*?public\s*<(?P<rule>[\w.]+)>", re.DOTALL)

State = tuple[int, int]
"""(number of the grammar, state of its automaton)."""
Arc = tuple[str, State, float]
"""What is said, where it leads, how likely it is. "" ends the sentence."""
Arcs = Mapping[State, list[Arc]]


@dataclass(frozen=True)
class Bigram:
    """`arpa` and `dictionary` are the texts that pocketsphinx reads; `allowed` the pairs that the grammar foresees."""

    arpa: str
    dictionary: str
    allowed: frozenset[tuple[str, str]]

    def leaps(self, words: Sequence[str]) -> int:
        """How often the words leave the grammar."""
        return sum(pair not in self.allowed for pair in pairwise(["<s>", *words, "</s>"]))


def bigram(grammars: Sequence[str]) -> Bigram:
    """The grammars are equally likely.

    Raises EngineError for a grammar that is no JSGF, that says nothing, or whose words have no pronunciation.
    """
    arcs: dict[State, list[Arc]] = {}
    starts = [_add(arcs, number, grammar) for number, grammar in enumerate(grammars)]
    followers = _followers(arcs, _merged(arcs, starts), starts)
    words = sorted({word for pair in followers for word in pair if word not in ("<s>", "</s>")})
    return Bigram(_arpa(words, followers), _dictionary(words), frozenset(followers))


def counted(topics: Sequence[Sequence[str]]) -> Bigram:
    """Of sentences instead: a word may follow another where it does in a sentence of its topic, as often as there.

    Topics are equally likely. Raises EngineError for a word that has no pronunciation.
    """
    pairs: dict[tuple[str, str], float] = defaultdict(float)
    for number, sentences in enumerate(topics):
        for sentence in sentences:
            said = [f"{word}~{number}" for word in sentence.split()]
            for pair in pairwise(["<s>", *said, "</s>"]):
                pairs[pair] += 1 / len(sentences)
    before: dict[str, float] = defaultdict(float)
    for (word, _), times in pairs.items():
        before[word] += times
    followers = {pair: times / before[pair[0]] for pair, times in pairs.items()}
    words = sorted({word for pair in followers for word in pair if word not in ("<s>", "</s>")})
    return Bigram(_arpa(words, followers), _dictionary(words), frozenset(followers))


def unmarked(text: str) -> str:
    """The words without their places in the grammar."""
    return _PLACE.sub("", text)


# ---------------------------------------------------------------- the automaton


def _add(arcs: dict[State, list[Arc]], number: int, grammar: str) -> State:
    """Adds the grammar's automaton to `arcs` and gives its first state. All arcs speak, but those to the end."""
    lines = [line.split() for line in _compiled(grammar).splitlines()]
    ends = {line[0]: (number, int(line[1])) for line in lines if line and line[0].endswith("_STATE")}
    spoken, silent = defaultdict[State, list[Arc]](list), defaultdict[State, list[Arc]](list)
    for _, origin, target, weight, *word in (line for line in lines if line and line[0] == "TRANSITION"):
        arc = ("".join(word), (number, int(target)), float(weight))
        (spoken if word else silent)[number, int(origin)].append(arc)
    for state in {*spoken, *silent}:
        later = [(word, to, p * q) for _, via, p in silent[state] for word, to, q in spoken.get(via, ())]
        stops = [arc for arc in silent[state] if arc[1] == ends["FINAL_STATE"]]
        arcs[state] = [*spoken.get(state, ()), *later, *stops]
    if not arcs.get(ends["START_STATE"]):
        raise EngineError(f"nothing can be said by the grammar {grammar[:60]!r}; is a rule missing?")
    arcs[ends["FINAL_STATE"]] = [*arcs.get(ends["FINAL_STATE"], ()), ("", ends["FINAL_STATE"], 1.0)]
    return ends["START_STATE"]


def _compiled(grammar: str) -> str:
    """The grammar in the format of Sphinx's automata, in which silent arcs are already closed over each other."""
    from pocketsphinx import Jsgf, LogMath

    header = _HEADER.search(grammar)
    if header is None:
        raise EngineError("the grammar names itself nowhere, or has no public rule; it must be JSGF text")
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "grammar.jsgf"), Path(folder, "grammar.fsg")
        source.write_text(grammar, encoding="utf-8")
        try:
            rules = Jsgf(str(source))
            rule = rules.get_rule(f"{header['name']}.{header['rule']}")
            rules.build_fsg(rule, LogMath(), 1.0).writefile(str(target))
        except (ValueError, RuntimeError) as error:
            raise EngineError(f"the grammar {header['name']!r} is no JSGF that can be used: {error}") from error
        return target.read_text(encoding="utf-8")


def _merged(arcs: Arcs, starts: Iterable[State]) -> dict[State, int]:
    """A number for each state that can be reached; those after which the same may be said share it (Moore 1956)."""
    states = _reached(arcs, starts)
    numbers, count = dict.fromkeys(states, 0), 1
    while True:
        after = {s: frozenset((word, numbers[to], round(p, 3)) for word, to, p in arcs[s]) for s in states}
        known: dict[tuple[int, frozenset[tuple[str, int, float]]], int] = {}
        numbers = {s: known.setdefault((numbers[s], after[s]), len(known)) for s in states}
        if len(known) == count:
            return numbers
        count = len(known)


def _reached(arcs: Arcs, starts: Iterable[State]) -> list[State]:
    reached = dict.fromkeys(starts)
    waiting = list(reached)
    while waiting:
        new = [to for _, to, _ in arcs[waiting.pop()] if to not in reached]
        reached.update(dict.fromkeys(new))
        waiting += new
    return list(reached)


# ---------------------------------------------------------------- the bigram


def _followers(arcs: Arcs, numbers: Mapping[State, int], starts: Sequence[State]) -> dict[tuple[str, str], float]:
    """How likely the second word is after the first."""
    beginnings = {numbers[state]: _leaving(arcs, numbers, state) for state in numbers}
    pairs = defaultdict[tuple[str, str], float](float)
    for start in starts:
        for word, p in beginnings[numbers[start]]:
            pairs["<s>", word] += p / len(starts)
    for state in numbers:
        for (word, _), (_, to, _) in zip(_leaving(arcs, numbers, state), arcs[state], strict=True):
            if word != "</s>":
                pairs.update({(word, follower): p for follower, p in beginnings[numbers[to]]})
    return dict(pairs)


def _leaving(arcs: Arcs, numbers: Mapping[State, int], state: State) -> list[tuple[str, float]]:
    """The words that leave a state, after which `</s>` is none, and how likely each is."""
    total = sum(p for *_, p in arcs[state])
    return [(f"{word}~{numbers[to]}" if word else "</s>", p / total) for word, to, p in arcs[state]]


def _arpa(words: Sequence[str], followers: Mapping[tuple[str, str], float]) -> str:
    """The language model in ARPA's format: log10 of a probability, words, log10 of what is left for others."""
    alone, left = log10(1 / (len(words) + 1)), log10(BACK_OFF)
    unigrams = [
        f"-99 <s> {left:.4f}",
        f"{alone:.4f} </s> 0",
        *(f"{alone:.4f} {word} {left:.4f}" for word in words),
    ]
    bigrams = [f"{log10(p * (1 - BACK_OFF)):.4f} {a} {b}" for (a, b), p in sorted(followers.items()) if p > 0]
    head = ["\\data\\", f"ngram 1={len(unigrams)}", f"ngram 2={len(bigrams)}"]
    return "\n".join([*head, "", "\\1-grams:", *unigrams, "", "\\2-grams:", *bigrams, "", "\\end\\", ""])


def _dictionary(words: Iterable[str]) -> str:
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
