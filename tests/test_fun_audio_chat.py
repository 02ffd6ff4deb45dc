"""Fun-Audio-Chat: many callers at once, hearing while somebody speaks, what is remembered, and what is learnt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from duologue.data.tensors import collate
from duologue.layout import unweave, weave
from duologue.model.picking import Picking, Seen
from duologue.model.weights import WeightsError
from duologue.streaming import Memory
from duologue.systems.fun_audio_chat import LEARNT, Config, TwoRates, nano
from duologue.systems.fun_audio_chat_examples import Turn, example, heard
from duologue.systems.fun_audio_chat_model import FunAudioChat
from duologue.systems.fun_audio_chat_nano import PARTS, SIZES, CausalEars
from duologue.systems.fun_audio_chat_nano import load as load_nano
from duologue.systems.fun_audio_chat_nano import save as save_nano
from duologue.systems.fun_audio_chat_released import load
from duologue.systems.fun_audio_chat_talk import SPEECH, TEXT, Said, Talk
from duologue.units.nano_ears import EarsConfig, NanoEars, WordEars
from small_fun_audio_chat import CODES, MEMORY, anew, model_of, plain, small, voice

KINDS = ("anew", "plain", "compatible")
DRAWN = Picking(temperature=1.5, top_p=0.95, penalty=1.1)
every_kind = pytest.mark.parametrize("kind", KINDS)
laws = settings(max_examples=6)


def talk_of(kind: str, batch: int = 1, **more: Any) -> Talk:
    return Talk(model_of(kind), batch, **{"memory": MEMORY, "text": DRAWN, "speech": DRAWN, **more})


def answered(talk: Talk, steps: int, rows: Sequence[int] | None = None) -> dict[int, list[Said]]:
    found: dict[int, list[Said]] = {}
    for _ in range(steps):
        for said in talk.step(rows and [row for row in rows if row in talk.asked()]):
            found.setdefault(said.row, []).append(said._replace(row=0))
    return found


def spoken_to(talk: Talk, row: int, caller: int) -> None:
    """A turn of one of eight callers, each of another length; two of them only write."""
    talk.instruct(row, " ".join(["say one"] * (caller % 3)))
    if caller % 4 == 3:
        talk.ask(row, "what is two plus two")
        return
    talk.hear(row, voice(0.3 + 0.37 * caller, caller), last=True)
    talk.ask(row, "again" if caller % 2 else "")


class Forced:
    """Says what it is told to."""

    def __init__(self, ids: Sequence[int]) -> None:
        self.ids = iter(ids)

    def __call__(self, *_: object) -> int:
        return next(self.ids)


def likeliest_code(logits: torch.Tensor, seen: Seen, draw: torch.Generator) -> int:
    """Speech that never ends."""
    return int(logits[:CODES].argmax())


# ---------------------------------------------------------------- a row in a crowd says what it says alone


@every_kind
def test_a_row_in_a_crowd_says_what_it_says_alone(kind: str) -> None:
    crowd = talk_of(kind, 8)
    for caller in range(8):
        spoken_to(crowd, caller, caller)
    together = answered(crowd, 6)
    for caller in range(8):
        alone = talk_of(kind)
        spoken_to(alone, 0, caller)
        assert answered(alone, 6)[0] == together[caller]
        ours, theirs = alone.calls[0], crowd.calls[caller]
        torch.testing.assert_close(ours.hidden, theirs.hidden, atol=1e-5, rtol=0)
        mine, crowded = alone.rows.head, crowd.rows.head
        length = int(mine.lengths[0])
        assert int(crowded.lengths[caller]) == length
        for one, all_rows in ((mine.keys, crowded.keys), (mine.values, crowded.values)):
            kept, others = one[0, :, :, :length], all_rows[caller, :, :, :length]
            torch.testing.assert_close(kept, others, atol=1e-5, rtol=0)


@every_kind
def test_callers_who_come_later_change_nothing(kind: str) -> None:
    crowd, alone = talk_of(kind, 2), talk_of(kind)
    spoken_to(crowd, 0, 1)
    spoken_to(alone, 0, 1)
    first = answered(crowd, 3)[0]
    spoken_to(crowd, 1, 2)
    assert first + answered(crowd, 4)[0] == answered(alone, 7)[0]


# ---------------------------------------------------------------- hearing while somebody speaks = hearing at once


@every_kind
@laws
@given(cuts=st.lists(st.integers(1, 32_000), max_size=6), seed=st.integers(0, 9), louder=st.booleans())
def test_hearing_bit_by_bit_is_hearing_at_once(kind: str, cuts: list[int], seed: int, louder: bool) -> None:
    audio = voice(2.2, seed)
    if louder:
        audio[20_000:] *= 30
    live, whole = talk_of(kind), talk_of(kind)
    for part in np.split(audio, sorted({cut for cut in cuts if cut < len(audio)})):
        live.hear(0, part)
        live.catch_up()
    live.hear(0, audio[:0], last=True)
    whole.hear(0, audio, last=True)
    for talk in (live, whole):
        talk.ask(0)
    assert answered(live, 4) == answered(whole, 4)
    torch.testing.assert_close(live.calls[0].hidden, whole.calls[0].hidden, atol=1e-5, rtol=0)


@every_kind
def test_little_is_left_to_read_when_a_turn_ends(kind: str) -> None:
    """All windows that are full have been read by the language model, and by the head but for the last step."""
    talk = talk_of(kind)
    talk.hear(0, voice(4.1))
    talk.catch_up()
    before, units = int(talk.rows.lm.fed[0]), int(talk.rows.head.fed[0])
    talk.hear(0, voice(0.1), last=True)
    talk.ask(0)
    talk.catch_up()
    assert int(talk.rows.lm.fed[0]) - before <= 2 + 4
    assert units == (0 if kind == "anew" else 5 * (before - 1))


# ---------------------------------------------------------------- one layout for training and talking


@pytest.mark.parametrize("config", [anew(1), anew(2), anew(5), replace(anew(5), heard_group=3), plain(2), plain(5)])
def test_what_is_said_is_what_training_would_have_it_say(config: Config) -> None:
    """The columns of a conversation, taken as an example: the model's states are those of the call, and the likeliest
    units those that it took."""
    model = small(config)
    talk = Talk(model, 1, MEMORY, text=Forced([34, 35, 36, 37] * 5), speech=likeliest_code)
    spoken_to(talk, 0, 2)
    answered(talk, 6)
    talk.end(0)
    talk.ask(0, "say again")
    answered(talk, 7)
    columns = talk.calls[0].columns()
    states = model.ears.start().push(voice(0.3 + 0.37 * 2, 2), last=True).states
    sound = model.grouped(states, int((columns.tokens[:, 0] == model.marks.heard).sum()))[None]
    asked = columns.said & (columns.tokens < CODES)
    asked[:, 0] = False
    tokens, said = torch.from_numpy(columns.tokens)[None], torch.from_numpy(asked)[None]
    batch = {"tokens": tokens, "said": said, "position": torch.arange(len(columns))[None], "heard": sound}
    with torch.no_grad():
        torch.testing.assert_close(model.states(batch)[0, -2], talk.calls[0].hidden, atol=1e-5, rtol=0)
        _, units = model.logits(batch)
    assert asked[: talk.calls[0].before].any()
    assert asked[talk.calls[0].before :].any()
    assert units[:, :CODES].argmax(-1).tolist() == columns.tokens[asked].tolist()


def test_the_language_model_reads_text_units_and_sound_as_means() -> None:
    """Each column beside its slow twin: text alone, text and a group, the end of speech, sound."""
    model = model_of("plain")
    ids, word = model.unit_ids, model.lm.get_input_embeddings().weight
    columns = [
        [4, *[ids.pad] * 5],
        [5, 1, 2, 3, 4, 5],
        [6, 7, 8, *[ids.eos] * 3],
        [model.marks.heard, *[ids.pad] * 5],
    ]
    states = torch.randn(5, model.ears.width, generator=torch.Generator().manual_seed(0))
    sound = torch.tensor([False, False, False, True])
    with torch.no_grad():
        found = model.embedded(torch.tensor(columns), sound, model.grouped(states), share=0.5)
        group = sum(model.units.table.weight[unit] for unit in columns[1][1:]) / 5
        spoken = (word[5] + model.units.matching.weight @ group) / 2
        heard_there = 0.5 * model.adapter.get_parameter("weight") @ (sum(states) / 5)
    torch.testing.assert_close(found, torch.stack([word[4], spoken, word[6], heard_there]), atol=1e-5, rtol=0)


# ---------------------------------------------------------------- what is remembered


def test_only_what_was_heard_is_remembered() -> None:
    """An answer that was cut is one that ended there: nothing of the rest is left in any state."""
    cut, short = talk_of("anew"), talk_of("anew")
    for talk, steps in ((cut, 9), (short, 4)):
        spoken_to(talk, 0, 1)
        answered(talk, steps)
        talk.end(0, groups=3)
        talk.ask(0, "what is two")
    assert answered(cut, 5) == answered(short, 5)
    assert cut.calls[0].columns().tokens.tolist() == short.calls[0].columns().tokens.tolist()
    torch.testing.assert_close(cut.calls[0].hidden, short.calls[0].hidden, atol=1e-5, rtol=0)


def test_text_that_was_not_heard_was_never_written() -> None:
    """Beside speech that was heard, there was silence."""
    model = model_of("anew")
    words, units = model.text_ids("one two three four five is what"), [1, 2, 3, 4, 5] * 7
    talks = [
        talk_of("anew", text=Forced(text), speech=Forced(units))
        for text in (words, [*words[:3], *[model.marks.silent] * 4])
    ]
    for talk, kept in zip(talks, (3, None), strict=True):
        spoken_to(talk, 0, 1)
        answered(talk, 7)
        talk.end(0, groups=5, words=kept)
        talk.ask(0, "what is two")
        talk.catch_up()
    one, other = (talk.calls[0] for talk in talks)
    assert one.columns().tokens.tolist() == other.columns().tokens.tolist()
    torch.testing.assert_close(one.hidden, other.hidden, atol=1e-5, rtol=0)


def test_an_answer_may_be_remembered_as_text_alone() -> None:
    """As if it had never been spoken; the rest of the conversation is not read anew."""
    aloud, written = talk_of("compatible"), talk_of("compatible")
    for talk in (aloud, written):
        spoken_to(talk, 0, 1)
    answered(aloud, 5)
    aloud.end(0, text="two plus two is four")
    written.remember(0, "two plus two is four")
    for talk in (aloud, written):
        talk.hear(0, voice(0.9, 7), last=True)
        talk.ask(0)
    assert answered(aloud, 5) == answered(written, 5)
    torch.testing.assert_close(aloud.calls[0].hidden, written.calls[0].hidden, atol=1e-5, rtol=0)


@every_kind
def test_a_turn_may_follow_without_a_word(kind: str) -> None:
    """An answer that is not ended is ended by the next turn."""
    first, second = talk_of(kind), talk_of(kind)
    for talk in (first, second):
        spoken_to(talk, 0, 1)
        answered(talk, 3)
    first.end(0)
    for talk in (first, second):
        talk.ask(0, "again")
    assert answered(first, 3) == answered(second, 3)


def test_memory_with_a_sink_goes_on_for_ever() -> None:
    endless: dict[str, Any] = {"text": Forced([4] * 120), "speech": Forced([1, 2, 3, 4, 5] * 120)}
    talk = talk_of("anew", **endless, memory=Memory(slots=60, sink=8, spare=30))
    talk.hear(0, voice(1.0), last=True)
    talk.ask(0)
    assert len(answered(talk, 120)[0]) == 120
    assert int(talk.rows.lm.lengths[0]) <= 60
    assert int(talk.rows.head.lengths[0]) <= 300


# ---------------------------------------------------------------- answers


def test_answers_in_text_alone_cost_no_head() -> None:
    talk = talk_of("anew", speaks=False)
    spoken_to(talk, 0, 1)
    said = answered(talk, 5)[0]
    assert not any(one.units for one in said)
    assert int(talk.rows.head.fed[0]) == 0


def test_the_head_rests_while_nothing_is_spoken() -> None:
    talk = talk_of("anew", opens=False, text=Forced([4] * 30))
    spoken_to(talk, 0, 1)
    before = int(talk.rows.head.fed[0])
    answered(talk, 12)
    assert int(talk.rows.head.fed[0]) == before


def test_the_last_units_are_kept_and_end_the_speech() -> None:
    model = model_of("anew")
    ids, marks = model.unit_ids, model.marks
    talk = talk_of("anew", text=Forced([4] * 9), speech=Forced([*range(5), 7, 8, ids.eos, 9, 9]))
    talk.ask(0, "say one")
    first, second, third, fourth = answered(talk, 4)[0]
    assert (first.text, first.units) == (marks.opens, ())
    assert second.units == tuple(range(5))
    assert third.text == marks.closes
    assert third.units == (7, 8, ids.eos, ids.eos, ids.eos)
    assert model.codes(third.units) == [7, 8]
    assert (fourth.text, fourth.units) == (4, ())


@every_kind
def test_the_same_seed_says_the_same(kind: str) -> None:
    def said(seed: int) -> list[Said]:
        talk = talk_of(kind, seed=seed)
        spoken_to(talk, 0, 1)
        return answered(talk, 8)[0]

    assert said(1) == said(1)
    assert said(1) != said(2)


# ---------------------------------------------------------------- learning


@every_kind
@settings(max_examples=20)
@given(
    units=st.lists(st.none() | st.integers(1, 23), min_size=1, max_size=3),
    places=st.lists(st.none() | st.integers(1, 4), min_size=3, max_size=3),
    words=st.integers(0, 4),
)
def test_an_example_is_what_the_layout_weaves(
    kind: str, units: list[int | None], places: list[int | None], words: int
) -> None:
    """The slow twin: its columns, taken apart by the layout and woven anew, and what the layout asks for."""
    model = model_of(kind)
    turns = list[Turn]()
    for number, count in enumerate(units):
        heard_places = places[number]
        sound = None if heard_places is None else {"heard": np.zeros((heard_places, model.heard_width), np.float16)}
        turns.append(Turn("user", "what is two", sound))
        turns.append(Turn("assistant", "one " * words, units=None if count is None else [*range(count + words * 5)]))
    made = example(model, turns, "say again")
    grid = weave(model.layout(), unweave(model.layout(), made["tokens"]))
    filled = (grid.tokens == model.unit_ids.pad) & (np.arange(1 + model.config.group) > 0)
    assert np.array_equal(made["tokens"], grid.tokens)
    assert np.array_equal(made["said"], grid.said & ~filled)
    speech = model.layout().streams.index("speech")
    assert np.array_equal(made["stream"][made["said"]], (grid.stream == speech)[made["said"]])
    assert len(made["heard"]) == (made["tokens"][:, 0] == model.marks.heard).sum()


def test_rows_of_unequal_length_are_learnt_in_half_precision_by_a_model_with_few_words() -> None:
    """What fills rows up is a word, too, and what ears and units are made into has the precision of words."""
    model = small(anew(), codes=400)
    turns = [exchange(model, n) for n in range(3)]
    with torch.no_grad():
        exact = model(batch_of(model, [[each] for each in turns]))
        with torch.autocast("cpu", torch.bfloat16):
            rough = model(batch_of(model, [[each] for each in turns]))
    torch.testing.assert_close(rough, exact, atol=0.3, rtol=0.1)


def exchange(model: FunAudioChat, number: int, units: int | None = 12) -> list[Turn]:
    draw = np.random.default_rng(number)
    codes = None if units is None else draw.integers(0, CODES, units + number).tolist()
    asked = Turn("user", sound=heard(model, voice(0.5 + 0.2 * number, number)))
    return [asked, Turn("assistant", f"{['one', 'two', 'three', 'four'][number % 4]} is okay.", units=codes)]


def batch_of(model: FunAudioChat, rows: Sequence[Sequence[Sequence[Turn]]]) -> dict[str, torch.Tensor]:
    return collate([[example(model, turns) for turns in row] for row in rows])


@every_kind
def test_packed_examples_are_learnt_as_they_are_apart(kind: str) -> None:
    model = model_of(kind)
    turns = [exchange(model, n) for n in range(3)]
    with torch.no_grad():
        packed = model(batch_of(model, [[turns[0], turns[1]], [turns[2]]]))
        apart = torch.cat([model(batch_of(model, [[each]])) for each in turns])
    torch.testing.assert_close(packed, apart, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_no_gradient_comes_from_the_future(kind: str) -> None:
    """Changing a step of an example changes nothing that was asked for before it."""
    model = model_of(kind)
    turns = [*exchange(model, 1), *exchange(model, 2)]
    batch = batch_of(model, [[turns]])
    with torch.no_grad():
        before = model(batch)
        steps = torch.nonzero(batch["said"][0, :, 1])[:, 0].tolist()
        changed = {**batch, "tokens": batch["tokens"].clone()}
        changed["tokens"][0, steps[5]] = torch.tensor([4, 1, 2, 3, 4, 5])
        after = model(changed)
    untouched = int(batch["said"][0, 1 : steps[5]].sum())
    assert torch.equal(before[:untouched], after[:untouched])
    assert not torch.allclose(before[untouched + 6 :], after[untouched + 6 :])


def test_a_batch_without_speech_has_a_loss() -> None:
    model = model_of("anew")
    batch = batch_of(model, [[exchange(model, n, units=None)] for n in range(2)])
    objective = TwoRates(LEARNT)
    assert objective.cells(batch)["speech"] == 0
    with torch.no_grad():
        nats = objective.nats(model(batch), batch)
    assert float(nats["speech"]) == 0
    assert float(nats["text"]) > 0


def test_the_pad_of_a_last_group_is_not_learnt_and_no_unit_is_lost() -> None:
    for kind in KINDS:
        model = model_of(kind)
        units = model.unit_ids
        for count in range(1, 12):
            codes = [n % CODES for n in range(count)]
            woven = example(model, [Turn("user", "say one"), Turn("assistant", "one", units=codes)])
            learnt = woven["tokens"][:, 1:][woven["said"][:, 1:]]
            assert learnt[learnt < units.codes].tolist() == codes
            assert (learnt == units.bos).sum() == model.config.lead * model.config.group
            assert units.pad not in learnt
            assert (learnt == units.eos).any()


def test_a_dialogue_is_learnt_by_heart_and_said() -> None:
    """Two questions that are heard, their answers in text and units; then the same by talking."""
    model = small(anew(), width=48)
    turns = [exchange(model, n) for n in range(2)]
    batch = batch_of(model, [[each] for each in turns])
    trained = [p for name, p in model.named_parameters() if not name.startswith("ears.")]
    optimizer = torch.optim.Adam(trained, lr=4e-3)
    for _ in range(80):
        optimizer.zero_grad()
        nats = model(batch)
        nats.mean().backward()
        optimizer.step()
    assert float(nats.detach().max()) < 0.5
    for number, (_, answer) in enumerate(turns):
        talk = Talk(model, 1, MEMORY, speech=TEXT)
        talk.hear(0, voice(0.5 + 0.2 * number, number), last=True)
        talk.ask(0)
        said = answered(talk, 20)[0]
        assert model.codes([unit for one in said for unit in one.units]) == answer.units
        written = model.words.decode([one.text for one in said], skip_special_tokens=True)
        assert written == str(answer.text).replace(".", " .")
        assert said[-1].last


# ---------------------------------------------------------------- what cannot be done is said


def test_bad_sound_is_refused() -> None:
    talk = talk_of("anew")
    with pytest.raises(ValueError, match="at least 640"):
        talk.hear(0, voice(0.03), last=True)
    with pytest.raises(ValueError, match="not all finite"):
        talk.hear(0, np.full(1000, np.nan, np.float32))
    with pytest.raises(ValueError, match="one channel"):
        talk.hear(0, np.zeros((2, 1000), np.float32))


def test_what_was_refused_is_forgotten() -> None:
    refused, other = talk_of("anew"), talk_of("anew")
    with pytest.raises(ValueError, match="at least 640"):
        refused.hear(0, voice(0.03), last=True)
    for talk in (refused, other):
        spoken_to(talk, 0, 1)
    assert answered(refused, 4) == answered(other, 4)


@pytest.mark.parametrize("memory", [MEMORY, Memory(slots=400, sink=8, spare=100)])
def test_ten_minutes_of_sound_are_refused_before_they_are_heard(memory: Memory) -> None:
    talk = talk_of("anew", memory=memory)
    with pytest.raises(ValueError, match="3000 steps, but memory has room for"):
        talk.hear(0, np.zeros(600 * 16_000, np.float32))


def test_odd_sizes_are_refused() -> None:
    odd = {"last_group": "end", "history": "all", "hears": "sum", "head_reads": "text", "group": 0, "heard_group": -1}
    for name, value in (*odd.items(), ("prompt_units", "none"), ("prompt_units", "junk")):
        with pytest.raises(ValueError, match=name):
            replace(nano(), **{name: value})  # type: ignore[arg-type]


def test_turns_come_in_order() -> None:
    talk = talk_of("anew")
    with pytest.raises(ValueError, match="nothing to answer"):
        talk.step([0])
    talk.hear(0, voice(1.0))
    with pytest.raises(ValueError, match="still heard"):
        talk.ask(0)
    talk.hear(0, voice(0.1), last=True)
    talk.ask(0)
    with pytest.raises(ValueError, match="being answered"):
        talk.ask(0, "again")


def test_text_that_is_too_long_for_its_speech_is_refused_or_cut() -> None:
    turns = [Turn("user", "say one"), Turn("assistant", "one two three four five okay then", units=[1, 2, 3])]
    with pytest.raises(ValueError, match="7 tokens beside 2 groups"):
        example(model_of("anew"), turns)
    cut = example(model_of("compatible"), turns)
    assert cut["said"][:, 0].sum() == 2 + 3 + 1


def test_odd_pickings_are_refused() -> None:
    for wrong in (Picking, lambda **more: replace(SPEECH, **more)):
        for name, value in (("temperature", -1.0), ("top_p", 0.0), ("top_k", -1), ("penalty", 0.0)):
            with pytest.raises(ValueError, match="give temperature"):
                wrong(**{name: value})  # type: ignore[arg-type]


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="config.json"):
        load(tmp_path)


# ---------------------------------------------------------------- the nano size


def causal() -> FunAudioChat:
    sizes = {"width": 64, "layers": 1, "n_mels": 20, "front_width": 16, "front_blocks": 2, "front_taps": 3}
    torch.manual_seed(0)
    return small(
        nano(), ears=CausalEars(WordEars(NanoEars(EarsConfig(("one", "two"), **sizes)), torch.randn(2, 24)).eval())
    )


def test_causal_ears_hear_bit_by_bit_what_they_hear_at_once() -> None:
    model, audio = causal(), voice(1.3, 3)
    live, whole = Talk(model, 1, MEMORY, text=DRAWN), Talk(model, 1, MEMORY, text=DRAWN)
    for part in np.split(audio, [500, 3_000, 3_100, 12_000]):
        live.hear(0, part)
        live.catch_up()
    read = int(live.rows.lm.fed[0])
    live.hear(0, audio[:0], last=True)
    whole.hear(0, audio, last=True)
    assert int(live.rows.lm.fed[0]) - read <= 1
    for talk in (live, whole):
        talk.ask(0)
    assert answered(live, 4) == answered(whole, 4)
    torch.testing.assert_close(live.calls[0].hidden, whole.calls[0].hidden, atol=1e-5, rtol=0)


def test_a_model_comes_back_from_its_folder(tmp_path: Path) -> None:
    model = causal()
    save_nano(model, tmp_path / "model")
    again = load_nano(tmp_path / "model")
    assert (again.config, again.marks, again.unit_ids) == (model.config, model.marks, model.unit_ids)
    kept = dict(model.named_parameters())
    for name, parameter in again.named_parameters():
        if not name.startswith("ears."):
            assert torch.equal(parameter, kept[name]), name
    assert Talk(again, 1, MEMORY).rows.lm.keys.shape == Talk(model, 1, MEMORY).rows.lm.keys.shape


def test_other_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no Fun-Audio-Chat"):
        load_nano(tmp_path)
    save_nano(causal(), tmp_path / "model")
    (tmp_path / "model" / PARTS).write_bytes(b"broken")
    with pytest.raises(ValueError, match="cannot be read"):
        load_nano(tmp_path / "model")
    with pytest.raises(TypeError, match="OmniEars"):
        save_nano(model_of("anew"), tmp_path)


def test_weights_that_do_not_fit_are_named(tmp_path: Path) -> None:
    """One too few, one too many, those of another group."""
    save_nano(causal(), tmp_path)
    sizes, parts = (tmp_path / SIZES).read_text(), load_file(tmp_path / PARTS)
    name = "head.leave.weight"
    save_file({key: value for key, value in parts.items() if key != name}, tmp_path / PARTS)
    with pytest.raises(ValueError, match=f"missing: {name}"):
        load_nano(tmp_path)
    save_file(parts | {"strange": torch.zeros(1)}, tmp_path / PARTS)
    with pytest.raises(ValueError, match="not of this model: strange"):
        load_nano(tmp_path)
    save_file(parts, tmp_path / PARTS)
    (tmp_path / SIZES).write_text(sizes.replace('"group": 5', '"group": 2'))
    with pytest.raises(ValueError, match="head.spread"):
        load_nano(tmp_path)


def test_no_sound_at_all_is_refused() -> None:
    talk = talk_of("anew")
    with pytest.raises(ValueError, match="0 samples of sound: give at least 640"):
        talk.hear(0, np.zeros(0, np.float32), last=True)


def test_an_answer_opens_with_speech_or_with_what_may_stand_instead() -> None:
    """Whichever is likelier, whatever else is."""
    model, opens = model_of("anew"), model_of("anew").marks.opens
    first = set()
    for instead in range(4, 16):
        talk = talk_of("anew", instead=(instead,))
        talk.ask(0, "say one")
        (said,) = talk.step()
        logits = model.lm.get_output_embeddings()(talk.calls[0].hidden).detach()
        assert said.text == (instead if logits[instead] > logits[opens] else opens)
        first.add(said.text == opens)
    assert first == {True, False}


def test_units_begin_the_more_alike_the_more_is_alike_in_them() -> None:
    model = small(anew(), width=96)
    known = torch.tensor([[1.0, 0, 1, 0], [1, 0, 0, 1], [0, 1, 0, 1]])
    model.units.begin_alike(known)
    rows = model.units.table.weight[:3].detach()
    alike = rows @ rows.T
    torch.testing.assert_close(alike.diagonal(), torch.ones(3))
    assert alike[0, 1] > alike[0, 2] + 0.2
    assert alike[1, 2] > alike[0, 2] + 0.2
    assert not model.units.table.weight[model.unit_ids.pad].any()
