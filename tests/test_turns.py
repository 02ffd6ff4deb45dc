"""Turn-taking, frame by frame: who speaks, who gives way, and what is remembered."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duologue.dialogue import Message
from duologue.session import Audio, Event, Part, Said, Speech, Turn
from duologue.sound.utterance import UtteranceSettings
from duologue.turns import TurnSession, TurnSettings
from scripted import LOUD, QUIET, LevelVad, ScriptedSystem, tone

FRAME_MS = 32


def session(system: ScriptedSystem, **changes: object) -> TurnSession:
    return TurnSession(system, LevelVad(), dataclasses.replace(TurnSettings(), **changes))  # type: ignore[arg-type]


def run(live: TurnSession, frames: list[Audio]) -> tuple[list[Said], list[Event]]:
    said = [live.step(frame) for frame in frames]
    return said, [event for frame in said for event in frame.events]


def kinds(events: list[Event]) -> list[str]:
    return [event.kind for event in events]


def speech(frames: int) -> list[Audio]:
    return [LOUD] * frames


def silence(frames: int) -> list[Audio]:
    return [QUIET] * frames


def end_of_turn_frames(settings: UtteranceSettings) -> int:
    return math.ceil(settings.min_silence_ms / FRAME_MS)


def test_a_turn_is_answered_once_it_is_over() -> None:
    system = ScriptedSystem(["hello"], [["Hello there."]])
    live = session(system)
    said, events = run(live, speech(20) + silence(60))
    assert kinds(events) == ["speech_started", "speech_stopped", "turn", "heard", "said", "done"]
    assert live.history == (Message("user", "hello"), Message("assistant", "Hello there."))
    spoken = np.concatenate([frame.audio for frame in said])
    first = int(np.flatnonzero(spoken)[0]) // live.said_samples
    assert first == 20 + end_of_turn_frames(live.settings.utterance) - 1
    whole = tone("Hello there.")
    np.testing.assert_array_equal(spoken[first * live.said_samples :][: len(whole)], whole)
    assert not spoken[first * live.said_samples + len(whole) :].any()


def test_what_is_heard_holds_the_pre_roll_and_the_pauses() -> None:
    system = ScriptedSystem(["hello"], [["Yes."]])
    run(session(system), silence(20) + speech(10) + silence(10) + speech(10) + silence(40))
    audio = system.turns[0].audio
    assert audio is not None
    voiced = np.flatnonzero(np.abs(audio) > 0.1)
    assert voiced[0] >= 0.2 * 16_000
    assert voiced[-1] - voiced[0] + 1 == 30 * 512


@pytest.mark.parametrize("confirm_ms", [100, 128, 200, 300])
@pytest.mark.parametrize("offset", [0, 3, 11])
def test_speech_stops_the_reply_within_the_confirm_time_and_one_frame(confirm_ms: int, offset: int) -> None:
    system = ScriptedSystem(["tell me", "stop"], [["A long story that goes on and on and on and on."], ["Fine."]])
    live = session(system, confirm_ms=confirm_ms)
    run(live, speech(10) + silence(25 + offset))
    assert live.replying
    said, events = run(live, speech(30))
    audible = [bool(frame.audio.any()) for frame in said]
    last = max(i for i, sound in enumerate(audible) if sound)
    assert (last + 1) * FRAME_MS <= confirm_ms + FRAME_MS
    assert last + 1 == math.ceil(confirm_ms / FRAME_MS) - 1, "and it does not stop before speech is confirmed"
    stopped = next(event for event in events if event.kind == "stopped")
    assert stopped.data["reason"] == "speech"


def test_nothing_runs_ahead_of_the_sound_and_giving_way_closes_the_generator() -> None:
    pieces = [f"Sentence {i}." for i in range(9)]
    system = ScriptedSystem(["tell me", "stop"], [pieces, ["Fine."]])
    live = session(system)
    run(live, speech(10) + silence(35) + speech(8))
    made = len(system.made)
    assert not live.replying
    assert 0 < made < 4
    run(live, speech(30))
    assert system.closed == 1, "speech too long for a back-channel closes the reply before its words are known"
    assert len(system.made) == made


def test_history_keeps_what_was_heard_and_marks_the_cut() -> None:
    system = ScriptedSystem(["tell me", "stop"], [["One two three four five six."], ["Fine."]])
    live = session(system)
    _, events = run(live, speech(10) + silence(30) + speech(20) + silence(60))
    _, cut, _, _ = live.history
    assert [message.role for message in live.history] == ["user", "assistant", "user", "assistant"]
    assert cut.interrupted
    assert cut.text
    assert "One two three four five six.".startswith(cut.text)
    assert cut.text[-1].isalpha()
    stopped = next(event for event in events if event.kind == "stopped")
    assert stopped.data["heard_text"] == cut.text
    assert system.turns[1].history == live.history[:2]


def test_a_backchannel_lets_the_reply_go_on_without_losing_a_sample() -> None:
    answer = "A long story that goes on and on and on and on."
    system = ScriptedSystem(["tell me", "mm-hm"], [[answer, " The end."], []])
    live = session(system)
    said, events = run(live, speech(10) + silence(30) + speech(12) + silence(200))
    assert "resumed" in kinds(events)
    spoken = np.concatenate([frame.audio for frame in said])
    voiced = spoken[np.flatnonzero(spoken)]
    whole = np.concatenate((tone(answer), tone(" The end.")))
    np.testing.assert_array_equal(voiced, whole[np.flatnonzero(whole)])
    assert live.history == (Message("user", "tell me"), Message("assistant", answer + " The end."))
    assert "".join(frame.text for frame in said) == answer + " The end."


def test_a_server_ahead_of_the_loudspeaker_resumes_at_the_sample_that_was_heard() -> None:
    answer = "A long story that goes on and on and on and on."
    live = session(ScriptedSystem(["tell me", "mm-hm"], [[answer], []]))
    for frame in speech(10) + silence(20):
        live.hear(frame)
    sent = np.concatenate([live.say().audio for _ in range(20)])
    heard_samples = 7 * live.said_samples + 5
    live.played(1, heard_samples)
    stopped = [event for frame in speech(10) for event in live.hear(frame) if event.kind == "stopped"]
    assert stopped[0].data["heard_text"] == answer[: len(stopped[0].data["heard_text"])] != answer
    for frame in silence(20):
        live.hear(frame)
    said = [live.say() for _ in range(100)]
    (resumed,) = (event for frame in said for event in frame.events if event.kind == "resumed")
    assert resumed.data["from_samples"] == heard_samples
    assert stopped[0].data["heard_text"] + resumed.data["text"] == answer
    whole = np.concatenate((sent[:heard_samples], *(frame.audio for frame in said)))
    np.testing.assert_array_equal(whole[: len(tone(answer))], tone(answer))


def test_more_than_was_sent_cannot_have_been_heard() -> None:
    live = session(ScriptedSystem(["tell me", "stop"], [["One two three four five six seven eight."], ["Fine."]]))
    for frame in speech(10) + silence(20):
        live.hear(frame)
    for _ in range(10):
        live.say()
    live.played(1, 10**9)
    (stopped,) = live.cancel()
    assert stopped.data["heard_text"] == "One"
    assert live.history[-1].interrupted


def test_sound_that_comes_in_crumbs_is_said_without_a_gap() -> None:
    whole = tone("crumbs and crumbs")

    class Crumbs:
        said_hz = 24_000

        def reply(self, turn: Turn) -> Iterator[Part | None]:
            for start in range(0, len(whole), 300):
                yield Speech(whole[start : start + 300], "" if start else "crumbs and crumbs")
                yield None

    said, _ = run(TurnSession(Crumbs(), LevelVad()), speech(10) + silence(200))
    audio = np.concatenate([frame.audio for frame in said]).reshape(-1, 768)
    np.testing.assert_array_equal(audio[audio.any(axis=1)].reshape(-1)[: len(whole)], whole)


def test_two_utterances_heard_in_one_burst_are_one_turn() -> None:
    system = ScriptedSystem(["both"], [["Fine."]])
    live = session(system)
    for frame in (speech(10) + silence(30)) * 2:
        live.hear(frame)
    live.say()
    assert len(system.turns) == 1
    assert system.turns[0].audio is not None
    assert np.count_nonzero(np.abs(system.turns[0].audio) > 0.1) == 20 * 512


def test_noise_without_words_lets_the_reply_go_on() -> None:
    system = ScriptedSystem(["tell me", ""], [["A long story that goes on and on."], []])
    live = session(system)
    run(live, speech(10) + silence(30) + speech(8) + silence(150))
    assert live.history == (Message("user", "tell me"), Message("assistant", "A long story that goes on and on."))


def test_a_short_noise_stops_nothing() -> None:
    system = ScriptedSystem(["tell me"], [["A long story that goes on and on."]])
    _, events = run(session(system), speech(10) + silence(30) + speech(4) + silence(100))
    assert "stopped" not in kinds(events)
    assert len(system.turns) == 1


def test_speaking_on_before_anything_was_understood_joins_the_two() -> None:
    system = ScriptedSystem(["", "all of it"], [[], ["Fine."]], delay_frames=30)
    live = session(system)
    run(live, speech(10) + silence(25) + speech(20) + silence(120))
    first, second = system.turns
    assert first.audio is not None
    assert second.audio is not None
    np.testing.assert_array_equal(second.audio[: len(first.audio)], first.audio)
    assert live.history == (Message("user", "all of it"), Message("assistant", "Fine."))


def test_interruptions_can_be_turned_off() -> None:
    system = ScriptedSystem(["tell me", "more"], [["A long story that goes on and on."], ["Fine."]])
    live = session(system, interrupt=False)
    _, events = run(live, speech(10) + silence(30) + speech(12) + silence(200))
    assert "stopped" not in kinds(events)
    assert [m.text for m in live.history] == ["tell me", "A long story that goes on and on.", "more", "Fine."]


def test_typed_words_cancel_the_reply_and_are_answered() -> None:
    system = ScriptedSystem(["tell me", ""], [["A long story that goes on and on."], ["Typed answer."]])
    live = session(system)
    run(live, speech(10) + silence(30))
    events = live.ask("and now?")
    assert kinds(list(events)) == ["stopped"]
    run(live, silence(60))
    assert [m.text for m in live.history][-2:] == ["and now?", "Typed answer."]
    assert live.history[1].interrupted


def test_cancel_leaves_silence() -> None:
    system = ScriptedSystem(["tell me"], [["A long story that goes on and on."]])
    live = session(system)
    run(live, speech(10) + silence(30))
    live.cancel()
    said, _ = run(live, silence(20))
    assert not any(frame.audio.any() for frame in said)
    assert system.closed == 1


class Failing:
    said_hz = 24_000

    def reply(self, turn: Turn) -> Iterator[Part | None]:
        yield Speech(tone("Well"), "Well")
        raise RuntimeError("the plug was pulled")


def test_a_failing_system_ends_its_turn_and_not_the_call() -> None:
    live = TurnSession(Failing(), LevelVad())
    _, events = run(live, (speech(10) + silence(60)) * 2)
    failures = [event for event in events if event.kind == "failed"]
    assert len(failures) == 2
    assert "the plug was pulled" in failures[0].data["message"]


@pytest.mark.parametrize("bad", [np.zeros(511, np.float32), np.full(512, np.nan, np.float32), np.zeros((512, 1))])
def test_a_bad_frame_is_refused_and_the_call_goes_on(bad: Audio) -> None:
    live = session(ScriptedSystem(["hello"], [["Yes."]]))
    with pytest.raises(ValueError, match="a frame is"):
        live.step(bad)
    _, events = run(live, speech(10) + silence(40))
    assert "done" in kinds(events)


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(1, 30), st.integers(1, 40)), max_size=8), st.integers(0, 4))
def test_one_frame_out_per_frame_in_and_every_turn_ends_once(spans: list[tuple[int, int]], delay: int) -> None:
    system = ScriptedSystem([f"words {i}" for i in range(99)], [["One two.", " Three four five."]] * 99, delay)
    live = session(system)
    frames = [frame for loud, quiet in spans for frame in speech(loud) + silence(quiet)] + silence(150)
    said, events = run(live, frames)
    assert len(said) == len(frames)
    assert all(frame.audio.shape == (live.said_samples,) for frame in said)
    assert not live.replying
    begun = [event.data["turn"] for event in events if event.kind == "heard"]
    ended = [event.data["turn"] for event in events if event.kind in ("done", "stopped")]
    assert len(begun) == len(set(begun))
    assert set(begun) <= set(ended)
    over: set[int] = set()
    for event in events:
        if event.kind in ("said", "wrote"):
            assert event.data["turn"] not in over, "nothing stale is said"
        if event.kind in ("done", "stopped"):
            over.add(event.data["turn"])


def test_the_same_frames_give_the_same_frames() -> None:
    rng = np.random.default_rng(0)
    frames = [LOUD if loud else QUIET for loud in rng.random(300).repeat(9) > 0.6]
    runs = []
    for _ in range(2):
        live = session(ScriptedSystem([f"words {i}" for i in range(99)], [["One two.", " Three."]] * 99))
        said, events = run(live, frames)
        runs.append((b"".join(frame.audio.tobytes() for frame in said), events, live.history))
    assert runs[0] == runs[1]


def test_every_turn_leaves_its_latency() -> None:
    live = session(ScriptedSystem(["hello"], [["Yes."]], delay_frames=5))
    _, events = run(live, speech(20) + silence(60))
    latency = next(event for event in events if event.kind == "done").data["latency"]
    assert latency["speech_end_s"] == pytest.approx(20 * 0.032)
    assert latency["end_point_s"] - latency["speech_end_s"] == pytest.approx(0.608)
    assert latency["transcript_s"] - latency["end_point_s"] == pytest.approx(5 * 0.032)
    assert latency["first_audio_s"] >= latency["transcript_s"]
