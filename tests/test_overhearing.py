"""What is heard while somebody speaks: the beginning of the turn, and of no other; it changes nothing but the time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duologue.dialogue import Message
from duologue.session import Audio, Event, Overhears, Part, Said, Speech, Turn, TurnTaker, Wrote
from duologue.systems import fun_audio_chat_turns
from duologue.systems.fun_audio_chat_history import copied
from duologue.systems.fun_audio_chat_trained import talker
from duologue.systems.fun_audio_chat_turns import Talker
from duologue.turns import TurnSession
from scripted import LevelVad, ScriptedSystem
from small_fun_audio_chat import kept, voice


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("chat") / "model"
    kept(folder)
    return folder


@pytest.fixture(autouse=True)
def short_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fun_audio_chat_turns, "MOST_STEPS", 16)


# ---------------------------------------------------------------- what a session hands on


@dataclass
class Overhearing(ScriptedSystem):
    """Keeps what it overhears of each turn, and whether its own reply sounded meanwhile."""

    overheard: list[list[tuple[Audio, tuple[Message, ...]]]] = field(default_factory=lambda: [[]])

    def overhear(self, audio: Audio, history: tuple[Message, ...]) -> None:
        self.overheard[-1].append((audio, history))

    def reply(self, turn: Turn):  # type: ignore[no-untyped-def]
        self.overheard.append([])
        return super().reply(turn)


spans = st.lists(st.tuples(st.integers(4, 60), st.integers(1, 40)), min_size=1, max_size=5)


@settings(max_examples=60, deadline=None)
@given(spans=spans, replies=st.booleans())
def test_what_is_overheard_begins_the_turn(spans: list[tuple[int, int]], replies: bool) -> None:
    draw = np.random.default_rng(0)
    many = 2 * len(spans) + 2
    system = Overhearing(["go on" if replies else ""] * many, [["Yes, let me tell you all of it."]] * many)
    live = TurnSession(system, LevelVad())
    for loud, quiet in [*spans, (1, 60)]:
        for _ in range(loud):
            live.step(draw.uniform(0.2, 0.4, 512).astype(np.float32))
        for _ in range(quiet):
            live.step(np.zeros(512, np.float32))
    assert len(system.turns) == len(system.overheard) - 1
    for turn, heard in zip(system.turns, system.overheard, strict=False):
        assert turn.audio is not None
        lengths = [len(audio) for audio, _ in heard]
        assert lengths == sorted(lengths)
        for audio, _ in heard:
            np.testing.assert_array_equal(turn.audio[: len(audio)], audio)
        if heard and not any(turn.audio[-512 * 4 :]):
            assert lengths[-1] == len(turn.audio), "all of it, before the silence that ends the turn is over"


def test_nothing_is_overheard_of_a_back_channel_and_all_of_an_interruption() -> None:
    system = Overhearing(["tell me", "no, stop that"], [["A long story that goes on and on."] * 6, ["Fine."]])
    live = TurnSession(system, LevelVad())
    loud, quiet = np.full(512, 0.3, np.float32), np.zeros(512, np.float32)
    for _ in range(20):
        live.step(loud)
    for _ in range(40):
        live.step(quiet)
    assert live.replying
    for _ in range(20):
        live.step(loud)
    assert not system.overheard[-1], "it may be a back-channel, after which the reply goes on"
    for _ in range(60):
        live.step(loud)
    assert system.overheard[-1]


# ---------------------------------------------------------------- Fun-Audio-Chat


def said(parts: Sequence[Part | None]) -> tuple[str, bytes]:
    text = "".join(part.text for part in parts if isinstance(part, Wrote))
    return text, b"".join(part.audio.tobytes() for part in parts if isinstance(part, Speech))


def cut(audio: Audio, cuts: Sequence[int]) -> list[Audio]:
    return [audio[:end] for end in sorted({min(end, len(audio)) for end in cuts})]


@settings(max_examples=10, deadline=None)
@given(cuts=st.lists(st.integers(1, 40_000), max_size=5), louder=st.booleans(), barged=st.booleans())
def test_a_turn_that_was_overheard_is_answered_as_one_heard_at_once(
    folder: Path, cuts: list[int], louder: bool, barged: bool
) -> None:
    live, whole = talker(folder), talker(folder)
    audio = voice(2.4, 1)
    if louder:
        audio[20_000:] *= 30
    history: tuple[Message, ...] = ()
    for number in range(2):
        for beginning in cut(audio, cuts):
            live.overhear(beginning, history)
        answers = [said(list(one.reply(Turn(number, history, audio)))) for one in (live, whole)]
        assert answers[0] == answers[1]
        heard = answers[0][0].split()[0] if barged else answers[0][0]
        history = (Message("user", ""), Message("assistant", heard, interrupted=barged))
    assert not live._stale


def another(one: Talker, how: str, audio: Audio, history: tuple[Message, ...]) -> tuple[str, bytes]:
    """What is answered to a turn that is not the one that was overheard."""
    turns = {
        "typed": Turn(1, history, text="what is two"),
        "other sound": Turn(1, history, voice(1.1, 7)),
        "shorter": Turn(1, history, audio[:9_000]),
        "other instructions": Turn(1, history, audio, instructions="say one"),
    }
    return said(list(one.reply(turns[how])))


@pytest.mark.parametrize("how", ["typed", "other sound", "shorter", "other instructions"])
def test_what_came_otherwise_was_never_overheard(folder: Path, how: str) -> None:
    one, other = talker(folder), talker(folder)
    (text, _), _ = (said(list(each.reply(Turn(0, (), voice(0.9))))) for each in (one, other))
    history, audio = (Message("user", ""), Message("assistant", text)), voice(1.7, 3)
    for beginning in cut(audio, [6_000, 20_000]):
        one.overhear(beginning, history)
    assert another(one, how, audio, history) == another(other, how, audio, history)


def test_an_answer_of_which_more_was_heard_after_all_is_remembered(folder: Path) -> None:
    one = talker(folder)
    text, _ = said(list(one.reply(Turn(0, (), voice(0.9)))))
    (exchange,) = copied(one._exchanges)
    cut, whole = Message("assistant", text.split()[0], interrupted=True), Message("assistant", text)
    audio = voice(1.7, 3)
    one.overhear(audio[:20_000], (Message("user", ""), cut))
    assert one._exchanges[0].rounds[0].said != exchange.rounds[0].said
    assert said(list(one.reply(Turn(1, (Message("user", ""), whole), audio))))[1]
    assert one._exchanges[0].rounds == exchange.rounds


def test_little_is_left_when_the_turn_ends(folder: Path) -> None:
    live, whole, audio = talker(folder), talker(folder), voice(3.0, 2)
    live.overhear(audio, ())
    fed = int(live._talk.rows.lm.fed[0])
    list(live.reply(Turn(0, (), audio)))
    list(whole.reply(Turn(0, (), audio)))
    began = whole._talk.calls[0].began
    assert began is not None
    assert began - fed <= 6


def test_sound_that_there_is_no_room_for_is_told_once_by_the_reply(folder: Path) -> None:
    live, endless = talker(folder), voice(900)
    live.overhear(endless, ())
    live.overhear(endless, ())
    assert live._deaf
    assert "memory has room" in str(next(iter(live.reply(Turn(0, (), endless)))))
    assert said(list(live.reply(Turn(1, (), voice(0.9))))) == said(list(talker(folder).reply(Turn(1, (), voice(0.9)))))


@dataclass
class Deaf:
    """A system that overhears nothing."""

    system: TurnTaker
    said_hz: int

    def reply(self, turn: Turn):  # type: ignore[no-untyped-def]
        return self.system.reply(turn)


def test_a_call_is_the_same_whether_it_overhears_or_not(folder: Path) -> None:
    def call(system: TurnTaker) -> tuple[bytes, list[Event]]:
        live = TurnSession(system, LevelVad())
        sound = np.concatenate([voice(1.3, 4, 3.0), np.zeros(40_000), voice(2.0, 5, 3.0), np.zeros(60_000)])
        frames = [frame.astype(np.float32) for frame in sound[: len(sound) // 512 * 512].reshape(-1, 512)]
        heard: list[Said] = [live.step(np.clip(frame, -1, 1)) for frame in frames]
        return b"".join(frame.audio.tobytes() for frame in heard), [e for frame in heard for e in frame.events]

    one, two = talker(folder), talker(folder)
    assert isinstance(one, Overhears)
    assert not isinstance(Deaf(two, two.said_hz), Overhears)
    audio, events = call(one)
    assert (audio, events) == call(Deaf(two, two.said_hz))
    assert [event.kind for event in events].count("done") > 0
