"""The nano ears: heard in pieces is heard at once, nothing is heard ahead, and a few words are learnt by heart."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from duologue.train import Run, Stage, train
from duologue.units.nano_ears import EarsConfig, NanoEars, load, save
from small_units import UNIT, noise
from test_recipes import recipe

WORDS = ("no", "one", "two", "yes")


@lru_cache
def ears() -> NanoEars:
    torch.manual_seed(0)
    return NanoEars(
        EarsConfig(WORDS, width=64, layers=2, n_mels=20, front_width=16, front_blocks=2, front_taps=3)
    ).eval()


def tones(units: int, seed: int) -> Tensor:
    """One tone for each unit."""
    hz = np.random.default_rng(seed).uniform(100, 4000, units).repeat(UNIT)
    return torch.from_numpy(np.sin(2 * np.pi * hz.cumsum() / 16_000)).float()[None]


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, 3 * UNIT), min_size=1, max_size=6))
def test_heard_in_pieces_is_heard_at_once(sizes: list[int]) -> None:
    audio = noise(2, sum(sizes), 1)
    state = ears().start(2)
    heard = [ears().hear(piece, state) for piece in audio.split(sizes, -1)]
    heard.append(ears().hear(audio[:, :0], state, last=True))
    torch.testing.assert_close(torch.cat(heard, 1), ears().whole(audio), atol=1e-5, rtol=1e-5)


def test_the_states_are_those_that_training_has() -> None:
    audio = noise(2, 7 * UNIT, 2)
    with torch.no_grad():
        trained = ears()(ears().front.all_vectors(audio))
        live = ears().body.get_output_embeddings()(ears().whole(audio))
    torch.testing.assert_close(live, trained, atol=1e-4, rtol=1e-4)


def test_an_utterance_is_samples_that_are_numbers() -> None:
    audio = noise(1, 5 * UNIT + 1, 5)
    torch.testing.assert_close(ears().features(audio[0].numpy()), ears().whole(audio)[0])
    for none in (np.zeros(0, np.float32), np.full(9, np.nan, np.float32), np.zeros((2, 9), np.float32)):
        with pytest.raises(ValueError, match="finite samples"):
            ears().features(none)


def test_nothing_is_heard_ahead() -> None:
    audio = noise(1, 8 * UNIT, 3)
    whole, cut = ears().whole(audio), ears().whole(audio[:, : 5 * UNIT])
    torch.testing.assert_close(whole[:, :5], cut, atol=1e-5, rtol=1e-5)


def test_an_utterance_without_end_is_heard_in_bounded_memory() -> None:
    state = ears().start(1)
    before = state.body.keys.shape
    for part in range(6):
        assert ears().hear(noise(1, 200 * UNIT, part), state).shape[1] == 200
    assert state.body.keys.shape == before


def test_a_word_that_is_told_again_at_once_is_the_same_word() -> None:
    rows = ears().body.get_output_embeddings().weight.detach()
    told = ("one", "one", None, "one", "two", None, None, None, "two")
    states = 100 * rows[[ears().nothing if word is None else WORDS.index(word) for word in told]]
    assert ears().read(states) == "one two two"


def test_weights_are_written_and_read(tmp_path: Path) -> None:
    save(ears(), tmp_path / "ears.safetensors")
    again = load(tmp_path / "ears.safetensors")
    audio = noise(1, 6 * UNIT, 4)
    assert again.config == ears().config
    torch.testing.assert_close(again.whole(audio), ears().whole(audio), atol=0.1, rtol=0.1)
    (tmp_path / "other.safetensors").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="no weights of nano ears"):
        load(tmp_path / "other.safetensors")
    with pytest.raises(FileNotFoundError, match=r"recipes/nano_ears\.py"):
        load(tmp_path / "none.safetensors")


def test_words_are_learnt_by_heart(tmp_path: Path) -> None:
    """Four sounds, each with its words; then they are heard in the sound, through the front and all."""
    made, learner = recipe("nano_ears"), ears()
    sounds = [tones(8, seed) for seed in range(4)]
    said = [["yes", "two"], ["no"], ["one", "one"], []]
    examples = []
    for audio, words in zip(sounds, said, strict=True):
        written = np.full(8, learner.nothing)
        for place, word in zip((2, 6), words, strict=False):
            written[place] = WORDS.index(word)
        with torch.no_grad():
            vectors = learner.front.all_vectors(audio)[0].numpy().astype(np.float16)
        examples.append({"vectors": vectors, "tokens": written, "said": np.ones(8, bool)})
    stage = Stage("ears", 1e-2, 32, steps=60, mean_over="streams", loss_weights={"nothing": 2.0}, row_tokens=8)
    train(made.Fed(learner), stage, Run(tmp_path, quiet=True), examples, objective=made.Words(learner.nothing))
    assert [learner.eval().words(audio)[0].split() for audio in sounds] == said
