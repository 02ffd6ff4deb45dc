"""Fun-Audio-Chat takes turns: a `session.TurnTaker` for one caller.

What is said goes into memory as it was heard: of an answer that was interrupted, the groups up to the last word that
was heard. While somebody speaks, what is said is heard and read already. A turn that was no turn (somebody only paused)
never was: the turns before it are then read anew, of sound what the ears made of it. So they are after a turn that
failed, and after one that went on otherwise than it was overheard.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from duologue.dialogue import Message, Tool, ToolCall
from duologue.engines.llm import Toolbox
from duologue.model.picking import Pick
from duologue.model.plain_text import marked_ids
from duologue.session import Failed, Part, ToolReturned, Turn
from duologue.sound import Audio
from duologue.systems.fun_audio_chat_history import (
    Exchange,
    Ids,
    Overheard,
    Round,
    copied,
    elsewhere,
    letters,
    words_of,
)
from duologue.systems.fun_audio_chat_model import FunAudioChat
from duologue.systems.fun_audio_chat_talk import SPEECH, Talk
from duologue.systems.fun_audio_chat_tools import Calling
from duologue.telling import Made, TextOf, told
from duologue.units.speaking import Utterance

MOST_STEPS = 200
"""Of an answer: 40 s."""
MOST_ROUNDS = 4
"""Of calls in one answer."""


@dataclass(frozen=True)
class Talking:
    """What callers share.

    utterance   begins to speak units of the model's; the sound is at `said_hz`
    text_of     what the words of an answer are
    system      what stands before the first turn, and before instructions; None: the chat's own
    instead     tokens that an answer may open with instead of speech where there are tools: that of a call
    calling     how it calls them, and is told of them and what they gave back, so that it says more; None: it is not
    speaks      without it, it answers in text alone
    most_steps  of an answer; None: MOST_STEPS
    """

    model: FunAudioChat
    said_hz: int
    utterance: Callable[[], Utterance]
    text_of: TextOf
    system: str | None = None
    speech: Pick = SPEECH
    instead: tuple[int, ...] = ()
    calling: Calling | None = None
    speaks: bool = True
    most_steps: int | None = None


class Talker:
    def __init__(self, talking: Talking, toolbox: Toolbox | None = None) -> None:
        self.talking, self.said_hz, self._toolbox = talking, talking.said_hz, toolbox
        self._theirs: tuple[Tool, ...] = ()
        self._system = self._opening(None)
        self._exchanges: list[Exchange] = []
        self._talk = self._fresh()
        self._stale = False
        self._overheard: Overheard | None = None
        self._deaf = False

    def overhear(self, audio: Audio, history: tuple[Message, ...]) -> None:
        """As `session.Overhears`: windows of the ears that are full are heard, and read."""
        if self._deaf:
            return
        try:
            known = self._known(audio, history)
            if known is None:
                known = self._overheard = Overheard(audio[:0], history, copied(self._exchanges))
                self._bring_up(history, asks=True)
            self._overheard = replace(known, audio=audio)
            self._talk.hear(0, audio[len(known.audio) :])
            self._talk.catch_up()
        except Exception:
            self._deaf = True
            self._unhear(anew=True)

    def reply(self, turn: Turn) -> Iterator[Part]:
        """A turn of nothing but history is answered where that ends in what the caller's tools gave back."""
        self._deaf = False
        try:
            self._instruct(turn)
            known, asks = self._known(turn.audio, turn.history), turn.audio is not None or turn.text is not None
            returned = known is None and self._bring_up(turn.history, asks)
            if asks:
                self._hear(turn, 0 if known is None else len(known.audio))
            if asks or returned:
                yield from self._answer()
        except Exception as error:
            self._stale = True
            if not isinstance(error, ValueError):
                raise
            yield Failed(str(error))

    # ------------------------------------------------------------ what it is told before

    def _instruct(self, turn: Turn) -> None:
        """Raises ValueError for tools that the model can not be told of."""
        calling, theirs = self.talking.calling, turn.tools or ()
        known = [tool.name for tool in self._own]
        strange = [tool.name for tool in theirs if tool.name not in known]
        if strange and (calling is None or calling.offered is None):
            raise ValueError(
                f"this model was never taught to call {', '.join(strange)}, only {', '.join(known) or 'nothing'}: "
                "offer it no other tools, or talk with one that reads of its tools, as the released one does"
            )
        before, self._theirs = (self._tools, self._system), theirs
        self._system = self._opening(turn.instructions)
        self._stale = self._stale or before != (self._tools, self._system)

    def _opening(self, instructions: str | None) -> list[int]:
        """What stands before the first turn."""
        model, calling, system = self.talking.model, self.talking.calling, self.talking.system
        said = [model.config.chat.system if system is None else system, instructions or ""]
        pieces = [" ".join(filter(None, said))]
        if self._tools and calling is not None and calling.offered is not None:
            first, *rest = calling.offered(self._tools)
            pieces = ["\n".join(filter(None, (*pieces, first))), *rest]
        return marked_ids(model.words, pieces)

    def _fresh(self) -> Talk:
        talking = self.talking
        instead = talking.instead if self._tools else ()
        talk = Talk(talking.model, speaks=talking.speaks, speech=talking.speech, instead=instead)
        talk.instruct(0, self._system)
        return talk

    @property
    def _own(self) -> tuple[Tool, ...]:
        return () if self._toolbox is None else self._toolbox.tools

    @property
    def _tools(self) -> tuple[Tool, ...]:
        """Those of the caller come first."""
        named = {tool.name for tool in self._theirs}
        return (*self._theirs, *(tool for tool in self._own if tool.name not in named))

    # ------------------------------------------------------------ what was said

    def _known(self, audio: Audio | None, history: tuple[Message, ...]) -> Overheard | None:
        """What was overheard of this turn. What was overheard of another, or under other instructions, never was."""
        known = self._overheard
        if known is not None and (self._stale or not known.begins(audio, history)):
            self._unhear(anew=self._stale or history != known.history)
        return self._overheard

    def _unhear(self, anew: bool) -> None:
        """With `anew`, what was before it is not trusted either."""
        known, self._overheard = self._overheard, None
        if known is not None and anew:
            self._exchanges, self._stale = known.before, True
        elif known is not None:
            self._talk.forget(0)

    def _bring_up(self, history: tuple[Message, ...], asks: bool) -> bool:
        """Read what was said before the turn. Returns whether the caller's tools gave something back; where the turn
        `asks` for something else, nothing is said of that."""
        self._recall(history)
        returned = self._read_results(history)
        if returned and asks:
            self._talk.remember(0, "")
        return returned

    def _hear(self, turn: Turn, known_samples: int) -> None:
        asked, heard = [] if turn.audio is not None else self.talking.model.plain_ids(turn.text or ""), None
        if turn.audio is not None:
            heard = self._talk.hear(0, turn.audio[known_samples:], last=True)
        self._overheard = None
        self._talk.ask(0, asked)
        self._exchanges.append(Exchange(heard, [Round(asked)]))

    def _recall(self, history: tuple[Message, ...]) -> None:
        """Bring memory to what both know."""
        asked = [n for n, message in enumerate(history) if message.role == "user"]
        known, goes_on = len(self._exchanges), not self._stale
        del self._exchanges[len(asked) :]
        if self._exchanges:
            end = asked[known] if len(asked) > known else None
            cut = self._cut(history[asked[len(self._exchanges) - 1] : end])
        if goes_on and known == len(asked):
            if asked:
                self._end(cut)
            return
        if len(asked) > known:
            self._exchanges += elsewhere(history[asked[known] :], self._ids)
        self._read_anew()

    def _read_anew(self) -> None:
        self._stale, self._talk = True, self._fresh()
        for exchange in self._exchanges:
            if exchange.heard is not None:
                self._talk.heard(0, exchange.heard)
            for each in exchange.rounds:
                self._talk.ask(0, each.asked)
                self._talk.remember(0, each.said)
        self._stale = False

    def _end(self, cut: bool) -> None:
        """The words of an answer stand beside the groups that are spoken `lead` groups later."""
        said = self._exchanges[-1].rounds[-1].said
        if not cut:
            self._talk.end(0)
        elif self.talking.model.config.history == "text":
            self._talk.end(0, text=said)
        else:
            self._talk.end(0, len(said) + self.talking.model.config.lead, words=len(said))

    def _cut(self, since: tuple[Message, ...]) -> bool:
        """Forget the words of the last answer that were not heard. Returns whether there were some. What was called was
        done, heard or not."""
        *before, last = self._exchanges[-1].rounds
        answers = [message for message in since if message.role == "assistant" and message.text]
        earlier = sum(letters(self._text(each.said)) for each in before)
        heard = sum(letters(message.text) for message in answers) - earlier
        if last.called or (heard > 0 and not answers[-1].interrupted):
            return False
        del last.said[words_of(last.said, heard, self._text) :]
        return True

    def _text(self, said: Sequence[int]) -> str:
        return self.talking.text_of(said, self._tools)[0]

    def _read_results(self, history: tuple[Message, ...]) -> bool:
        """What the caller's tools gave back since then. Returns whether that was something."""
        if not self._exchanges or self.talking.calling is None:
            return False
        rounds, since = self._exchanges[-1].rounds, max(n for n, each in enumerate(history) if each.role == "user")
        results = [message.text for message in history[since:] if message.role == "tool"]
        if new := results[sum(each.results for each in rounds) :]:
            self._tell(new)
        return bool(new)

    def _tell(self, results: Sequence[str]) -> None:
        asked = self._ids.returned(results)
        self._exchanges[-1].rounds.append(Round(asked, results=len(results)))
        self._talk.ask(0, asked)

    @property
    def _ids(self) -> Ids:
        model, calling = self.talking.model, self.talking.calling
        if calling is None:
            return Ids(model.plain_ids, lambda _: [], lambda _: [])
        called, returned = calling.called, calling.returned
        return Ids(
            model.plain_ids,
            lambda calls: marked_ids(model.words, called(calls)),
            lambda results: marked_ids(model.words, returned(results)),
        )

    # ------------------------------------------------------------ what is said

    def _answer(self) -> Iterator[Part]:
        """What is said, what is called, and what is said of the results. A call that is the caller's ends it."""
        theirs = {tool.name for tool in self._theirs}
        for _ in range(MOST_ROUNDS):
            returned, called = list[str](), list[str]()
            for part in self._round():
                if isinstance(part, ToolReturned):
                    returned.append(part.output)
                elif isinstance(part, ToolCall):
                    called.append(part.name)
                    self._exchanges[-1].rounds[-1].called = True
                yield part
            if self.talking.calling is None or not returned or theirs & {*called}:
                return
            self._tell(returned)

    def _round(self) -> Iterator[Part]:
        """A space parts its words from those of the round before."""
        talking = self.talking
        before = any(self._text(each.said) for each in self._exchanges[-1].rounds[:-1])
        text_of = partial(_apart, talking.text_of) if before else talking.text_of
        return told(self._steps(), talking.utterance(), text_of, self._toolbox, self._theirs)

    def _steps(self) -> Iterator[Made]:
        """Groups of the answer."""
        model, said = self.talking.model, self._exchanges[-1].rounds[-1].said
        silent = {model.marks.opens, model.marks.closes, model.marks.silent, model.marks.ends[0]}
        for _ in range(self.talking.most_steps or MOST_STEPS):
            (step,) = self._talk.step()
            said += [step.text] if step.text not in silent else []
            yield Made(said, model.codes(step.units), step.last)
            if step.last:
                return


def _apart(text_of: TextOf, ids: Sequence[int], tools: Sequence[Tool]) -> tuple[str, tuple[ToolCall, ...]]:
    said, calls = text_of(ids, tools)
    return f" {said}" if said else "", calls
