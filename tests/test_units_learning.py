"""The nano units learn: by heart at a tiny size, and on from where they were stopped."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Literal

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from duologue.units.codec import encode_whole
from duologue.units.nano_decoder import DecoderConfig, NanoDecoder
from duologue.units.nano_tokenizer import LETTERS, NanoTokenizer, TokenizerConfig, letters_of, written
from small_units import UNIT, noise, tokenizer

TEXTS = ["abc", "cab", "bad cad", "dab"]
LETTER_SAMPLES = 2 * UNIT


@pytest.fixture
def recipe(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(Path(__file__).resolve().parent.parent / "recipes")
    __import__("nano_units")
    return sys.modules["nano_units"]


def spoken(text: str) -> Tensor:
    """Each letter a tone of its own, a space is a pause: [N]."""
    time_s = torch.arange(LETTER_SAMPLES) / 16_000
    sounds = [0.3 * torch.sin(2 * math.pi * 300 * LETTERS.index(x) * time_s) * (x != " ") for x in text]
    return torch.cat([*sounds, torch.zeros(LETTER_SAMPLES)])


# ---------------------------------------------------------------- by heart


def test_a_tiny_tokenizer_learns_utterances_by_heart(recipe: ModuleType) -> None:
    torch.manual_seed(0)
    config = TokenizerConfig(n_mels=40, width=32, blocks=2, reading_blocks=1, taps=5)
    model, batch = NanoTokenizer(config), heard()
    optimizer = torch.optim.AdamW(model.parameters(), 5e-3)
    for _ in range(150):
        losses = recipe.tokenizer_losses(model, batch)
        optimizer.zero_grad()
        (losses["letters"] + losses["shapes"]).backward()
        optimizer.step()
    model.eval()
    read = [model.read(encode_whole(model, spoken(text)[None]))[0] for text in TEXTS]
    assert read == TEXTS
    assert float(losses["shapes"].detach()) < 0.3


def heard() -> object:
    from nano_units_batches import Heard

    units = torch.tensor([len(spoken(text)) // UNIT for text in TEXTS])
    sound = torch.zeros(len(TEXTS), int(units.max()) * UNIT)
    for row, text in enumerate(TEXTS):
        sound[row, : len(spoken(text))] = spoken(text)
    return Heard(sound, sound, units, TEXTS)


def test_a_tiny_decoder_learns_to_say_its_units(recipe: ModuleType) -> None:
    torch.manual_seed(0)
    model = NanoDecoder(DecoderConfig((5, 5), width=32, unit_blocks=1, frame_blocks=2, taps=5))
    audio = torch.stack([spoken("abcd"), spoken("dcab")])
    codes = torch.tensor([[1, 2, 3, 4, 0], [4, 3, 1, 2, 0]]).repeat_interleave(2, -1)
    after = torch.zeros(2, model.ahead_units, dtype=torch.int64)
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    losses = list[float]()
    for _ in range(150):
        apart = recipe.spectra_apart(model(torch.cat([codes, after], -1)), audio, 640)
        optimizer.zero_grad()
        apart.backward()
        optimizer.step()
        losses.append(float(apart.detach()))
    assert losses[-1] < 0.35 * losses[0]


# ---------------------------------------------------------------- padding, letters


def test_what_a_row_is_trained_on_does_not_depend_on_the_padding_of_others() -> None:
    model, audio = tokenizer(), noise(2, 12 * UNIT, 0)
    audio[1, 5 * UNIT :] = 0
    with torch.no_grad():
        both = model(audio, torch.tensor([12, 5]))
        alone = model(audio[1:, : 5 * UNIT], torch.tensor([5]))
    torch.testing.assert_close(both.letters[:10, 1:], alone.letters, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(both.shapes[1:, :, :10], alone.shapes, atol=1e-5, rtol=1e-5)
    assert torch.equal(both.codes[1:, :5], alone.codes)
    shapes = model.shape_of(audio, torch.tensor([12, 5]))[1:, :, :10]
    torch.testing.assert_close(shapes, model.shape_of(audio[1:, : 5 * UNIT], torch.tensor([5])), atol=1e-5, rtol=1e-5)


def test_training_sees_the_units_that_a_live_stream_gives() -> None:
    torch.manual_seed(0)
    model, audio = NanoTokenizer(tokenizer().config), noise(3, 12 * UNIT, 0)
    for _ in range(20):
        model(audio, torch.tensor([12, 12, 12]))
    model.eval()
    read = model(audio, torch.tensor([12, 12, 12]))
    assert torch.equal(read.codes, encode_whole(model, audio)[:, 0])
    assert [written(path) for path in read.letters.argmax(-1).T] == model.read(read.codes[:, None])


def test_spectral_shapes_do_not_know_how_loud_it_was() -> None:
    model, audio, units = tokenizer(), noise(1, 12 * UNIT, 0), torch.tensor([12])
    torch.testing.assert_close(model.shape_of(audio, units), model.shape_of(audio * 3, units), atol=1e-4, rtol=0)


def test_letters_and_paths() -> None:
    path = [0, 3, 3, 0, 3, 4, 4, 1, 1, 0, 0]
    assert written(torch.tensor(path)) == "aab"
    assert written(torch.tensor(letters_of("don't go"))) == "don't go"
    with pytest.raises(ValueError, match="cannot be written"):
        letters_of("7 up")


# ---------------------------------------------------------------- the recipe


def test_learning_goes_on_as_if_it_had_not_been_stopped(recipe: ModuleType, tmp_path: Path) -> None:
    once, twice = tmp_path / "once", tmp_path / "twice"
    ends = [learnt(recipe, once, stop=9), *(learnt(recipe, twice, stop) for stop in (4, 9))]
    for name, tensor in ends[0].state_dict().items():
        assert torch.equal(ends[-1].state_dict()[name], tensor), name


def test_after_a_stop_no_step_is_logged_twice(recipe: ModuleType, tmp_path: Path) -> None:
    """Stopped with a log as far as step 3 and weights of step 2; a line was cut off."""
    learnt(recipe, tmp_path / "once", stop=9)
    learnt(recipe, tmp_path / "twice", stop=3)
    log = tmp_path / "twice" / "tokenizer.jsonl"
    assert steps(log) == [3]
    log.write_text(log.read_text() + '{"step": 3')
    learnt(recipe, tmp_path / "twice", stop=9)
    assert steps(log) == steps(tmp_path / "once" / "tokenizer.jsonl") == [3, 6, 9]


def steps(log: Path) -> list[int]:
    return [json.loads(line)["step"] for line in log.read_text().splitlines()]


def learnt(recipe: ModuleType, folder: Path, stop: int) -> NanoTokenizer:
    """Nine steps, unless it is stopped before the step `stop`."""
    folder.mkdir(exist_ok=True)
    torch.manual_seed(0)
    model, batch = NanoTokenizer(tokenizer().config), heard()
    plan = recipe.Plan("tokenizer", steps=9, learning_rate=1e-3, save_every_steps=2, show_every_steps=3)

    def losses(step: int) -> dict[str, Tensor]:
        if step == stop:
            raise KeyboardInterrupt
        found: dict[str, Tensor] = recipe.tokenizer_losses(model, batch)
        return found

    try:
        recipe.learn(plan, model, losses, folder)
    except KeyboardInterrupt:
        assert stop < 9
    return model


def test_speech_is_made_once_and_kept(recipe: ModuleType, tmp_path: Path) -> None:
    import nano_units_speech as made

    calls = list[int]()

    def source() -> Iterator[tuple[str, str, Literal["train", "test"], NDArray[np.float32]]]:
        calls.append(1)
        yield "one two", "person:x", "train", np.full(1600, 0.25, np.float32)
        yield "three", "person:y", "test", np.full(800, -0.5, np.float32)

    for _ in range(2):
        clips = list(made.found(tmp_path / "x", source))
    speech = made.Speech(tuple(clips))
    assert calls == [1]
    assert speech.numbers("test") == [1]
    assert speech.numbers("train", "person:y") == []
    np.testing.assert_allclose(speech.audio(1), np.full(800, -0.5), atol=1e-4)
    assert made.plain("Fifty-nine, O'Clock!") == "fifty nine o'clock"


def test_a_batch_depends_on_its_number_alone(recipe: ModuleType) -> None:
    import nano_units_batches as batches
    from nano_units_speech import Clip, Speech

    sound = (noise(1, 64_000, 0)[0].numpy() * 3e4).astype(np.int16)
    clips = [Clip("one two", "x", "train", 1000 * n, 16_000 + 900 * n) for n in range(20)]
    speech = Speech(tuple((clip, sound) for clip in clips))
    drawn = [batches.Drawn(speech, list(range(20)), [], 5.0, 0) for _ in range(2)]
    drawn[0].batch(3)
    first, again = (each.batch(7) for each in drawn)
    assert torch.equal(first.noisy, again.noisy)
    assert not torch.equal(first.noisy, drawn[0].batch(8).noisy)
    for row, units in enumerate(first.units.tolist()):
        assert torch.all(first.noisy[row, units * UNIT :] == 0)
        assert batches.room(first.texts[row]) <= 2 * units
