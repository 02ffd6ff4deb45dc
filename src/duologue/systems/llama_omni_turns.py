"""LLaMA-Omni takes turns: a `session.TurnTaker` for one caller, which hears again nothing that it has heard.

The reference answers one question and forgets it. Here a conversation goes on: what the caller did not hear of an
answer is taken back from the model's memory, and a turn that failed, or was no turn (somebody only paused), never was.
Memory holds as much as a row of the training did; what is older is forgotten.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache, partial
from pathlib import Path

import torch

from duologue.desk import Desk
from duologue.dialogue import Message, Tool, ToolCall
from duologue.engines.llm import Toolbox
from duologue.model.calls import said_and_called
from duologue.model.precision import Precision
from duologue.session import Failed, Part, Turn
from duologue.streaming import Memory
from duologue.systems import llama_omni_folder, llama_omni_released
from duologue.systems.llama_omni import LlamaOmni
from duologue.systems.llama_omni_conversation import Conversation, Place, check_omega
from duologue.telling import Made, TextOf, told
from duologue.units import hifigan, nano_codec
from duologue.units.hifigan_voice import Merged, UnitVoice
from duologue.units.speaking import Speaking, Utterance


@dataclass(frozen=True)
class Manner:
    """omega: Ω, the units that make a segment; most: tokens of an answer. Raises ValueError for Ω below 1."""

    omega: float = 40
    most: int = 200

    def __post_init__(self) -> None:
        check_omega(self.omega)


@dataclass(frozen=True)
class Talking:
    """What callers share.

    utterance   begins to speak units of the model's; the sound is at `said_hz`
    text_of     what an answer's ids are
    """

    model: LlamaOmni
    said_hz: int
    utterance: Callable[[], Utterance]
    text_of: TextOf

    @property
    def memory(self) -> Memory:
        positions: int = self.model.lm.config.get_text_config().max_position_embeddings
        longest = min(self.model.config.longest, positions)
        return Memory(longest, sink=longest // 32, spare=longest // 4)


class Talker:
    """One caller. `manner` may be changed between turns."""

    def __init__(self, talking: Talking, toolbox: Toolbox | None = None, manner: Manner = Manner()) -> None:
        self.talking, self.manner = talking, manner
        self.said_hz, self._model, self._toolbox = talking.said_hz, talking.model, toolbox
        self._conversation = Conversation(talking.model, talking.memory)
        self._before: list[Place] = []
        """Where the conversation was before each turn of the user's."""

    def reply(self, turn: Turn) -> Iterator[Part]:
        try:
            self._recall(turn.history)
            if turn.audio is not None or turn.text is not None:
                yield from self._reply(turn)
        except (ValueError, FloatingPointError) as error:
            yield Failed(str(error))

    def _reply(self, turn: Turn) -> Iterator[Part]:
        """Of a turn that fails nothing is remembered, but that it was one."""
        before = self._conversation.place
        self._before.append(before)
        try:
            self._conversation.hear(turn.audio, None if turn.audio is not None else turn.text)
            yield from self._answer()
        except Exception:
            self._conversation.back_to(before)
            raise

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
        if asked and self._conversation.place != self._before[-1]:
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
        self._conversation, self._before = Conversation(self._model, self.talking.memory), []
        for message in history:
            if message.role == "user":
                self._before.append(self._conversation.place)
                self._conversation.hear(text=message.text)
            elif message.role == "assistant" and message.text:
                self._conversation.told(message.text)

    # ------------------------------------------------------------ what is said

    def _answer(self) -> Iterator[Part]:
        return spoken(self.talking, self._conversation, self.manner, self._toolbox)


def spoken(
    talking: Talking, conversation: Conversation, manner: Manner, toolbox: Toolbox | None = None
) -> Iterator[Part]:
    """The answer to what a conversation was asked, in text and sound."""
    return told(_made(talking.model, conversation, manner), talking.utterance(), talking.text_of, toolbox)


def _made(model: LlamaOmni, conversation: Conversation, manner: Manner) -> Iterator[Made]:
    """Segments of the answer."""
    most = min(manner.most, model.config.speech.longest_tokens)
    for step in conversation.answer(manner.omega, most, thrifty=True):
        yield Made([token for token in conversation.said if token not in model.stops], step.segment, step.last)


# ---------------------------------------------------------------- a trained model

VOCODER = ("vocoder/g_00500000", "vocoder/config.json")
"""The vocoder in the folder of the released model: its weights and its sizes."""


SHIPPED = Path(__file__).parents[1] / "weights" / "llama_omni_nano"


def talker(
    model: str | Path | None = None,
    now: Callable[[], datetime] = datetime.now,
    manner: Manner = Manner(),
    dtype: Precision | None = None,
) -> Talker:
    """With a trained model in a folder: a nano one with its codec (None: that which comes along), or the released one,
    or one that was made of it, with its vocoder. The nano one has the desk's tools at hand. `dtype` is float32 for the
    nano one and bfloat16 for the others where it is None. Raises ValueError, FileNotFoundError where there is no such
    folder."""
    folder = Path(model or SHIPPED)
    if _is_ours(folder) and not (folder / VOCODER[0]).is_file():
        return Talker(nano(folder, dtype or torch.float32), Desk(now), manner)
    return Talker(released(folder, dtype or torch.bfloat16), None, manner)


def _is_ours(folder: Path) -> bool:
    return (folder / llama_omni_folder.CONFIG).is_file()


@lru_cache(maxsize=2)
def nano(folder: Path, dtype: Precision) -> Talking:
    """What the callers of the nano model in a folder share."""
    model, codec = llama_omni_folder.load(folder, dtype), nano_codec.load(folder / nano_codec.CODEC)
    return Talking(model, codec.said_hz, partial(Speaking, codec), partial(said_and_called, model.words))


@lru_cache(maxsize=1)
def released(folder: Path, dtype: Precision) -> Talking:
    """What the callers of the released model in a folder share, or of one that `llama_omni_folder` saved there."""
    if missing := [name for name in VOCODER if not (folder / name).is_file()]:
        raise FileNotFoundError(f"{folder} lacks {' and '.join(missing)}: put the released vocoder there")
    model = (llama_omni_folder if _is_ours(folder) else llama_omni_released).load(folder, dtype)
    voice = UnitVoice(hifigan.load(*(folder / name for name in VOCODER)))

    def text_of(ids: Sequence[int], _: Sequence[Tool]) -> tuple[str, tuple[ToolCall, ...]]:
        return str(model.words.decode(ids, skip_special_tokens=True)), ()

    return Talking(model, voice.vocoder.said_hz, partial(Merged, voice), text_of)
