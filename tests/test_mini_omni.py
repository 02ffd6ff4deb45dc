"""Mini-Omni: its layouts, what it says beside a slow twin, what its stages learn, and what it cannot be asked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from duologue import streaming
from duologue.data.tensors import collate
from duologue.layout import Layout, Tokens, weave
from duologue.model.words import words_tokenizer
from duologue.systems import mini_omni_decoding, mini_omni_folder
from duologue.systems.mini_omni import (
    BOOKS,
    LANES,
    STAGES,
    TASKS,
    Config,
    Question,
    Task,
    example_layout,
    nano,
    prompt,
    speaks,
)
from duologue.systems.mini_omni_decoding import Choosing, Decoding, Step, answered
from duologue.systems.mini_omni_examples import STAGE_TASKS, Examples, Sample, streams
from duologue.systems.mini_omni_few_rows import FewRows, few_rows, for_rows
from duologue.systems.mini_omni_model import EachLane, MiniOmni, whole
from duologue.train import Run, Stage, train
from duologue.train.parts import choose
from small_mini import CODES, CONFIG, FEATURES, TEXT, TTS, language_model, question, sample, small

M = CONFIG.marks
LEARNED = replace(CONFIG, delay="learned")
SPOKEN: tuple[Task, ...] = ("A1A2", "T1A2", "T1A1")
laws = settings(max_examples=25)
tasks = st.sampled_from(TASKS)
seeds = st.integers(0, 10_000)


def grid(config: Config, one: Sample) -> Tokens:
    asked = one.question
    layout = example_layout(config, asked.task, asked.features, asked.typed, asked.history)
    return weave(layout, streams(config, one)).tokens


def prompt_of(asked: Question) -> Tokens:
    def columns() -> Any:
        return prompt(CONFIG, asked.task, asked.features, asked.typed, asked.history)

    heard = sum(map(len, asked.sounds))
    return weave(Layout(columns, ("user",), len(LANES)), {"user": [M.pad_a] * heard}).tokens


# ---------------------------------------------------------------- layouts


@laws
@given(tasks, seeds, st.integers(1, 9), st.integers(0, 20))
def test_text_comes_at_once_and_each_book_a_step_later_than_the_one_before(
    task: Task, seed: int, frames: int, text: int
) -> None:
    one = sample(task, seed, frames, text)
    placed = grid(CONFIG, one)[len(prompt_of(one.question)) :]
    written = [*(one.question.typed if task == "T1A1" else one.text), M.eot]
    assert placed[: len(written), BOOKS].tolist() == written
    assert (placed[len(written) :, BOOKS] == M.pad_t).all()
    for book in range(BOOKS):
        lane = placed[:, book].tolist()
        if one.codes is None:
            assert set(lane) == {M.pad_a}
            continue
        said = [*[M.pad_a] * (book + 1), *one.codes[book], M.eoa]
        assert lane == [*said, *[M.pad_a] * len(lane)][: len(lane)]
    needed = frames + BOOKS if speaks(task) else 0
    assert len(placed) == max(needed, 0 if task == "T1A1" else len(written))


@laws
@given(tasks, seeds, st.integers(1, 9))
def test_the_model_is_asked_for_the_answer_alone(task: Task, seed: int, frames: int) -> None:
    """For each word and each code once, for their ends; never for a pad. What is read aloud is not asked for."""
    one = sample(task, seed, frames)
    (example,) = Examples(CONFIG, [one])
    asked = [example["tokens"][:, lane][example["said"][:, lane]].tolist() for lane in range(len(LANES))]
    assert asked[BOOKS] == ([] if task == "T1A1" else [*one.text, M.eot])
    books = [[]] * BOOKS if one.codes is None else one.codes.tolist()
    assert asked[:BOOKS] == [[*codes, M.eoa] if book == 0 and codes else codes for book, codes in enumerate(books)]
    assert not example["said"][: len(prompt_of(one.question))].any()


@laws
@given(tasks, seeds, st.integers(1, 9), st.integers(1, 9))
def test_a_learned_delay_is_the_same_sequence_with_its_pads_asked_for(
    task: Task, seed: int, frames: int, text: int
) -> None:
    one = sample(task, seed, frames, min(text, frames + 6))
    forced, learned = grid(CONFIG, one), grid(LEARNED, one)
    shorter = min(len(forced), len(learned))
    assert forced[:shorter].tolist() == learned[:shorter].tolist()
    if speaks(task):
        assert len(learned) == len(prompt_of(one.question)) + frames + BOOKS + 1
        assert learned[-1, BOOKS - 1] == M.eoa


def test_what_was_heard_before_stands_there_as_it_was_heard() -> None:
    """The prompt of the earlier question, its answer in text, then the question."""
    first, now = question("A1T2", 1), question("A1A2", 2)
    assert first.heard is not None
    assert now.heard is not None
    both = replace(now, history=((first.heard, [1, 2]),))
    before, after = prompt_of(first), prompt_of(now)
    told = np.array([[M.pad_a] * BOOKS + [token] for token in (1, 2, M.eot)])
    np.testing.assert_array_equal(prompt_of(both), np.concatenate((before, told, after)))
    (example,) = Examples(CONFIG, [Sample(both, [3], np.zeros((BOOKS, 2), np.int64))])
    np.testing.assert_array_equal(example["features"][example["heard"]], torch.cat((first.heard, now.heard)).numpy())
    asked = replace(both, history=((first.heard[:, :2], [1, 2]),))
    with pytest.raises(ValueError, match=r"the model hears \[T, 6\]"):
        next(answered(small(), asked))
    assert [*answered(small(), both, Decoding(most_steps=9))] != [*answered(small(), now, Decoding(most_steps=9))]


def test_examples_are_chosen_and_joined() -> None:
    one, two = (Examples(CONFIG, [sample(task, seed) for seed in range(3)]) for task in ("A1A2", "T1T2"))
    both = (one + two).chosen([4, 0])
    assert [len(both), len(both[1:])] == [2, 1]
    for found, wanted in zip(both, (two[1], one[0]), strict=True):
        for name in wanted:
            np.testing.assert_array_equal(found[name], wanted[name])


def test_history_stands_before_a_question_as_if_typed() -> None:
    asked = question("A1A2", history=2)
    past = [grid(CONFIG, Sample(Question("T1T2", None, typed), answer)) for typed, answer in asked.history]
    expected = np.concatenate([*past, prompt_of(replace(asked, history=()))])
    assert prompt_of(asked).tolist() == expected.tolist()


# ---------------------------------------------------------------- a slow twin


def slowly(model: MiniOmni, asked: Question, how: Decoding) -> Iterator[list[int]]:
    """Greedy answers: every row is computed anew, whole and alone, at each step. Rules are spelt out."""
    tasks: list[Task] = [asked.task]
    if how.parallel:
        tasks.append("A1T2" if asked.task == "A1A2" else "T1T2")
    rows = [prompt_of(replace(asked, task=task)).tolist() for task in tasks]
    frames, text_ends, read = None, None, [*asked.typed, M.eot]
    most_frames = (how.most_steps or 0) - BOOKS
    for step in range(how.most_steps or 0):
        told = [logits(model, row, asked) for row in rows]
        text = M.pad_t
        if text_ends is None:
            text = read[step] if asked.task == "T1A1" else int(told[-1][0][: M.eot + 1].argmax())
            text_ends = step if text == M.eot else None
        column = [M.pad_a] * BOOKS
        for book in range(BOOKS) if speaks(asked.task) else []:
            frame, ended = step - book - 1, frames if frames is not None else most_frames
            if frame == ended:
                column[book] = M.eoa
            elif 0 <= frame < ended:
                column[book] = int(told[0][1][book, : M.eoa + (book == 0)].argmax())
            if book == 0 and column[0] == M.eoa:
                frames = frame
        if how.parallel and frames is not None and step >= (frames + BOOKS if frames else 2):
            column = [M.pad_a] * BOOKS
        yield [*column, text]
        quiet = not speaks(asked.task) or (frames is not None and step + 1 >= (frames + BOOKS if frames else 2))
        if quiet and (text_ends is not None or asked.task == "T1A1"):
            return
        rows[0].append([*column, text])
        if how.parallel:
            rows[1].append([*[M.pad_a] * BOOKS, text])


@torch.no_grad()
def logits(model: MiniOmni, row: list[list[int]], asked: Question) -> tuple[Tensor, Tensor]:
    heard = torch.zeros(1, len(row), dtype=torch.bool)
    features = torch.zeros(0, FEATURES) if asked.heard is None else asked.heard
    start = sum(len(q) + len(a) + 4 for q, a in asked.history) + 1
    heard[:, start : start + len(features)] = True
    text, audio = model.states(model.embedded(torch.tensor([row]), heard, features), whole)
    return model.text_logits(text[0, -1]), model.audio_logits(audio[0, -1])


MODELS = {
    "qwen2": small(),
    "qwen2 with a TTS adapter": small(TTS),
    "qwen3, untied": small(CONFIG, "qwen3", tied=False),
    "llama": small(CONFIG, "llama"),
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(("task", "parallel"), [*product(TASKS, [False]), ("A1A2", True), ("T1A2", True)])
def test_every_task_is_decoded_as_a_slow_twin_does(name: str, task: Task, parallel: bool) -> None:
    model, how = MODELS[name], Decoding(parallel=parallel, most_steps=24)
    for seed in range(3):
        asked = question(task, seed, history=seed)
        assert [list(step.placed) for step in answered(model, asked, how)] == [*slowly(model, asked, how)]


# ---------------------------------------------------------------- decoding


FREE = Choosing(temperature=4.0, top_k=None)


def said(asked: Question, how: Decoding, model: MiniOmni | None = None) -> list[Step]:
    return list(answered(model or small(), asked, how))


def written(steps: list[Step]) -> list[int]:
    return [step.text for step in steps if step.text is not None]


def frames_of(steps: list[Step]) -> Tokens:
    """[books, frames]"""
    return np.array([step.frame for step in steps if step.frame], np.int64).reshape(-1, BOOKS).T


@laws
@given(tasks, seeds, st.booleans(), st.integers(0, 1))
def test_what_is_said_is_woven_into_the_same_columns(task: Task, seed: int, parallel: bool, history: int) -> None:
    """Serving and training read one layout: what a model says, taught to it, is the sequence that it was fed."""
    asked = question(task, seed, history)
    steps = said(asked, Decoding(FREE, parallel=parallel and task in ("A1A2", "T1A2"), seed=seed))
    codes = frames_of(steps)
    if speaks(task) and not codes.size:
        return
    woven = grid(CONFIG, Sample(asked, written(steps), codes if speaks(task) else None))
    placed = [*prompt_of(asked).tolist(), *(list(step.placed) for step in steps)]
    spoken = len(placed) if not parallel else len(prompt_of(asked)) + codes.shape[1] + BOOKS
    assert woven[:spoken].tolist() == placed[:spoken]
    assert woven[:, BOOKS].tolist() == [column[BOOKS] for column in placed]


@laws
@given(st.sampled_from(SPOKEN), seeds, st.integers(1, 30), st.booleans())
def test_no_frame_is_lost_and_none_holds_a_mark(task: Task, seed: int, most_steps: int, parallel: bool) -> None:
    """However short the answer is kept: every code that was said is in a frame."""
    how = Decoding(FREE, parallel and task != "T1A1", most_steps=most_steps, seed=seed)
    steps = said(question(task, seed), how)
    assert len(steps) <= most_steps
    frames = np.array([step.frame for step in steps if step.frame]).reshape(-1, BOOKS)
    assert ((frames >= 0) & (frames < CODES)).all()
    for book in range(BOOKS):
        codes = [step.placed[book] for step in steps if step.placed[book] < CODES]
        assert codes == frames[:, book].tolist()
    assert all(step.text is None or step.text < TEXT for step in steps)


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize(("spoken", "silent"), [("A1A2", "A1T2"), ("T1A2", "T1T2")])
@pytest.mark.parametrize("tts", [CONFIG, TTS], ids=["plain", "tts"])
def test_in_parallel_the_text_is_that_of_the_task_without_speech(
    spoken: Task, silent: Task, exact: bool, tts: Config
) -> None:
    lengths = []
    for seed in range(6):
        asked, steps = question(spoken, seed), 20
        both = said(asked, Decoding(parallel=True, exact=exact, most_steps=steps), small(tts))
        alone = said(replace(asked, task=silent), Decoding(exact=exact, most_steps=steps), small(tts))
        texts = [written(both), written(alone)]
        cut = exact and len(both) < steps
        assert texts[0] == (texts[1][: len(texts[0])] if cut else texts[1])
        lengths.append(len(texts[0]))
    assert sum(lengths) > 12


def test_the_prompt_is_read_once_and_rows_go_when_they_have_said_all(monkeypatch: pytest.MonkeyPatch) -> None:
    fed: list[tuple[int, int]] = []

    def counted(lm: Any, state: Any, inputs: Tensor, *more: Any) -> Tensor:
        fed.append((inputs.shape[0], inputs.shape[1]))
        return streaming.step(lm, state, inputs, *more)

    monkeypatch.setattr(mini_omni_decoding, "step", counted)
    kinds = set()
    for seed in range(8):
        fed.clear()
        asked = question("A1A2", seed)
        steps = said(asked, Decoding(FREE, parallel=True, seed=seed))
        text = next(n for n, step in enumerate(steps) if step.placed[BOOKS] == M.eot)
        last_code = max((n for n, step in enumerate(steps) if step.frame), default=1)
        both = min(text, last_code)
        assert fed[:2] == [(1, len(prompt_of(asked)) - 1), (2, 1)]
        assert fed[2:] == [(2, 1)] * both + [(1, 1)] * (max(text, last_code) - both)
        kinds.add(text < last_code)
    assert kinds == {True, False}


def test_only_the_heads_that_are_asked_are_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MiniOmni, "audio_logits", None)
    assert said(question("A1T2"), Decoding(most_steps=9))
    monkeypatch.undo()
    monkeypatch.setattr(MiniOmni, "text_logits", None)
    assert said(question("T1A1"), Decoding(most_steps=9))


@laws
@given(st.integers(1, 5), st.integers(1, 4), st.booleans(), seeds)
def test_few_rows_are_multiplied_as_any_others(rows: int, tokens: int, biased: bool, seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    inputs, weight = torch.randn(rows, tokens, 6, generator=draw), torch.randn(9, 6, generator=draw)
    bias = torch.randn(9, generator=draw) if biased else None
    expected = functional.linear(inputs, weight, bias)
    torch.testing.assert_close(few_rows(inputs, weight, bias), expected)
    with FewRows():
        torch.testing.assert_close(functional.linear(inputs, weight, bias), expected)
    assert isinstance(for_rows(2, 512), FewRows)
    assert not any(isinstance(for_rows(*plain), FewRows) for plain in ((1, 512), (2, 256), (5, 512)))


def test_a_seed_gives_the_same_answer_and_another_one_another() -> None:
    asked = question("A1A2")
    answers = [said(asked, Decoding(FREE, most_steps=30, seed=seed)) for seed in (1, 1, 2)]
    assert answers[0] == answers[1] != answers[2]


def test_nothing_runs_ahead_and_closing_ends_it() -> None:
    answer = answered(small(), question("A1A2"), Decoding(most_steps=30))
    first = next(answer)
    answer.close()  # type: ignore[attr-defined]
    assert list(answer) == []
    assert next(answered(small(), question("A1A2"), Decoding(most_steps=1))).placed[:BOOKS] == first.placed[:BOOKS]
    assert torch.is_grad_enabled()


def test_it_speaks_in_half_precision_too() -> None:
    model = MiniOmni.grown(language_model().to(torch.bfloat16), CONFIG)
    steps = said(question("A1A2"), Decoding(parallel=True, most_steps=20), model)
    assert sum(step.frame is not None for step in steps) > 0


@laws
@given(st.floats(0.1, 3), st.none() | st.integers(1, 9), st.floats(0.05, 1), seeds)
def test_what_may_not_be_chosen_is_never_drawn(temperature: float, top_k: int | None, top_p: float, seed: int) -> None:
    how, draw = Choosing(temperature, top_k, top_p), torch.Generator().manual_seed(seed)
    told = torch.randn(7, 12, generator=draw)
    shares = how.distribution(told)
    torch.testing.assert_close(shares.sum(-1), torch.ones(7))
    assert ((shares > 0).sum(-1) <= (top_k or 12)).all()
    chosen = how.chosen(told, draw)
    assert (shares[range(7), chosen] > 0).all()
    assert chosen == [int(row.argmax()) for row in told] or not how.greedy


# ---------------------------------------------------------------- learning


def batch(config: Config, samples: list[Sample]) -> dict[str, Tensor]:
    return collate([[example] for example in Examples(config, samples)])


MIXED = [sample(task, seed, frames=3 + seed) for seed, task in enumerate(TASKS)]


@pytest.mark.parametrize("config", [CONFIG, TTS, LEARNED], ids=["forced", "tts", "learned"])
def test_the_loss_is_that_of_each_cell_by_itself(config: Config) -> None:
    model = small(replace(config, delay="forced"))
    rows = batch(config, MIXED)
    with torch.no_grad():
        nats = model(rows)
        for row, one in enumerate(MIXED):
            alone = batch(config, [one])
            text, audio = model.states(
                model.embedded(alone["tokens"], alone["heard"], alone["features"][alone["heard"]]), whole
            )
            told = [*model.audio_logits(audio[0]).unbind(1), model.text_logits(text[0])]
            for step, lane in np.argwhere(alone["said"][0].numpy()):
                token = alone["tokens"][0, step, lane]
                expected = functional.cross_entropy(told[lane][step - 1], token)
                torch.testing.assert_close(nats[row, step - 1, lane], expected, atol=1e-5, rtol=1e-5)
    assert (nats[~rows["said"][:, 1:]] == 0).all()


def test_the_objective_tells_the_loss_of_each_lane() -> None:
    rows = batch(CONFIG, MIXED)
    nats = torch.rand(rows["said"][:, 1:].shape) * rows["said"][:, 1:]
    cells, losses = EachLane().cells(rows), EachLane().nats(nats, rows)
    for lane, name in enumerate(LANES):
        assert cells[name] == rows["said"][..., lane].sum()
        assert losses[name] == pytest.approx(float(nats[..., lane].sum()), rel=1e-5)
    spoken = [one for one in MIXED if one.codes is not None]
    assert cells["audio3"] == sum(one.codes.shape[1] for one in spoken if one.codes is not None)
    assert cells["text"] == sum(len(one.text) + 1 for one in MIXED if one.question.task != "T1A1")


def test_nothing_is_learnt_from_the_future() -> None:
    rows, model = batch(CONFIG, [MIXED[0]]), small(TTS)
    changed = {**rows, "tokens": rows["tokens"].clone()}
    cut = rows["tokens"].shape[1] - 4
    changed["tokens"][:, cut:] = 0
    with torch.no_grad():
        torch.testing.assert_close(model(rows)[:, : cut - 1], model(changed)[:, : cut - 1], atol=0, rtol=0)
        assert not torch.equal(model(rows)[:, cut - 1 :], model(changed)[:, cut - 1 :])


def test_features_are_heard_where_they_lie_and_only_there() -> None:
    rows, model = batch(CONFIG, [sample("A1A2")]), small()
    features = rows["features"][rows["heard"]]
    first = model.embedded(rows["tokens"], rows["heard"], features)
    other = model.embedded(rows["tokens"], rows["heard"], features + 1)
    differs = (first != other).any(-1)
    assert torch.equal(differs, rows["heard"])
    silent = model.embedded(rows["tokens"], torch.zeros_like(rows["heard"]), features[:0])
    assert torch.equal((first != silent).any(-1), rows["heard"])


def test_a_step_is_the_mean_of_its_lanes() -> None:
    """Cell by cell. Where something is heard, it stands in the place of all seven books."""
    rows, model = batch(CONFIG, [sample("A1A2")]), small()
    added, own = model.added, model.lm.get_input_embeddings().weight
    with torch.no_grad():
        found = model.embedded(rows["tokens"], rows["heard"], rows["features"][rows["heard"]])[0]
        for step, tokens in enumerate(rows["tokens"][0].tolist()):
            text = tokens[BOOKS]
            total = own[text] if text < TEXT else added.marks.embedding.weight[text - TEXT]
            for book in range(BOOKS):
                code = added.books.embedding.weight[book * CONFIG.book + tokens[book]]
                total = total + (added.asr(rows["features"][0, step]) if rows["heard"][0, step] else code)
            torch.testing.assert_close(found[step], total / 8)


def test_a_text_model_stays_as_it_is_when_speech_is_added() -> None:
    lm = language_model()
    before = {name: tensor.clone() for name, tensor in lm.state_dict().items()}
    rows = [MiniOmni.grown(lm, CONFIG, seed).added.books.embedding.weight for seed in (0, 0, 1)]
    assert torch.equal(rows[0], rows[1])
    assert not torch.equal(rows[0], rows[2])
    assert len(torch.unique(rows[0], dim=0)) == BOOKS * CONFIG.book
    assert all(torch.equal(tensor, before[name]) for name, tensor in lm.state_dict().items())


@pytest.mark.parametrize("tied", [True, False])
def test_a_text_model_goes_on_to_write_as_it_did(tied: bool) -> None:
    """Grown whole, it predicts in the lane of text what it predicted alone, whatever came before."""
    lm, words_as = language_model(tied=tied), {"input_t": 3, "eot": 4, "answer_t": 5}
    asked, said = [7, 8, 9], [10, 11]
    with torch.no_grad():
        alone = lm(torch.tensor([[3, *asked, 4, 5, *said]])).logits[:, 5:]
        model = MiniOmni.grown_whole(lm, CONFIG, words_as)
        rows = batch(CONFIG, [Sample(Question("T1T2", None, asked), said)])
        states = whole(model.lm, model.embedded(rows["tokens"][:, :8], rows["heard"][:, :8], rows["features"][:0, 0]))
    torch.testing.assert_close(model.text_logits(states)[:, 5:, :TEXT], alone, atol=1e-4, rtol=1e-4)


def trained_by(stage: Stage, model: MiniOmni) -> set[str]:
    choose(model, stage)
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def test_each_stage_trains_its_parts() -> None:
    model = MiniOmni.grown(language_model(), TTS)
    names = {name for name, _ in model.named_parameters()}
    alignment, adaptation, everything = (trained_by(stage, model) for stage in STAGES)
    assert alignment == {name for name in names if not name.startswith("lm.")}
    assert {name for name in names if name.startswith("lm.")} < adaptation
    assert not any(name.startswith(("added.asr", "added.tts", "added.books")) for name in adaptation)
    assert everything == names
    assert [stage.name for stage in STAGES] == [*STAGE_TASKS]


@pytest.mark.parametrize("config", [CONFIG, replace(LEARNED, tts_blocks=1)], ids=["forced", "learned, tts"])
def test_what_is_learnt_by_heart_is_said(config: Config, tmp_path: Path) -> None:
    """Of every task one sample; the answer is the same in one row and in two, released decoding included."""
    model = MiniOmni.grown(language_model(), config)
    samples = [sample(task, seed, frames=4, text=5) for seed, task in enumerate(TASKS)]
    samples.append(replace(samples[0], question=replace(samples[0].question, task="A1T2"), codes=None))
    stage = Stage("by_heart", learning_rate=4e-3, batch_tokens=400, steps=120, weight_decay=0.0, mean_over="streams")
    train(model, stage, Run(tmp_path, quiet=True), Examples(config, samples), objective=EachLane())
    model.eval()
    for one in samples:
        ways = [Decoding(most_steps=40)]
        if config.delay == "learned":
            ways.append(Decoding(most_steps=40, exact=True))
        if one is samples[0]:
            ways += [replace(way, parallel=True) for way in ways]
        for how in ways:
            steps = said(one.question, how, model)
            assert written(steps) == list(one.question.typed if one.question.task == "T1A1" else one.text), how
            assert one.codes is None or frames_of(steps).tolist() == one.codes.tolist(), how


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("asked", "complaint"),
    [
        (Question("A1A2", None, [3]), "0 features in the task A1A2"),
        (Question("T1A2", torch.zeros(3, FEATURES)), "3 features in the task T1A2"),
        (Question("A1T2", torch.zeros(3, FEATURES + 1)), r"\[3, 7\], but the model hears \[T, 6\]"),
        (Question("A1T2", torch.full((3, FEATURES), torch.nan)), "no finite numbers"),
        (Question("T1T2", None, [TEXT]), "holds the id 50; the model knows 0 to 49"),
        (Question("T1T2", None, [1], history=(([1], [-2]),)), "holds the id -2"),
        (Question("A2T2", None, [1]), "no task 'A2T2'"),  # type: ignore[arg-type]
        (Question("T1T2", None, [1] * 256), "259 steps for a model of 256 positions"),
    ],
)
def test_what_cannot_be_asked_is_said_at_once(asked: Question, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        next(answered(small(), asked))


@pytest.mark.parametrize(
    ("one", "config", "complaint"),
    [
        (replace(sample("A1A2"), codes=None), CONFIG, "A1A2 needs codes"),
        (replace(sample("A1T2"), codes=np.zeros((BOOKS, 2), np.int64)), CONFIG, "A1T2 has no codes"),
        (replace(sample("A1A2"), codes=np.zeros((3, 2), np.int64)), CONFIG, r"codes \[3, 2\]"),
        (replace(sample("A1A2"), codes=np.full((BOOKS, 2), CODES)), CONFIG, "sound holds the id 12"),
        (replace(sample("A1A2"), text=[TEXT + 1]), CONFIG, "answer holds the id 51"),
        (sample("A1A2", frames=2, text=12), LEARNED, "12 tokens beside 2 frames"),
        (replace(sample("A1T1"), text=[]), LEARNED, "without text"),
    ],
)
def test_a_sample_that_does_not_fit_is_refused(one: Sample, config: Config, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Examples(config, [one])


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="temperature >= 0"):
        Choosing(temperature=-1)
    with pytest.raises(ValueError, match="most_steps is 0"):
        Decoding(most_steps=0)
    with pytest.raises(ValueError, match="without `parallel`"):
        next(answered(small(), question("A1T2"), Decoding(parallel=True)))
    with pytest.raises(ValueError, match=r"Config\(text=50"):
        MiniOmni(language_model(), nano(TEXT + 1))


# ---------------------------------------------------------------- on the disk


@pytest.mark.parametrize(("config", "tied"), [(CONFIG, True), (TTS, False)])
def test_a_folder_keeps_the_model(config: Config, tied: bool, tmp_path: Path) -> None:
    model, tokenizer = small(config, tied=tied), words_tokenizer(["four", "five"])
    mini_omni_folder.save(model, tokenizer, tmp_path)
    back, words = mini_omni_folder.load(tmp_path)
    ours, theirs = model.state_dict(), back.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert (back.config, back.training, words.get_vocab()) == (config, False, tokenizer.get_vocab())
    assert (back.added.books.head.weight is back.added.books.embedding.weight) == tied
    asked, how = question("A1A2"), Decoding(most_steps=12)
    assert said(asked, how, back) == said(asked, how, model)
    assert not [file for file in tmp_path.iterdir() if file.name.startswith(".")]


def test_a_folder_with_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no model of Mini-Omni: there is no mini_omni\.json"):
        mini_omni_folder.load(tmp_path)
    mini_omni_folder.save(small(), words_tokenizer(["four"]), tmp_path)
    (tmp_path / mini_omni_folder.ADDED).write_bytes(b"none")
    with pytest.raises(ValueError, match="cannot be read"):
        mini_omni_folder.load(tmp_path)
