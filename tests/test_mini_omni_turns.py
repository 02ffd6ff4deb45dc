"""Mini-Omni as somebody to talk with: turns, what was heard, words with their sound, a folder, a released one."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from duologue.dialogue import Message
from duologue.model.precision import Precision
from duologue.session import Failed, Part, Speech, Turn, Wrote
from duologue.sound import Audio
from duologue.sound.vad import EnergyVad
from duologue.systems.mini_omni import Question
from duologue.systems.mini_omni_aloud import Frames, paced
from duologue.systems.mini_omni_decoding import Decoding, answered
from duologue.systems.mini_omni_turns import Talker, Talking, nano, stacked, talker
from duologue.talk import converse
from duologue.turns import TurnSession
from duologue.units import snac_nano
from duologue.units.snac import Snac
from duologue.verbs import system
from small_mini import WORDS, kept, levels

HOW = Decoding(parallel=True, most_steps=40)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("mini_omni") / "model"
    kept(path)
    return path


@pytest.fixture
def talking(folder: Path) -> Talking:
    return nano(folder)


def sound(seconds: float = 1.0, seed: int = 0) -> Audio:
    return np.random.default_rng(seed).normal(0, 0.1, round(seconds * 16_000)).astype(np.float32)


def said(parts: list[Part]) -> tuple[str, bytes]:
    text = "".join(part.text for part in parts if isinstance(part, Wrote))
    assert "".join(part.text for part in parts if isinstance(part, Speech)) == text
    return text, b"".join(part.audio.tobytes() for part in parts if isinstance(part, Speech))


def answer(talker: Talker, number: int, history: tuple[Message, ...] = (), seed: int = 0) -> tuple[str, bytes]:
    return said(list(talker.reply(Turn(number, history, sound(seed=seed)))))


@torch.no_grad()
def whole_sound(codec: Snac, frames: torch.Tensor) -> Audio:
    """Of codes [T, 7], all at once."""
    return codec(frames.T[None])[0].clamp(-1, 1).numpy() if len(frames) else np.zeros(0, np.float32)


# ---------------------------------------------------------------- turns


@pytest.mark.parametrize("parallel", [False, True])
def test_an_answer_is_that_of_the_model(talking: Talking, folder: Path, parallel: bool) -> None:
    """Its text and all of its sound, with its tail, as if both had been made at once."""
    how = replace(HOW, parallel=parallel)
    text, audio = answer(Talker(talking, how=how), 0)
    steps = list(answered(talking.model, Question("A1A2", talking.hears(sound())), how))
    frames = [step.frame for step in steps if step.frame]
    whole = whole_sound(snac_nano.load(folder / snac_nano.CODEC), torch.tensor(frames))
    assert text == talking.text_of([step.text for step in steps if step.text is not None], ())[0]
    assert len(frames) > 3
    np.testing.assert_allclose(np.frombuffer(audio, np.float32), whole, atol=1e-5)


def test_a_turn_that_was_none_changes_nothing(talking: Talking) -> None:
    one, two = Talker(talking, how=HOW), Talker(talking, how=HOW)
    parts = two.reply(Turn(0, (), sound(seed=3)))
    next(parts)
    parts.close()
    assert answer(two, 1, (), seed=1) == answer(one, 0, (), seed=1)


def test_what_was_heard_is_remembered_and_what_was_not_heard_is_not(talking: Talking) -> None:
    """Cut after two words, as if the answer had been these two words."""
    one = Talker(talking, how=HOW)
    text, _ = answer(one, 0)
    heard = " ".join(text.split()[:2])
    cut = (Message("user", ""), Message("assistant", heard, interrupted=True))
    again = answer(one, 1, cut, seed=2)
    before = ((talking.hears(sound()), WORDS(heard).input_ids),)
    steps = answered(talking.model, Question("A1A2", talking.hears(sound(seed=2)), (), before), HOW)
    assert again[0] == talking.text_of([step.text for step in steps if step.text is not None], ())[0]
    assert again != answer(Talker(talking, how=HOW), 0, (), seed=2)
    whole = Talker(talking, how=HOW)
    text, _ = answer(whole, 0)
    assert again != answer(whole, 1, (Message("user", ""), Message("assistant", text)), seed=2)


def test_of_an_answer_that_nobody_heard_nothing_is_kept(talking: Talking) -> None:
    one = Talker(talking, how=HOW)
    answer(one, 0)
    answer(one, 1, (Message("user", ""),), seed=2)
    assert [len(turn.said) > 0 for turn in one._turns] == [False, True]


def test_a_conversation_from_elsewhere_is_read(talking: Talking) -> None:
    history = (Message("user", "what is two"), Message("assistant", "four"), Message("user", "and"))
    one = Talker(talking, how=HOW)
    first = answer(one, 5, history, seed=1)
    assert first == answer(Talker(talking, how=HOW), 5, history, seed=1)
    assert first != answer(Talker(talking, how=HOW), 0, (), seed=1)
    assert [list(turn.typed) for turn in one._turns[:2]] == [WORDS("what is two").input_ids, WORDS("and").input_ids]


def test_a_typed_turn_is_answered_aloud(talking: Talking) -> None:
    text, audio = said(list(Talker(talking, how=HOW).reply(Turn(0, (), None, "what is two plus two"))))
    assert text
    assert audio


def test_a_long_call_is_bounded_and_never_fails(talking: Talking) -> None:
    one, history = Talker(talking, how=HOW), list[Message]()
    for number in range(12):
        parts = list(one.reply(Turn(number, tuple(history), sound(seed=number))))
        assert not [part for part in parts if isinstance(part, Failed)]
        history += [Message("user", ""), Message("assistant", said(parts)[0])]
    asked = one._question()
    assert 0 < len(asked.history) < 11
    assert sum(turn.steps for turn in one._turns) > talking.longest


def test_no_sound_is_told_and_the_call_goes_on(talking: Talking) -> None:
    one = Talker(talking, how=HOW)
    (failed,) = one.reply(Turn(0, (), np.zeros(0, np.float32)))
    assert isinstance(failed, Failed)
    assert answer(one, 1) == answer(Talker(talking, how=HOW), 0)


def test_what_was_heard_outlives_a_turn_that_failed(talking: Talking) -> None:
    """One in which nothing could be heard, and one that failed while it was answered."""
    one, two = Talker(talking, how=HOW), Talker(talking, how=HOW)
    text, _ = answer(one, 0)
    assert answer(two, 0)[0] == text
    before = (Message("user", ""), Message("assistant", text))
    assert [type(part) for part in one.reply(Turn(1, before, np.zeros(0, np.float32)))] == [Failed]
    one.talking = replace(talking, hears=lambda audio: torch.full_like(talking.hears(audio), torch.nan))
    after = (*before, Message("user", ""))
    assert [type(part) for part in one.reply(Turn(2, after, sound()))] == [Failed]
    one.talking = talking
    third = answer(one, 3, (*after, Message("user", "")), seed=2)
    assert third == answer(two, 1, before, seed=2)
    assert third != answer(Talker(talking, how=HOW), 0, (), seed=2)


def test_numbers_that_are_too_large_are_told_and_the_call_goes_on(talking: Talking) -> None:
    """Told once, in the states or in the logits alone, and in the middle of an answer."""
    lm, rows = talking.model.lm, talking.model.added.books.head.weight
    one, two = Talker(talking, how=HOW), Talker(talking, how=HOW)
    for weight in (lm.model.norm.weight, rows):
        kept = weight.data.clone()
        parts = one.reply(Turn(0, (), sound()))
        next(parts)
        weight.data.fill_(torch.inf)
        *_, failed = parts
        assert isinstance(failed, Failed)
        assert "no finite numbers in float32" in failed.message
        weight.data.copy_(kept)
    assert answer(one, 1, (Message("user", ""), Message("assistant", "two")), 1) == answer(two, 0, (), 1)


def test_it_talks_in_a_session(talking: Talking) -> None:
    heard = np.concatenate((np.zeros(8000), sound(1.0), np.zeros(64_000))).astype(np.float32)
    conversation = converse(TurnSession(Talker(talking, how=HOW), EnergyVad()), heard)
    kinds = [event.kind for event in conversation.events]
    assert kinds.count("turn") == kinds.count("done") == 1
    assert conversation.sound[:, 1].any()


# ---------------------------------------------------------------- sound


@given(st.lists(st.integers(0, 4), max_size=6), st.integers(0, 100))
def test_frames_become_the_same_sound_however_they_come(cuts: list[int], seed: int) -> None:
    codes = torch.randint(levels().codes, (sum(cuts), 7), generator=torch.Generator().manual_seed(seed))
    voice, pieces, units = Frames(levels()), list[Audio](), iter(codes)
    for count in cuts:
        pieces.append(voice.say([int(code) for _ in range(count) for code in next(units)]))
    made = np.concatenate((*pieces, voice.say((), last=True)))
    np.testing.assert_allclose(made, whole_sound(levels(), codes), atol=1e-5)


def parts(texts: list[str], samples: int) -> Iterator[Part]:
    for text in texts:
        yield Wrote(text)
        yield Speech(np.zeros(samples, np.float32), text)


@given(st.lists(st.text("ab .", max_size=12), max_size=8), st.integers(0, 3000))
def test_words_come_with_their_sound_and_none_is_lost(texts: list[str], samples: int) -> None:
    found = [part for part in paced(parts(texts, samples), 1000, 10.0) if isinstance(part, Speech)]
    assert "".join(part.text for part in found) == "".join(texts)
    assert sum(len(part.audio) for part in found) == samples * len(texts)
    letters, heard = 0, 0
    for part in found:
        heard += len(part.audio)
        words = part.text.split()
        assert not words or not len(part.audio) or letters <= heard / 1000 * 10 + len(part.text)
        letters += len(part.text)


def test_a_word_waits_until_it_is_said() -> None:
    written = [Wrote("one two three"), Speech(np.zeros(100, np.float32), "one two three")]
    more = [Speech(np.zeros(100, np.float32)) for _ in range(12)]
    texts = [part.text for part in paced([*written, *more], 1000, 10.0) if isinstance(part, Speech)]
    assert [(n, text) for n, text in enumerate(texts) if text] == [(0, "one"), (3, " two"), (7, " three")]


def test_states_of_the_ears_are_gathered() -> None:
    states = torch.arange(22.0).view(11, 2)
    assert stacked(states, 5).tolist() == [[*map(float, range(10))], [*map(float, range(10, 20))]]
    with pytest.raises(ValueError, match="4 states of the ears are no feature: it takes 5"):
        stacked(states[:4], 5)


# ---------------------------------------------------------------- on the disk


@pytest.mark.parametrize("bits", ["bfloat16", "int8"])
def test_a_folder_talks_in_fewer_bits(folder: Path, bits: Precision) -> None:
    one = talker(folder, how=HOW, dtype=bits)
    assert {weight.dtype for weight in one.talking.model.parameters()} == {torch.bfloat16}
    assert any(isinstance(layer, torch.nn.Linear) for layer in one.talking.model.modules()) == (bits == "bfloat16")
    assert answer(one, 0)[0]


def test_a_setting_that_a_system_does_not_have_is_refused(folder: Path) -> None:
    def asked(*words: str) -> argparse.Namespace:
        parser = argparse.ArgumentParser()
        system.options(parser)
        return parser.parse_args(["--model", str(folder), *words])

    given = asked("--system", "mini_omni", "--dtype", "int8")
    assert not system.is_duplex(given)
    talk = system.turn_taker(given, datetime.now)()
    assert isinstance(talk, Talker)
    assert talk.talking is nano(folder, "int8")
    with pytest.raises(ValueError, match="not offered in int4: choose float32, bfloat16 or int8"):
        system.turn_taker(asked("--system", "mini_omni", "--dtype", "int4"), datetime.now)
    with pytest.raises(ValueError, match="--dtype is a setting of llama_omni and mini_omni; leave it out for sync_llm"):
        system.is_duplex(asked("--system", "sync_llm", "--dtype", "int8"))


def test_a_folder_without_a_part_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no model of Mini-Omni"):
        talker(tmp_path)
    for file in folder.iterdir():
        if file.name != "levels.safetensors":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    with pytest.raises(FileNotFoundError, match=r"recipes/nano_levels\.py makes one"):
        talker(tmp_path)
    (tmp_path / "lit_model.pth").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match=r"lacks small\.pt and snac_24khz"):
        talker(tmp_path)
