"""Fun-Audio-Chat takes turns: a `session.TurnTaker` for one caller.

What is said goes into memory as it was heard: of an answer that was interrupted, the groups up to the last word that
was heard. A turn that was no turn (somebody only paused) never was: the turns before it are then read anew, of sound
what the ears made of it. So they are after a turn that failed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache, partial
from pathlib import Path

from duologue.desk import Desk
from duologue.dialogue import Message, Tool
from duologue.engines.llm import Toolbox
from duologue.model.calls import said_and_called
from duologue.model.picking import Pick, Picking
from duologue.model.plain_text import marked_ids
from duologue.model.words import CALL
from duologue.session import Failed, Part, ToolReturned, Turn
from duologue.systems import fun_audio_chat_nano
from duologue.systems.fun_audio_chat_history import Exchange, Round, elsewhere, letters, words_of
from duologue.systems.fun_audio_chat_model import FunAudioChat
from duologue.systems.fun_audio_chat_results import Results, in_words
from duologue.systems.fun_audio_chat_talk import SPEECH, Talk
from duologue.telling import Made, TextOf, told
from duologue.units import nano_codec
from duologue.units.nano_codec import NanoCodec
from duologue.units.speaking import Speaking, Utterance

MOST_STEPS = 200
"""Of an answer: 40 s."""
MOST_ROUNDS = 4
"""Of calls in one answer."""


@dataclass(frozen=True)
class Talking:
    """What callers share.

    utterance   begins to speak units of the model's; the sound is at `said_hz`
    text_of     what the words of an answer are
    system      what stands before the first turn; None: the chat's own
    instead     tokens that an answer may open with instead of speech: that of a call
    results     how it is told what its calls gave back, so that it says more; None: it is not
    """

    model: FunAudioChat
    said_hz: int
    utterance: Callable[[], Utterance]
    text_of: TextOf
    system: str | None = None
    speech: Pick = SPEECH
    instead: tuple[int, ...] = ()
    results: Results | None = None


class Talker:
    def __init__(self, talking: Talking, toolbox: Toolbox | None = None) -> None:
        self.talking, self.said_hz, self._toolbox = talking, talking.said_hz, toolbox
        self._exchanges: list[Exchange] = []
        self._talk = self._fresh()
        self._failed = False

    def reply(self, turn: Turn) -> Iterator[Part]:
        try:
            self._recall(turn.history)
            if turn.audio is not None or turn.text is not None:
                self._hear(turn)
                yield from self._answer()
        except Exception as error:
            self._failed = True
            if not isinstance(error, ValueError):
                raise
            yield Failed(str(error))

    def _fresh(self) -> Talk:
        talk = Talk(self.talking.model, instead=self.talking.instead, speech=self.talking.speech)
        talk.instruct(0, self.talking.system)
        return talk

    # ------------------------------------------------------------ what was said

    def _hear(self, turn: Turn) -> None:
        model, heard = self.talking.model, None
        if turn.audio is not None:
            places = model.places(len(turn.audio))
            if not places:
                raise ValueError(f"{len(turn.audio)} samples of sound: give at least 40 ms")
            heard = model.grouped(model.ears.start().push(turn.audio, last=True).states, places)
        exchange = Exchange(heard, [Round([] if heard is not None else model.plain_ids(turn.text or ""))])
        self._ask(exchange)
        self._exchanges.append(exchange)

    def _ask(self, exchange: Exchange) -> None:
        if exchange.heard is not None:
            self._talk.heard(0, exchange.heard)
        self._talk.ask(0, exchange.rounds[0].asked)

    def _recall(self, history: tuple[Message, ...]) -> None:
        """Bring memory to what both know."""
        asked = [n for n, message in enumerate(history) if message.role == "user"]
        known, goes_on = len(self._exchanges), not self._failed
        del self._exchanges[len(asked) :]
        if self._exchanges:
            end = asked[known] if len(asked) > known else None
            cut = self._cut(history[asked[len(self._exchanges) - 1] : end])
        if goes_on and known == len(asked):
            if asked:
                self._end(cut)
            return
        if len(asked) > known:
            self._exchanges += elsewhere(history[asked[known] :], self.talking.model.plain_ids)
        self._read_anew()

    def _read_anew(self) -> None:
        self._failed, self._talk = True, self._fresh()
        for exchange in self._exchanges:
            self._ask(exchange)
            for number, each in enumerate(exchange.rounds):
                if number:
                    self._talk.ask(0, each.asked)
                self._talk.remember(0, each.said)
        self._failed = False

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
        heard = sum(letters(message.text) for message in answers) - sum(letters(self._text(each)) for each in before)
        if self._called(last) or (heard > 0 and not answers[-1].interrupted):
            return False
        del last.said[words_of(last.said, heard, lambda ids: self._text(Round([], list(ids)))) :]
        return True

    def _text(self, one: Round) -> str:
        return self.talking.text_of(one.said, self._tools)[0]

    def _called(self, one: Round) -> bool:
        return bool(self.talking.text_of(one.said, self._tools)[1])

    @property
    def _tools(self) -> tuple[Tool, ...]:
        return () if self._toolbox is None else self._toolbox.tools

    # ------------------------------------------------------------ what is said

    def _answer(self) -> Iterator[Part]:
        """What is said, what is called, and what is said of the results."""
        talking = self.talking
        for _ in range(MOST_ROUNDS):
            returned = list[str]()
            for part in told(self._steps(), talking.utterance(), talking.text_of, self._toolbox):
                returned += [part.output] if isinstance(part, ToolReturned) else []
                yield part
            if talking.results is None or not returned:
                return
            asked = marked_ids(talking.model.words, talking.results(returned))
            self._exchanges[-1].rounds.append(Round(asked))
            self._talk.ask(0, asked)

    def _steps(self) -> Iterator[Made]:
        """Groups of the answer."""
        model, said = self.talking.model, self._exchanges[-1].rounds[-1].said
        silent = {model.marks.opens, model.marks.closes, model.marks.silent, model.marks.ends[0]}
        for _ in range(MOST_STEPS):
            (step,) = self._talk.step()
            said += [step.text] if step.text not in silent else []
            yield Made(said, model.codes(step.units), step.last)
            if step.last:
                return


# ---------------------------------------------------------------- a trained model

SHIPPED = Path(__file__).parents[1] / "weights" / "fun_audio_chat_nano"


def talker(model: str | Path | None = None, now: Callable[[], datetime] = datetime.now) -> Talker:
    """With a trained model (a folder with its codec; None: the nano one that comes along), the desk's tools at hand.
    Raises ValueError, FileNotFoundError where there is none."""
    return Talker(nano(Path(model or SHIPPED)), Desk(now))


@lru_cache(maxsize=2)
def nano(folder: Path) -> Talking:
    """What the callers of the nano model in a folder share."""
    return small_talking(fun_audio_chat_nano.load(folder), nano_codec.load(folder / nano_codec.CODEC))


def small_talking(model: FunAudioChat, codec: NanoCodec) -> Talking:
    """Of a nano model. It speaks what is likeliest."""
    text_of, utterance = partial(said_and_called, model.words), partial(Speaking, codec)
    calls = (model.words.convert_tokens_to_ids(CALL),)
    return Talking(model, codec.said_hz, utterance, text_of, "", Picking(), calls, in_words)
