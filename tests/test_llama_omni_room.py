"""How much sound LLaMA-Omni has room for: as much as its vectors take, which are words where its ears hear words."""

from __future__ import annotations

import pytest
import torch

from duologue.model.adapter import Ears
from duologue.model.whisper import Beyond, Length
from duologue.session import Failed, Turn
from duologue.streaming import Memory
from duologue.systems.llama_omni import LlamaOmni
from duologue.systems.llama_omni_conversation import Conversation
from duologue.systems.llama_omni_turns import Manner, Talker, Talking
from duologue.units.speaking import Speaking
from small_llama import tiny
from small_units import codec
from test_llama_omni import MEMORY, small, sound, whisper

SECONDS = (0.03, 0.5, 1.0, 1.01, 2.5)


@pytest.mark.parametrize("length", ["true", "padded"])
@pytest.mark.parametrize("beyond", ["windows", "cut"])
def test_whisper_knows_how_many_features_sound_has(length: Length, beyond: Beyond) -> None:
    ears = whisper(length, beyond)
    for audio in map(sound, SECONDS):
        assert ears.fewest(len(audio)) == len(ears.features(audio))


def test_nano_ears_know_how_many_features_sound_has_at_least() -> None:
    words = tiny().ears
    for ears in (words, words.ears):
        assert isinstance(ears, torch.nn.Module)
        known: Ears = ears  # type: ignore[assignment]
        for audio in map(sound, SECONDS):
            assert 0 <= known.fewest(len(audio)) <= len(known.features(audio))


def test_words_take_the_room_of_words() -> None:
    """More states than there is room for, and few words."""
    talking = Talking(tiny(), codec().said_hz, lambda: Speaking(codec()), lambda ids, _: (str(ids), ()))
    seconds = 30
    assert seconds * talking.model.ears.hz > talking.memory.slots
    parts = list(Talker(talking, manner=Manner(most=4)).reply(Turn(0, (), sound(seconds))))
    assert parts
    assert not [part for part in parts if isinstance(part, Failed)]


def test_too_many_words_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny()
    talk = Conversation(model, Memory(100))
    monkeypatch.setattr(model.ears, "features", lambda audio: torch.zeros(120, 64))
    with pytest.raises(ValueError, match="no room for 8 s of sound: 100 of 100 positions are left, and it takes 120"):
        talk.hear(sound(8))


def test_sound_that_is_cut_has_room() -> None:
    cutting = LlamaOmni(whisper("true", "cut"), small().lm, small().words, small().config)
    Conversation(cutting, MEMORY).hear(sound(60))
