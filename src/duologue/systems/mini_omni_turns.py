"""Mini-Omni takes turns: a `session.TurnTaker` for one caller.

The reference answers one question and forgets it. Here earlier turns stand before a question: what was heard as it was
heard, of the answers what the caller heard of them. A turn that was no turn (somebody only paused) never was, and of
one that failed nothing is kept. Where there is no room, the oldest turns are forgotten.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import lru_cache, partial
from pathlib import Path

from torch import Tensor

from duologue.desk import Desk
from duologue.dialogue import Message, Tool, ToolCall
from duologue.engines.llm import Toolbox
from duologue.model import whisper
from duologue.model.adapter import Ears
from duologue.model.backbone import tokenizer_of
from duologue.model.calls import said_and_called
from duologue.model.precision import Precision
from duologue.session import Failed, Part, Turn
from duologue.sound import Audio
from duologue.systems import mini_omni_folder, mini_omni_released
from duologue.systems.mini_omni import Exchange, Question
from duologue.systems.mini_omni_aloud import Frames, paced
from duologue.systems.mini_omni_decoding import Decoding, answered
from duologue.systems.mini_omni_model import MiniOmni
from duologue.telling import Made, TextOf, told
from duologue.units import nano_ears, snac, snac_nano
from duologue.units.speaking import Utterance


@dataclass(frozen=True)
class Talking:
    """What callers share.

    hears       an utterance → features [T, F]
    utterance   begins to speak frames, whose codes come one after the other; the sound is at `said_hz`
    ids_of      of a text; `text_of`: what an answer's ids are
    longest     steps of a prompt and its answer
    """

    model: MiniOmni
    hears: Callable[[Audio], Tensor]
    said_hz: int
    utterance: Callable[[], Utterance]
    ids_of: Callable[[str], Sequence[int]]
    text_of: TextOf
    longest: int


@dataclass
class _Asked:
    """A turn: what was heard, or else what was typed, and the ids of what was said so far. One that `failed` is
    counted, and does not stand before those that follow."""

    heard: Tensor | None = None
    typed: Sequence[int] = ()
    said: list[int] = field(default_factory=list)
    failed: bool = False

    @property
    def exchange(self) -> Exchange:
        return (self.typed if self.heard is None else self.heard), self.said

    @property
    def steps(self) -> int:
        """Of a prompt."""
        asked, said = self.exchange
        return len(asked) + len(said) + 4


class Talker:
    def __init__(
        self, talking: Talking, toolbox: Toolbox | None = None, how: Decoding | None = None, speaker: int = 0
    ) -> None:
        """`how` it answers: in one row, or in two (`Decoding.parallel`, the default); `speaker`, who. Raises ValueError
        for a speaker that the model does not know."""
        if not 0 <= speaker <= (known := talking.model.config.speakers):
            raise ValueError(f"speaker {speaker}, but the model knows {known}: leave it out for nobody in particular")
        self.talking, self.said_hz, self._toolbox, self._speaker = talking, talking.said_hz, toolbox, speaker
        how = how or Decoding(parallel=True)
        self._how = replace(how, most_steps=how.most_steps or talking.longest // 2)
        self._turns: list[_Asked] = []

    def reply(self, turn: Turn) -> Iterator[Part]:
        try:
            self._recall(turn.history)
            if turn.audio is not None or turn.text is not None:
                yield from self._answer(turn)
        except (ValueError, FloatingPointError) as error:
            yield Failed(str(error))

    # ------------------------------------------------------------ what was said

    def _asked(self, turn: Turn) -> _Asked:
        if turn.audio is None:
            return _Asked(None, self.talking.ids_of(turn.text or ""))
        return _Asked(self.talking.hears(turn.audio), ())

    def _recall(self, history: tuple[Message, ...]) -> None:
        """Bring memory to what both know."""
        asked = [n for n, message in enumerate(history) if message.role == "user"]
        if len(asked) > len(self._turns):
            self._turns = list(_elsewhere(history, self.talking.ids_of))
        else:
            del self._turns[len(asked) :]
            if asked:
                self._cut(history[asked[-1] :])

    def _cut(self, since: tuple[Message, ...]) -> None:
        """Forget the words of the last answer that were not heard."""
        answers = [message for message in since if message.role == "assistant" and message.text]
        if not answers or answers[-1].interrupted:
            heard = sum(len(self.talking.ids_of(message.text)) for message in answers)
            del self._turns[-1].said[heard:]

    # ------------------------------------------------------------ what is said

    def _answer(self, turn: Turn) -> Iterator[Part]:
        self._turns.append(_Asked(failed=True))
        self._turns[-1] = asked = self._asked(turn)
        try:
            parts = told(self._steps(), self.talking.utterance(), self.talking.text_of, self._toolbox)
            yield from paced(parts, self.said_hz)
        except Exception:
            asked.failed = True
            raise

    def _steps(self) -> Iterator[Made]:
        said = self._turns[-1].said
        for step in answered(self.talking.model, self._question(), self._how):
            said += [] if step.text is None else [step.text]
            yield Made(said, step.frame or (), False)

    def _question(self) -> Question:
        *turns, now = self._turns
        before = [turn for turn in turns if not turn.failed]
        room = self.talking.longest - (self._how.most_steps or 0) - now.steps
        while before and sum(turn.steps for turn in before) > room:
            del before[0]
        history = tuple(turn.exchange for turn in before)
        if now.heard is None:
            return Question("T1A2", None, now.typed, history, self._speaker)
        return Question("A1A2", now.heard, (), history, self._speaker)


def _elsewhere(history: tuple[Message, ...], ids_of: Callable[[str], Sequence[int]]) -> Iterator[_Asked]:
    """The turns of a conversation that was held elsewhere, as text."""
    turn: _Asked | None = None
    for message in history:
        if message.role == "user":
            if turn is not None:
                yield turn
            turn = _Asked(None, ids_of(message.text))
        elif message.role == "assistant" and message.text and turn is not None:
            turn.said += ids_of(message.text)
    if turn is not None:
        yield turn


# ---------------------------------------------------------------- a trained model

SHIPPED = Path(__file__).parents[1] / "weights" / "mini_omni_nano"
WHISPER, SNAC = "small.pt", "snac_24khz"
"""Beside the released model: OpenAI's Whisper small, and SNAC as it was released."""


def talker(
    model: str | Path | None = None,
    now: Callable[[], datetime] = datetime.now,
    how: Decoding | None = None,
    dtype: Precision = "float32",
    speaker: int = 0,
) -> Talker:
    """With a trained model in a folder: a nano one with its ears and its codec (None: that which comes along), or the
    released one with Whisper and SNAC, which stay in float32. The nano one has the desk's tools at hand. Raises
    ValueError for 4 bits and where there is no model, FileNotFoundError."""
    if dtype == "int4":
        raise ValueError("mini_omni is not offered in int4: choose float32, bfloat16 or int8")
    folder = Path(model or SHIPPED)
    if (folder / mini_omni_released.WEIGHTS).is_file():
        return Talker(released(folder, dtype), None, how, speaker)
    return Talker(nano(folder, dtype), Desk(now), how, speaker)


@lru_cache(maxsize=2)
def nano(folder: Path, dtype: Precision = "float32") -> Talking:
    """What the callers of the nano model in a folder share."""
    model, words = mini_omni_folder.load(folder, dtype)
    codec = snac_nano.load(folder / snac_nano.CODEC)
    return Talking(
        model,
        partial(heard_by, nano_ears.load_words(folder / mini_omni_folder.EARS), model.config.features),
        codec.said_hz,
        partial(Frames, codec),
        lambda text: list(words(text).input_ids),
        partial(said_and_called, words),
        min(512, model.lm.config.max_position_embeddings),
    )


def heard_by(ears: Ears, width: int, audio: Audio) -> Tensor:
    """As many states of the ears in one feature as make its width."""
    return stacked(ears.features(audio), width // ears.width)


def stacked(states: Tensor, number: int) -> Tensor:
    """[T, D] → [T // number, number * D]. Raises ValueError for fewer states."""
    features = states[: len(states) // number * number].reshape(-1, number * states.shape[1])
    if not len(features):
        raise ValueError(f"{len(states)} states of the ears are no feature: it takes {number}; give longer sound")
    return features


@lru_cache(maxsize=1)
def released(folder: Path, dtype: Precision = "float32") -> Talking:
    """What the callers of the released model in a folder share."""
    if missing := [name for name in (WHISPER, SNAC) if not (folder / name).exists()]:
        raise FileNotFoundError(f"{folder} lacks {' and '.join(missing)}: put Whisper small and SNAC there")
    model, words = mini_omni_released.load(folder, dtype), tokenizer_of(folder)
    ears, codec = whisper.load(folder / WHISPER, whisper.SMALL, "padded"), snac.load(folder / SNAC)

    def text_of(ids: Sequence[int], _: Sequence[Tool]) -> tuple[str, tuple[ToolCall, ...]]:
        return str(words.decode(ids, skip_special_tokens=True)), ()

    return Talking(
        model,
        partial(mini_omni_released.heard_by, ears),
        codec.said_hz,
        partial(Frames, codec),
        lambda text: list(words(text).input_ids),
        text_of,
        model.lm.config.max_position_embeddings,
    )
