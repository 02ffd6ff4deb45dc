"""LLaMA-Omni as somebody to talk with: turns, what was heard, folders; and both stages of its training by heart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from math import inf
from pathlib import Path
from shutil import copyfile, copytree
from typing import Literal

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from conftest import need
from duologue.dialogue import Message
from duologue.model.ctc import Collapse
from duologue.model.whisper import Beyond, Whisper, WhisperSizes
from duologue.session import Failed, Part, Speech, Turn, Wrote
from duologue.sound.vad import EnergyVad
from duologue.systems import llama_omni_released
from duologue.systems.llama_omni import LlamaOmni
from duologue.systems.llama_omni_folder import load, save
from duologue.systems.llama_omni_stages import (
    PAD,
    AnsweringLessons,
    Exchange,
    SpeakingLessons,
    answering_example,
    speaking_examples,
)
from duologue.systems.llama_omni_turns import VOCODER, Manner, Talker, Talking, talker
from duologue.talk import converse
from duologue.train import OwnLoss, Run, Stage, train
from duologue.turns import TurnSession
from duologue.units import nano_codec
from duologue.units.speaking import Speaking
from small_llama import kept, tiny
from small_units import codec
from test_llama_omni import small, sound, whisper


def talking(**manner: float) -> Talker:
    model = small()
    model.config = replace(model.config, longest=200)
    talking = Talking(model, codec().said_hz, partial(Speaking, codec()), text_of)
    return Talker(talking, manner=Manner(**{"omega": 5, "most": 12} | manner))  # type: ignore[arg-type]


def text_of(ids: Sequence[int], _: object) -> tuple[str, tuple[()]]:
    return str(small().words.decode(ids)), ()


def said(parts: list[Part]) -> tuple[str, bytes]:
    text = "".join(part.text for part in parts if isinstance(part, Wrote))
    spoken = "".join(part.text for part in parts if isinstance(part, Speech))
    assert spoken == text
    return text, b"".join(part.audio.tobytes() for part in parts if isinstance(part, Speech))


def answer(talker: Talker, number: int, history: tuple[Message, ...] = (), seed: int = 0) -> tuple[str, bytes]:
    return said(list(talker.reply(Turn(number, history, sound(seed=seed)))))


# ---------------------------------------------------------------- turns


def test_an_answer_is_text_and_sound_in_segments() -> None:
    text, audio = answer(talking(), 0)
    assert text
    assert len(audio) > 4 * 640
    for omega in (1, float("inf")):
        same, sounds = answer(talking(omega=omega), 0)
        assert same == text
        np.testing.assert_allclose(np.frombuffer(sounds, np.float32), np.frombuffer(audio, np.float32), atol=1e-5)


def test_a_turn_that_was_none_changes_nothing() -> None:
    one, two = talking(), talking()
    parts = two.reply(Turn(0, (), sound(seed=3)))
    next(parts)
    parts.close()
    assert answer(two, 1, (), seed=1) == answer(one, 0, (), seed=1)


def test_what_was_not_heard_was_not_said() -> None:
    """Cut after two words, as if the answer had been these two words."""
    one, two = talking(), talking()
    text, _ = answer(one, 0)
    heard = " ".join(text.split()[:2])
    history = (Message("user", ""), Message("assistant", heard, interrupted=True))
    kept = len(one._model.ids_of(heard))
    goes_on = answer(one, 1, history, seed=2)
    list(two.reply(Turn(0, (), sound())))
    two._conversation.keep(kept)
    two._conversation.hear(sound(seed=2))
    assert goes_on == said(list(two._answer()))
    assert goes_on != answer(talking(), 0, (), seed=2)


def test_of_an_answer_that_nobody_heard_nothing_is_kept() -> None:
    one = talking()
    answer(one, 0)
    answer(one, 1, (Message("user", ""),), seed=2)
    fed = int(one._conversation.state.fed[0])
    other = talking()
    answer(other, 0)
    answer(other, 1, (Message("user", ""), Message("assistant", "two", interrupted=True)), seed=2)
    assert int(other._conversation.state.fed[0]) > 0
    assert fed != int(other._conversation.state.fed[0]) or one._conversation.said != other._conversation.said


def test_a_conversation_from_elsewhere_is_read() -> None:
    history = (Message("user", "what is two"), Message("assistant", "four"), Message("user", "and"))
    one = talking()
    first = answer(one, 5, history, seed=1)
    assert first == answer(talking(), 5, history, seed=1)
    assert first != answer(talking(), 0, (), seed=1)
    assert len(one._before) == 3


def test_a_long_call_is_bounded_and_never_fails() -> None:
    one, history = talking(), list[Message]()
    for number in range(12):
        parts = list(one.reply(Turn(number, tuple(history), sound(seed=number))))
        assert not [part for part in parts if isinstance(part, Failed)]
        history += [Message("user", ""), Message("assistant", said(parts)[0])]
    assert int(one._conversation.state.dropped[0]) > 0


def test_omega_may_change_between_turns_and_what_is_said_does_not() -> None:
    one, first, told = talking(), list[int](), list[tuple[str, bytes]]()
    for number, omega in enumerate((1, 5, inf)):
        one.manner = replace(one.manner, omega=omega)
        parts = list(one.reply(Turn(number, (), sound())))
        told.append(said(parts))
        sounding = next(n for n, part in enumerate(parts) if isinstance(part, Speech) and len(part.audio))
        first.append(sum(isinstance(part, Wrote) for part in parts[:sounding]))
    assert first[0] < first[-1]
    assert first == sorted(first)
    for text, audio in told[1:]:
        assert text == told[0][0]
        np.testing.assert_allclose(np.frombuffer(audio, np.float32), np.frombuffer(told[0][1], np.float32), atol=1e-5)


def test_it_talks_in_a_session() -> None:
    heard = np.concatenate((np.zeros(8000), sound(1.0), np.zeros(32_000))).astype(np.float32)
    conversation = converse(TurnSession(talking(), EnergyVad()), heard)
    kinds = [event.kind for event in conversation.events]
    assert kinds.count("turn") == kinds.count("done") == 1
    assert conversation.sound[:, 1].any()


# ---------------------------------------------------------------- on the disk


def test_a_folder_holds_all_of_it(tmp_path: Path) -> None:
    model = tiny()
    save(model, tmp_path)
    nano_codec.save(codec(), tmp_path / nano_codec.CODEC)
    again = load(tmp_path)
    assert again.config == model.config
    for name, value in model.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], value, atol=2e-2, rtol=2e-2)
    assert isinstance(next(iter(talker(tmp_path).reply(Turn(0, (), sound())))), Wrote | Speech)
    (tmp_path / "llama_omni.safetensors").write_bytes(b"none")
    with pytest.raises(ValueError, match="cannot be read"):
        load(tmp_path)
    with pytest.raises(ValueError, match="no LLaMA-Omni of ours"):
        load(tmp_path / "elsewhere")
    model.ears = torch.nn.Linear(1, 1)
    with pytest.raises(TypeError, match="ears of type Linear are not kept here: only WordEars and Whisper are"):
        save(model, tmp_path)


@pytest.mark.parametrize("beyond", ["windows", "cut"])
def test_a_folder_holds_whisper_too(tmp_path: Path, beyond: Beyond) -> None:
    model = LlamaOmni(whisper("padded", beyond), small().lm, small().words, small().config)
    save(model, tmp_path)
    nano_codec.save(codec(), tmp_path / nano_codec.CODEC)
    again = load(tmp_path)
    torch.testing.assert_close(again.state_dict(), model.state_dict(), atol=0, rtol=0)
    assert isinstance(again.ears, Whisper)
    assert (again.ears.sizes, again.ears.length, again.ears.beyond) == (model.ears.sizes, "padded", beyond)
    spoken = [part for part in talker(tmp_path).reply(Turn(0, (), sound(1.5))) if isinstance(part, Speech)]
    assert spoken
    assert next(load(tmp_path, torch.bfloat16).ears.parameters()).dtype == torch.bfloat16


@pytest.mark.parametrize(("bits", "least"), [("int8", 0.99), ("int4", 0.9)])
def test_a_folder_is_loaded_in_few_bits(tmp_path: Path, bits: Literal["int8", "int4"], least: float) -> None:
    kept(tmp_path / "model")
    whole, small = load(tmp_path / "model"), load(tmp_path / "model", bits)
    assert not any(isinstance(layer, torch.nn.Linear) for layer in small.lm.modules())
    states = torch.randn(1, 6, 64)
    one, other = (
        model.lm.get_decoder()(inputs_embeds=states.to(model.lm.dtype), use_cache=False).last_hidden_state
        for model in (whole, small)
    )
    assert least < torch.nn.functional.cosine_similarity(one.ravel(), other.float().ravel(), 0) < 0.99999
    talk = talker(tmp_path / "model", dtype=bits)
    assert said(list(talk.reply(Turn(0, (), sound()))))[1]


def test_the_released_model_talks_with_its_vocoder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pytestconfig: pytest.Config
) -> None:
    """The golden model and vocoder, laid out as they were released."""
    golden = Path(pytestconfig.getoption("--goldens")) / "llama_omni"
    need(golden.is_dir(), f"the goldens in {golden}")
    for name in ("model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json"):
        copyfile(golden / name, tmp_path / name)
    with pytest.raises(FileNotFoundError, match="lacks vocoder/g_00500000 and vocoder/config.json"):
        talker(tmp_path)
    (tmp_path / "vocoder").mkdir()
    copyfile(golden / "vocoder_config.json", tmp_path / VOCODER[1])
    torch.save({"generator": load_file(golden / "vocoder.safetensors")}, tmp_path / VOCODER[0])
    small_ears = WhisperSizes(8, 52, 12, 2, 2)
    load_released = partial(llama_omni_released.load, ears=small_ears)
    monkeypatch.setattr(llama_omni_released, "load", load_released)
    one = talker(tmp_path, manner=Manner(omega=10, most=8))
    text, audio = answer(one, 0)
    assert text
    assert len(audio) > 4 * 320
    save(load_released(tmp_path), tmp_path / "ours")
    copytree(tmp_path / "vocoder", tmp_path / "ours" / "vocoder")
    assert answer(talker(tmp_path / "ours", manner=one.manner), 0) == (text, audio)


# ---------------------------------------------------------------- learning


def lessons(model: LlamaOmni) -> list[list[Exchange]]:
    draw = np.random.default_rng(0)

    def heard(frames: int) -> np.ndarray:
        return draw.normal(0, 1, (frames, model.ears.width)).astype(np.float16)

    return [
        [Exchange(heard(9), "two plus two is four", (3, 3, 7, 9, 1))],
        [Exchange(heard(7), "seven", (5, 6)), Exchange("what is two", "two is two")],
        [Exchange("you said seven", "seven", ()), Exchange(heard(4), "four", (8, 2, 8))],
    ]


def test_an_example_is_what_is_heard_when_talking() -> None:
    """The states of training are those of a live conversation."""
    model = tiny()
    (exchange,) = lessons(model)[0]
    example = answering_example(model, [exchange])
    batch = {name: torch.from_numpy(array)[None] for name, array in example.items()}
    chat, features = model.config.chat, torch.from_numpy(np.asarray(exchange.asked)).float()
    ids = model.ids_of(chat.opening() + chat.question(chat.request) + exchange.answer + chat.end)
    embedded = model.embedded(ids, [model.adapter(features)])
    whole = model.lm.get_decoder()(inputs_embeds=embedded[None], use_cache=False).last_hidden_state
    torch.testing.assert_close(AnsweringLessons(model).eval().states(batch), whole)
    assert example["said"].sum() == 6
    assert [int(token) for token in example["tokens"][example["said"]]] == ids[-6:]


def test_two_stages_are_learnt_by_heart(tmp_path: Path) -> None:
    model = tiny()
    conversations = lessons(model)
    rows = [answering_example(model, conversation) for conversation in conversations]
    stage = Stage("answering", 1e-2, 64, steps=60, trains=("adapter.*", "lm.*"), row_tokens=64)
    train(AnsweringLessons(model), stage, Run(tmp_path / "answering", quiet=True), rows)
    spoken = list(speaking_examples(model.eval(), conversations))
    assert [example["units"].tolist() for example in spoken] == [[3, 3, 7, 9, 1], [5, 6], [8, 2, 8]]
    before = {name: value.clone() for name, value in model.lm.state_dict().items()}
    stage = Stage("speaking", 1e-2, 64, steps=150, trains=("speech.*",))
    train(SpeakingLessons(model), stage, Run(tmp_path / "speaking", quiet=True), spoken, objective=OwnLoss(), pad=PAD)
    assert all(torch.equal(value, before[name]) for name, value in model.lm.state_dict().items())
    model.eval()
    for example in spoken:
        labels = model.speech(torch.from_numpy(example["states"]).float()[None])[0].argmax(-1).tolist()
        assert Collapse(model.speech.blank).push(labels) == example["units"].tolist()
