"""Fun-Audio-Chat takes turns: a `session.TurnTaker` for one caller.

What is said goes into memory as it was heard: of an answer that was interrupted, the groups up to the last word that
was heard. A turn that was no turn (somebody only paused) never was: the turns before it are then read anew, of sound
what the ears made of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache, partial
from pathlib import Path

from torch import Tensor

from duologue.desk import Desk
from duologue.dialogue import Message, Tool
from duologue.engines.llm import Toolbox
from duologue.model.calls import said_and_called
from duologue.model.picking import Pick, Picking
from duologue.model.words import CALL
from duologue.session import Failed, Part, ToolReturned, Turn
from duologue.systems import fun_audio_chat_nano
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


@dataclass
class _Round:
    """`asked` in text, what was typed or what calls gave back; `said` the ids of the words so far."""

    asked: str
    said: list[int] = field(default_factory=list)


@dataclass
class _Exchange:
    """`heard`: the user's sound as the ears had it, in groups. There is another round after each call."""

    heard: Tensor | None
    rounds: list[_Round]


class Talker:
    def __init__(self, talking: Talking, toolbox: Toolbox | None = None) -> None:
        self.talking, self.said_hz, self._toolbox = talking, talking.said_hz, toolbox
        self._exchanges: list[_Exchange] = []
        self._talk = self._fresh()

    def reply(self, turn: Turn) -> Iterator[Part]:
        try:
            self._recall(turn.history)
            if turn.audio is not None or turn.text is not None:
                self._hear(turn)
                yield from self._answer()
        except ValueError as error:
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
        exchange = _Exchange(heard, [_Round("" if heard is not None else turn.text or "")])
        self._ask(exchange)
        self._exchanges.append(exchange)

    def _ask(self, exchange: _Exchange) -> None:
        if exchange.heard is not None:
            self._talk.heard(0, exchange.heard)
        self._talk.ask(0, exchange.rounds[0].asked)

    def _recall(self, history: tuple[Message, ...]) -> None:
        """Bring memory to what both know."""
        asked = [n for n, message in enumerate(history) if message.role == "user"]
        if len(asked) > len(self._exchanges):
            self._exchanges = list(_elsewhere(history, self.talking.model.text_ids))
        elif len(asked) == len(self._exchanges):
            if asked:
                self._end_where_it_was_cut(history[asked[-1] :])
            return
        else:
            del self._exchanges[len(asked) :]
            if asked:
                self._cut(history[asked[-1] :])
        self._talk = self._fresh()
        for exchange in self._exchanges:
            self._ask(exchange)
            for number, each in enumerate(exchange.rounds):
                if number:
                    self._talk.ask(0, each.asked)
                self._talk.remember(0, self.talking.model.words.decode(each.said))

    def _end_where_it_was_cut(self, since: tuple[Message, ...]) -> None:
        """The words of an answer stand beside the groups that are spoken `lead` groups later."""
        cut = self._cut(since)
        config, said = self.talking.model.config, len(self._exchanges[-1].rounds[-1].said)
        self._talk.end(0, said + config.lead if cut else None)

    def _cut(self, since: tuple[Message, ...]) -> bool:
        """Forget the words of the last answer that were not heard. Returns whether there were some. What was called was
        done, heard or not."""
        answers = [message for message in since if message.role == "assistant" and message.text]
        said = self._exchanges[-1].rounds[-1].said
        if (answers and not answers[-1].interrupted) or self.talking.text_of(said, self._tools)[1]:
            return False
        heard = sum(len(self.talking.model.text_ids(message.text)) for message in answers)
        del said[heard:]
        return True

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
            self._exchanges[-1].rounds.append(_Round(talking.results(returned)))
            self._talk.ask(0, self._exchanges[-1].rounds[-1].asked)

    def _steps(self) -> Iterator[Made]:
        """Groups of the answer."""
        model, said = self.talking.model, self._exchanges[-1].rounds[-1].said
        silent = {model.marks.opens, model.marks.closes, model.marks.silent, *model.marks.ends}
        for _ in range(MOST_STEPS):
            (step,) = self._talk.step()
            said += [step.text] if step.text not in silent else []
            yield Made(said, model.codes(step.units), step.last)
            if step.last:
                return


def _elsewhere(history: tuple[Message, ...], ids_of: Callable[[str], list[int]]) -> Iterator[_Exchange]:
    """The exchanges of a conversation that was held elsewhere, as text."""
    exchange: _Exchange | None = None
    for message in history:
        if message.role == "user":
            if exchange is not None:
                yield exchange
            exchange = _Exchange(None, [_Round(message.text)])
        elif message.role == "assistant" and message.text and exchange is not None:
            exchange.rounds[-1].said += ids_of(message.text)
    if exchange is not None:
        yield exchange


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
