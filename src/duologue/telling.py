"""An answer as a model makes it, told as the parts of a reply: text as it is written, calls of tools as soon as they
are complete, sound as soon as it is final."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from duologue.dialogue import Tool, ToolCall
from duologue.engines.llm import Toolbox
from duologue.session import Part, Speech, ToolReturned, Wrote
from duologue.units.speaking import Utterance

TextOf = Callable[[Sequence[int], Sequence[Tool]], tuple[str, tuple[ToolCall, ...]]]
"""Ids of an answer → what is said of it, and the calls in it (those that are complete)."""


class Made(NamedTuple):
    """After a step: the ids of all words so far, the units that may be spoken now, whether that was all."""

    words: Sequence[int]
    units: Sequence[int]
    last: bool


def told(
    steps: Iterable[Made],
    utterance: Utterance,
    text_of: TextOf,
    toolbox: Toolbox | None,
    theirs: Sequence[Tool] = (),
) -> Iterator[Part]:
    """The parts of an answer. Tools are run here, but `theirs`, which the caller runs; what was written since the last
    sound goes with the next one."""
    named = {tool.name for tool in theirs}
    tools = (*theirs, *(() if toolbox is None else toolbox.tools))
    written, unsaid, calls, last = "", "", 0, False
    for words, units, last in steps:
        text, found = text_of(words, tools)
        if new := text[len(written) :]:
            written, unsaid = text, unsaid + new
            yield Wrote(new)
        for call in islice(found, calls, None):
            calls += 1
            yield call
            if toolbox is not None and call.name not in named:
                yield ToolReturned(call.call_id, toolbox.run(call))
        sound = utterance.say(units, last)
        if len(sound) or (last and unsaid):
            yield Speech(sound, unsaid)
            unsaid = ""
    if not last and (len(rest := utterance.say((), last=True)) or unsaid):
        yield Speech(rest, unsaid)
