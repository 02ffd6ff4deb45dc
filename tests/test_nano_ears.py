"""The nano ears: heard in pieces is heard at once, nothing is heard ahead, and a few words are learnt by heart."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from duologue.data.encode import Encoded, Stretch
from duologue.sound.wav import read_channels, write
from duologue.train import Run, Stage, train
from duologue.units.nano_ears import EarsConfig, NanoEars, WordEars, load, load_words, save
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
    told = ("one", "one", None, "one", "two", None, None, None, "two")
    assert ears().read(states_that_tell(told)) == "one two two"


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


# ---------------------------------------------------------------- a vector for each word


def word_ears() -> WordEars:
    """Each word is its own number in the base of one."""
    return WordEars(ears(), torch.eye(len(WORDS)))


def states_that_tell(told: Sequence[str | None], loudly: float = 1e4) -> Tensor:
    rows = ears().body.get_output_embeddings().weight.detach()
    return loudly * rows[[ears().nothing if word is None else WORDS.index(word) for word in told]]


def test_each_word_is_its_vector_and_nothing_lies_between() -> None:
    words = word_ears().words_in(states_that_tell((None, "one", "one", None, "two", None, None, None, None, "two")))
    expected = word_ears().clearly(("one", "two", "two"))
    assert expected is not None
    torch.testing.assert_close(words, expected, atol=1e-3, rtol=0)
    assert word_ears().clearly(("one", "three")) is None


def test_a_word_that_is_not_clear_is_the_mean_of_what_it_may_have_been() -> None:
    faint = states_that_tell(("one",), loudly=120)
    (word,) = word_ears().words_in(faint)
    likely = ears().written(faint)[0, : len(WORDS)].softmax(-1)
    assert 0.3 < likely.max() < 0.99
    torch.testing.assert_close(word, likely.detach(), atol=1e-5, rtol=1e-4)


def test_a_word_may_be_likely_in_two_states_only_together() -> None:
    """And then it is told once, where the second one makes it likely, however the states come."""
    likely = torch.tensor([[0.0, 0.0, 0.1, 0.0], [0.0, 0.2, 0.1, 0.0], [0.0, 0.2, 0.0, 0.1], [0.0, 0.3, 0.0, 0.0]])
    at, told = ears().told(likely, ears().silent())
    assert at == [2]
    torch.testing.assert_close(told, likely[1:2] + likely[2:3])
    before, found = ears().silent(), []
    for number, state in enumerate(likely):
        found += [number for _ in ears().told(state[None], before)[0]]
    assert found == at


@pytest.mark.parametrize("seed", range(6))
def test_words_are_the_same_however_the_sound_is_cut(seed: int) -> None:
    """And there is at least one in any sound."""
    audio, state = noise(1, 30 * UNIT + 77, seed), word_ears().start()
    drawn = np.random.default_rng(seed)
    sizes = np.diff([0, *sorted(drawn.integers(0, audio.shape[1], 5)), audio.shape[1]]).tolist()
    heard = [word_ears().hear(piece, state) for piece in audio.split(sizes, -1)]
    heard.append(word_ears().hear(audio[:, :0], state, last=True))
    whole = word_ears().features(audio[0].numpy())
    assert len(whole) >= 1
    torch.testing.assert_close(torch.cat(heard, 1)[0], whole, atol=1e-4, rtol=1e-4)


def test_where_no_word_is_told_the_likeliest_is() -> None:
    quiet = states_that_tell((None, None, None), loudly=300)
    quiet[1] += 250 * states_that_tell(("yes",), loudly=1)[0]
    assert ears().read(quiet) == ""
    (word,) = word_ears().words_in(quiet)
    assert WORDS[int(word.argmax())] == "yes"


def test_the_words_vectors_are_kept_with_the_ears(tmp_path: Path) -> None:
    save(word_ears(), tmp_path / "words.safetensors")
    again = load_words(tmp_path / "words.safetensors")
    torch.testing.assert_close(again.vectors, word_ears().vectors)
    audio = noise(1, 6 * UNIT, 4)
    torch.testing.assert_close(again.ears.whole(audio), ears().whole(audio), atol=0.1, rtol=0.1)
    save(ears(), tmp_path / "plain.safetensors")
    with pytest.raises(ValueError, match="without the words' vectors"):
        load_words(tmp_path / "plain.safetensors")


def test_several_utterances_at_once_are_refused() -> None:
    with pytest.raises(ValueError, match="one utterance at a time"):
        word_ears().start(2)


def test_conversations_are_heard_up_to_a_cut_once_and_as_in_a_call(tmp_path: Path) -> None:
    made, drawn = recipe("nano_ears"), np.random.default_rng(0)
    asked = [Stretch("user", start, (0,) * 9, "two", (8,), turn=turn) for start, turn in ((5, 0), (40, 2), (70, 4))]
    answers = [
        Stretch("assistant", 16, (1,) * 9, "four", turn=1),
        Stretch("assistant", 52, (1,) * 4, "no", turn=3, cut=True),
    ]
    rows = [
        Encoded("row.wav", (0,) * 100, (asked[0], answers[0], asked[1], answers[1], asked[2])),
        Encoded("silent.wav", (0,) * 30, ()),
    ]
    for row in rows:
        sound = drawn.normal(0, 0.1, (len(row.user) * 640, 2))
        (tmp_path / "some").mkdir(exist_ok=True)
        write(tmp_path / "some" / row.name, sound.astype(np.float32), 16_000)
    (found,) = made.conversations(word_ears(), tmp_path, "some", rows)
    assert [one.answer.text for one in found] == ["four", "no"]
    np.testing.assert_allclose(found[0].words, in_a_call(word_ears(), tmp_path / "some" / "row.wav"), atol=2e-2)
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "ears").glob("words_*")}
    (again,) = made.conversations(word_ears(), tmp_path, "some", rows)
    np.testing.assert_array_equal(again[1].words, found[1].words)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "ears").glob("words_*")} == kept
    assert len(kept) == 1
    other = WordEars(deepcopy(ears()), word_ears().vectors).eval()
    with torch.no_grad():
        for weight in other.ears.front.parameters():
            weight.mul_(1.5)
    (otherwise,) = made.conversations(other, tmp_path, "some", rows)
    expected = in_a_call(other, tmp_path / "some" / "row.wav")
    np.testing.assert_allclose(otherwise[0].words, expected, atol=2e-2, err_msg="each hears through its own front")


def in_a_call(ears: WordEars, path: Path) -> NDArray[np.float32]:
    """The words of the first utterance of the test before, [W, D]."""
    audio = torch.from_numpy(read_channels(path, 16_000)[:, 0].copy())[None]
    first, last = recipe("nano_ears").window([Stretch("user", 5, (0,) * 9, "two", (8,), turn=0)], 100)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        states = ears.ears.states(ears.ears.front.all_vectors(audio)[:, first:last])[0].float()
    return ears.words_in(states).numpy()


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
