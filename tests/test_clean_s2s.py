"""The cascade: each step pulled by the sound that is about to be said, and no failure that ends the call."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest

from duologue.dialogue import Message, Tool, ToolCall
from duologue.engines import EngineError
from duologue.session import Audio, Failed, Heard, Part, Speech, ToolReturned, Turn, Wrote
from duologue.systems.clean_s2s import SORRY, CleanS2S
from duologue.turns import TurnSession
from scripted import LOUD, QUIET, LevelVad, ScriptedASR, ScriptedLLM, ToneVoice

TIMER = ToolCall("c1", "set_timer", '{"minutes": 10}')


class Tools:
    tools = (Tool("set_timer", "Set a timer."),)

    def __init__(self) -> None:
        self.ran: list[ToolCall] = []

    def run(self, call: ToolCall) -> str:
        self.ran.append(call)
        return '{"set": true}'


def cascade(*script: Sequence[str | ToolCall], heard: Sequence[str] = ("hello",)) -> CleanS2S:
    return CleanS2S(ScriptedASR(list(heard)), ScriptedLLM(list(script)), ToneVoice(), Tools())


def reply(system: CleanS2S, **turn: object) -> list[Part]:
    return list(system.reply(Turn(1, **({"audio": np.zeros(16_000, np.float32)} | turn))))  # type: ignore[arg-type]


def spoken(parts: list[Part]) -> str:
    return "".join(part.text for part in parts if isinstance(part, Speech))


def test_a_sentence_is_said_before_the_next_is_written() -> None:
    parts = reply(cascade(["First one. Second one. 第三句。"]))
    assert parts[0] == Heard("hello")
    kinds = "".join("w" if isinstance(part, Wrote) else "S" for part in parts[1:])
    assert kinds.index("S") < len("First one. S") + 1
    assert spoken(parts) == "First one. Second one.第三句。"
    assert "".join(part.text for part in parts if isinstance(part, Wrote)) == "First one. Second one. 第三句。"


def test_nothing_was_said_nothing_is_answered() -> None:
    assert reply(cascade(heard=[""])) == [Heard("")]


def test_typed_words_need_no_recogniser() -> None:
    parts = reply(cascade(["Hi."], heard=[]), audio=None, text="hello")
    assert parts[0] == Heard("hello")
    assert spoken(parts) == "Hi."


def test_instructions_and_history_reach_the_mind() -> None:
    system = cascade(["Hi."])
    history = (Message("user", "one"), Message("assistant", "two", interrupted=True))
    reply(system, history=history, instructions="Be brief.")
    assert system.llm.calls == [(Message("system", "Be brief."), *history, Message("user", "hello"))]  # type: ignore[attr-defined]


def test_own_tools_are_run_and_the_mind_sees_the_result() -> None:
    system = cascade(["One moment. ", TIMER], ["Done."])
    parts = reply(system)
    assert [part for part in parts if isinstance(part, ToolCall | ToolReturned)] == [
        TIMER,
        ToolReturned("c1", '{"set": true}'),
    ]
    assert spoken(parts) == "One moment. Done."
    assert system.llm.calls[1][-1] == Message("tool", '{"set": true}', call_id="c1")  # type: ignore[attr-defined]
    order = [type(part).__name__ for part in parts]
    assert order.index("Speech") < order.index("ToolCall"), "what comes before the call is said before it"


def test_the_callers_tools_end_the_reply() -> None:
    system = cascade([TIMER])
    parts = reply(system, tools=(Tool("set_timer", "Theirs."),))
    assert parts == [Heard("hello"), TIMER]
    assert system.toolbox.ran == []  # type: ignore[union-attr]


def test_the_result_of_a_callers_tool_is_answered() -> None:
    system = cascade(["Done."])
    history = (
        Message("user", "a timer"),
        Message("assistant", tool_calls=(TIMER,)),
        Message("tool", "set", call_id="c1"),
    )
    parts = reply(system, audio=None, history=history)
    assert spoken(parts) == "Done."
    assert not any(isinstance(part, Heard) for part in parts)
    assert system.llm.calls == [history]  # type: ignore[attr-defined]


def test_tools_without_end_are_a_failure() -> None:
    parts = reply(cascade(*[[TIMER]] * 9))
    assert isinstance(parts[-1], Failed)


class Broken:
    hz = 24_000

    def transcribe(self, audio: Audio) -> str:
        raise EngineError("no ears")

    def think(self, messages: Sequence[Message], tools: Sequence[Tool]) -> Iterator[str]:
        yield "Well. "
        raise EngineError("no mind")

    def speak(self, text: str) -> Iterator[Audio]:
        raise EngineError("no voice")
        yield


@pytest.mark.parametrize(("engine", "reason"), [("asr", "no ears"), ("llm", "no mind"), ("tts", "no voice")])
def test_an_engine_that_fails_ends_its_turn_with_a_reason(engine: str, reason: str) -> None:
    system = cascade(["Hello there."], heard=["hello", "hello"])
    parts = reply(replace(system, **{engine: Broken()}))
    assert parts[-1] == Failed(reason)
    assert spoken(parts).endswith(SORRY)
    live = TurnSession(replace(system, **{engine: Broken()}), LevelVad())
    for frame in ([LOUD] * 10 + [QUIET] * 180) * 2:
        live.step(frame)
    assert not live.replying


def test_closing_the_reply_closes_the_mind() -> None:
    closed = []

    class Endless:
        def think(self, messages: Sequence[Message], tools: Sequence[Tool]) -> Iterator[str]:
            try:
                while True:
                    yield "And so on. "
            finally:
                closed.append(True)

    system = replace(cascade(), llm=Endless(), asr=ScriptedASR(["go"]))
    parts = system.reply(Turn(1, audio=np.zeros(16_000, np.float32)))
    assert isinstance(next(parts), Heard)
    next(parts)
    parts.close()  # type: ignore[attr-defined]
    assert closed == [True]


def test_the_length_of_a_streamed_piece_is_not_taken_for_its_whole() -> None:
    class Slow:
        hz = 24_000

        def speak(self, text: str) -> Iterator[Audio]:
            for _ in range(40):
                yield np.full(2400, 0.3, np.float32)

    system = replace(cascade(["One two three four five six seven eight nine ten eleven twelve."]), tts=Slow())
    live = TurnSession(system, LevelVad())
    for frame in [LOUD] * 10 + [QUIET] * 30 + [LOUD] * 30:
        live.step(frame)
    live.close()
    cut = live.history[1]
    assert cut.interrupted
    assert 0 < len(cut.text.split()) < 6
