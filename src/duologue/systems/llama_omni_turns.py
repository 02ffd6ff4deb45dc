"""LLaMA-Omni takes turns: a `session.TurnTaker` for one caller, which hears again nothing that it has heard.

The reference answers one question and forgets it. Here a conversation goes on: what the caller did not hear of an
answer is taken back from the model's memory, and a turn that was no turn (somebody only paused) never was. Memory holds
as much as a row of the training did; what is older is forgotten.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from itertools import islice
from pathlib import Path

from duologue.desk import Desk
from duologue.dialogue import Message, Tool, ToolCall
from duologue.engines.llm import Toolbox
from duologue.model.calls import parted
from duologue.model.words import written
from duologue.session import Failed, Part, Speech, ToolReturned, Turn, Wrote
from duologue.streaming import Memory
from duologue.systems.llama_omni import LlamaOmni
from duologue.systems.llama_omni_conversation import Conversation, Place
from duologue.systems.llama_omni_folder import load
from duologue.units import nano_codec
from duologue.units.codec import UnitDecoder
from duologue.units.speaking import Speaking


@dataclass(frozen=True)
class Manner:
    """omega: Ω, the units that make a segment; most: tokens of an answer."""

    omega: float = 40
    most: int = 200


class Talker:
    """`voice` says the model's units, one after the other."""

    def __init__(
        self, model: LlamaOmni, voice: UnitDecoder, toolbox: Toolbox | None = None, manner: Manner = Manner()
    ) -> None:
        self.said_hz, self.manner = voice.said_hz, manner
        self._model, self._voice, self._toolbox = model, voice, toolbox
        longest = model.config.longest
        self._memory = Memory(longest, sink=longest // 32, spare=longest // 4)
        self._conversation = Conversation(model, self._memory)
        self._before: list[Place] = []
        """Where the conversation was before each turn of the user's."""

    @property
    def tools(self) -> tuple[Tool, ...]:
        """What it may call."""
        return () if self._toolbox is None else self._toolbox.tools

    def reply(self, turn: Turn) -> Iterator[Part]:
        try:
            self._recall(turn.history)
            if turn.audio is not None or turn.text is not None:
                self._before.append(self._conversation.place)
                self._conversation.hear(turn.audio, None if turn.audio is not None else turn.text)
                yield from self._answer()
        except (ValueError, FloatingPointError) as error:
            yield Failed(str(error))

    # ------------------------------------------------------------ what was said

    def _recall(self, history: tuple[Message, ...]) -> None:
        """Bring memory to what both know."""
        asked = [n for n, message in enumerate(history) if message.role == "user"]
        if len(asked) > len(self._before):
            self._read_anew(history)
            return
        if len(asked) < len(self._before):
            last = self._before[len(asked)]
            del self._before[len(asked) :]
            self._conversation.back_to(last)
        if asked:
            self._keep_what_was_heard(history[asked[-1] :])

    def _keep_what_was_heard(self, since: tuple[Message, ...]) -> None:
        """Of the last answer; all of one that was not cut, with its calls."""
        answers = [message for message in since if message.role == "assistant" and message.text]
        said = len(self._conversation.said)
        heard = sum(len(self._model.ids_of(message.text)) for message in answers)
        cut = not answers or answers[-1].interrupted
        self._conversation.keep(min(heard, said) if cut else said)

    def _read_anew(self, history: tuple[Message, ...]) -> None:
        """A conversation that was held elsewhere, as text."""
        self._conversation, self._before = Conversation(self._model, self._memory), []
        for message in history:
            if message.role == "user":
                self._before.append(self._conversation.place)
                self._conversation.hear(text=message.text)
            elif message.role == "assistant" and message.text:
                self._conversation.told(message.text)

    # ------------------------------------------------------------ what is said

    def _answer(self) -> Iterator[Part]:
        """Text as it is written, calls when they are complete, sound by segments."""
        speaking, told, unsaid, calls = Speaking(self._voice), "", "", 0
        most = min(self.manner.most, self._model.config.speech.longest_tokens)
        for step in self._conversation.answer(self.manner.omega, most):
            text, found = self._text()
            if new := text[len(told) :]:
                told, unsaid = text, unsaid + new
                yield Wrote(new)
            for call in islice(found, calls, None):
                calls += 1
                yield call
                if self._toolbox is not None:
                    yield ToolReturned(call.call_id, self._toolbox.run(call))
            sound = speaking.say(step.segment, step.last)
            if len(sound) or (step.last and unsaid):
                yield Speech(sound, unsaid)
                unsaid = ""

    def _text(self) -> tuple[str, tuple[ToolCall, ...]]:
        said = [token for token in self._conversation.said if token not in self._model.stops]
        text, calls = parted(self._model.words.decode(said), self.tools)
        return written(text), calls


# ---------------------------------------------------------------- a trained model

CODEC = "nano_units.safetensors"
"""The codec in a model's folder."""


SHIPPED = Path(__file__).parents[1] / "weights" / "llama_omni_nano"


def talker(
    model: str | Path | None = None, now: Callable[[], datetime] = datetime.now, manner: Manner = Manner()
) -> Talker:
    """With a trained model (a folder with its codec; None: the nano one that comes along), the desk's tools at hand.
    Raises ValueError, FileNotFoundError where there is none."""
    trained, voice = loaded(Path(model or SHIPPED))
    return Talker(trained, voice, Desk(now), manner)


@lru_cache(maxsize=2)
def loaded(folder: Path) -> tuple[LlamaOmni, UnitDecoder]:
    """What the callers of the model in a folder share."""
    return load(folder), nano_codec.load(folder / CODEC)
