"""Who answers: a vector of each speaker in the books' lanes, for the example and for the call; nobody's by default."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from duologue.data.tensors import collate
from duologue.systems import mini_omni_folder
from duologue.systems.mini_omni import BOOKS, TASKS, Question
from duologue.systems.mini_omni_decoding import Decoding, answered
from duologue.systems.mini_omni_examples import Examples
from duologue.systems.mini_omni_model import EachLane, MiniOmni, whole
from duologue.systems.mini_omni_turns import Talker, nano
from duologue.train import Run, Stage, train
from small_mini import CONFIG, WORDS, kept, language_model, question, sample, small

TWO = replace(CONFIG, speakers=2)
M = CONFIG.marks
LONG = Decoding(most_steps=24)


def lively() -> MiniOmni:
    model = MiniOmni.grown(language_model(), TWO, seed=1)
    assert model.added.speakers is not None
    with torch.no_grad():
        model.added.speakers.weight[1:] = torch.randn(2, 32, generator=torch.Generator().manual_seed(5))
    return model


def test_a_model_of_no_speakers_is_as_it_was_and_nobody_adds_nothing() -> None:
    assert not any("speakers" in name for name in small().state_dict())
    asked = question("A1A2")
    plain = list(answered(small(), asked, LONG))
    assert list(answered(lively(), asked, LONG)) == plain
    untrained = MiniOmni.grown(language_model(), TWO, seed=1)
    assert list(answered(untrained, replace(asked, speaker=1), LONG)) == plain
    assert "speaker" not in Examples(CONFIG, [sample("A1A2")])[0]


@pytest.mark.parametrize("parallel", [False, True])
@pytest.mark.parametrize("speaker", [0, 1, 2])
def test_a_vector_is_added_in_the_lanes_of_the_books_where_somebody_speaks(speaker: int, parallel: bool) -> None:
    """What is decoded is what is taught: step by step, beside the whole sequence."""
    model, asked = lively(), replace(question("A1A2", 2), speaker=speaker)
    assert model.added.speakers is not None
    steps = list(answered(model, asked, Decoding(parallel=parallel, most_steps=24)))
    frames = np.array([step.frame for step in steps if step.frame]).reshape(-1, BOOKS).T
    assert frames.size
    text = [step.text for step in steps if step.text is not None]
    (example,) = Examples(TWO, [replace(sample("A1A2"), question=asked, text=text, codes=frames)])
    spoken = example["tokens"][:, 0] == M.answer_a
    assert example["speaker"].tolist() == (speaker * np.maximum.accumulate(spoken)).tolist()
    rows = collate([[example]])
    heard, features = rows["heard"], rows["features"][rows["heard"]]
    with torch.no_grad():
        plain = model.embedded(rows["tokens"], heard, features)
        found = model.embedded(rows["tokens"], heard, features, rows["speaker"])
        own = model.added.speakers.weight[rows["speaker"]]
        torch.testing.assert_close(found, plain + BOOKS * own / 8)
        states = whole(model.lm, found)[0]
        told = model.audio_logits(states)[:, 0, : M.eoa + 1].argmax(-1)
    first = int(spoken.argmax())
    said = np.flatnonzero(example["said"][:, 0])
    assert said[0] == first + 2
    assert told[said[:-1] - 1].tolist() == frames[0].tolist()


def test_speakers_differ_and_what_is_written_beside_the_speech_does_not() -> None:
    model, how = lively(), Decoding(parallel=True, most_steps=24)
    answers = [list(answered(model, replace(question("A1A2", 2), speaker=one), how)) for one in range(3)]
    texts = [[step.text for step in steps if step.text is not None] for steps in answers]
    assert texts[0] == texts[1] == texts[2]
    frames = [[step.frame for step in steps if step.frame] for steps in answers]
    assert frames[0] != frames[1] != frames[2] != frames[0]


def test_a_question_that_is_not_spoken_is_nobody_s() -> None:
    for task in TASKS:
        if task[2] == "T":
            (example,) = Examples(TWO, [replace(sample(task), question=replace(question(task), speaker=2))])
            assert not example["speaker"].any()


@pytest.mark.parametrize("speaker", [-1, 3])
def test_a_speaker_that_is_not_known_is_refused(speaker: int) -> None:
    with pytest.raises(ValueError, match=f"speaker {speaker}, but the model knows 2"):
        next(answered(lively(), replace(question("A1A2"), speaker=speaker)))


def test_two_speakers_learn_two_answers_to_one_question(tmp_path: Path) -> None:
    """The language model is frozen: the vectors alone are learnt, and nobody's stays nothing."""
    model = MiniOmni.grown(language_model(), TWO)
    samples = [sample("A1A2", seed) for seed in (0, 1)]
    both = [replace(one, question=replace(samples[0].question, speaker=n)) for n, one in enumerate(samples, 1)]
    stage = Stage(
        "voices", trains=("added.speakers.*",), learning_rate=1e-2, batch_tokens=100, steps=8, mean_over="streams"
    )
    train(model, stage, Run(tmp_path, quiet=True), Examples(TWO, both), objective=EachLane())
    assert model.added.speakers is not None
    none, one, two = model.added.speakers.weight
    assert not none.any()
    assert one.any()
    assert not torch.equal(one, two)


def test_a_call_has_its_speaker(tmp_path: Path) -> None:
    model = kept(tmp_path / "plain")
    talking = nano(tmp_path / "plain")
    with pytest.raises(ValueError, match="speaker 1, but the model knows 0: leave it out"):
        Talker(talking, speaker=1)
    own = replace(model.config, speakers=2)
    voiced = MiniOmni(model.lm, own)
    voiced.added.load_state_dict(model.added.state_dict(), strict=False)
    mini_omni_folder.save(voiced, WORDS, tmp_path / "voiced")
    back, _ = mini_omni_folder.load(tmp_path / "voiced")
    assert back.config == own
    two = Talker(replace(talking, model=back), speaker=2)
    two._turns.append(type("Turn", (), {"heard": None, "typed": [1], "steps": 5, "failed": False})())
    assert two._question() == Question("T1A2", None, [1], (), 2)
