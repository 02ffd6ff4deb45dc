"""OmniFlatten: what each stage learns from, how a model grows, that it learns what it is shown, not the future."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError
from torch import Tensor
from transformers import AutoModelForCausalLM, Qwen2Config

from duologue.data.encode import Encoded, Stretch
from duologue.data.tensors import Example, collate
from duologue.duplex import LayoutSession
from duologue.model.backbone import backbone, tokenizer_of
from duologue.model.one_vocabulary import Codes
from duologue.model.words import CALL
from duologue.systems import omni_flatten
from duologue.systems.omni_flatten import STAGES, STREAMS, TAG_TOKENS, Config, OmniFlatten
from duologue.systems.omni_flatten_examples import (
    BEFORE,
    EXAMPLES,
    HEARD_LATER,
    exchanges,
    listened,
    timed,
    utterances,
    with_some_sound,
    without_sound,
)
from duologue.train import Causal, NextToken, Run, Stage, train
from duologue.units import nano_codec
from little_training import losses
from small_omni import CODES, conversation, kept, small, text_model

USER, HEARD, TEXT, SPEECH = range(4)
USUAL, BY_TURN = Config(4, 2, 2), Config(4, 2, 0)


@lru_cache
def model(config: Config = USUAL) -> OmniFlatten:
    return small(config)


def examples(stage: str, *rows: Encoded, config: Config = USUAL) -> list[Example]:
    return list(EXAMPLES[stage](model(config), rows or [conversation()]))


def told(tokens: Any) -> list[str]:
    found: list[str] = model().words.convert_ids_to_tokens([int(token) for token in tokens])
    return found


def of(example: Example, stream: int, said: bool | None = None) -> list[str]:
    """Tokens of a stream, Puts left out: those that are not said stand in the first stream's number."""
    chosen = example["stream"] == stream
    if said is not None:
        chosen &= example["said"] == said
    return told(example["tokens"][chosen])


def units(stretch: Stretch) -> list[str]:
    return [f"<unit {unit}>" for unit in stretch.units]


def parts(text: str) -> list[str]:
    return told(model().text_ids(text))


# ---------------------------------------------------------------- stage 1: alignment


def test_alignment_recognises_what_users_say_and_speaks_what_the_assistant_says() -> None:
    row, made = conversation(), examples("alignment", config=BY_TURN)
    users_first = sorted(row.stretches, key=lambda stretch: stretch.speaker, reverse=True)
    for stretch, example in zip(users_first, made, strict=True):
        spoken, _, _ = stretch.text.partition(CALL)
        speech = ["[SOS]", *units(stretch), "[EOS]"]
        text = ["[SOT]", *parts(spoken), "[EOT]"]
        user = stretch.speaker == "user"
        whole = ["[ASR]", *speech, *text] if user else ["[TTS]", *text, *speech]
        assert told(example["tokens"]) == whole
        answer = (text if user else speech)[1:]
        assert told(example["tokens"][example["said"]]) == answer
        assert set(example["stream"][example["said"]]) == {TEXT if user else SPEECH}


def test_a_model_that_writes_what_it_hears_learns_it_word_by_word() -> None:
    """Each utterance by itself, whole chunks of it: a little before, and after it as much as its words need."""
    row, made = conversation(), examples("alignment")
    spoken = utterances(row)
    assert [" ".join(s.text for s in one) for one in spoken] == ["what is two plus two", "okay", "what is five"]
    for utterance, example in zip(spoken, made, strict=False):
        start = max(0, utterance[0].start - BEFORE)
        heard = of(example, USER)
        assert heard == [f"<unit {unit}>" for unit in row.user[start : start + len(heard)]]
        assert len(heard) >= utterance[-1].start + len(utterance[-1].units) - start
        words = [token for token in of(example, HEARD, said=True) if token != "[silent text]"]
        assert words == [part for stretch in utterance for part in parts(stretch.text)][: len(words)]
        assert len(words) == sum(len(stretch.ends) for stretch in utterance)
        assert example["stream"].tolist() == [USER, USER, USER, USER, HEARD, HEARD] * (len(heard) // 4)
    assert [set(example["stream"][example["said"]]) for example in made[len(spoken) :]] == [{SPEECH}, {SPEECH}]


def test_words_that_have_to_be_spelt_are_not_listened_to() -> None:
    """They would come out ever later than they are said."""
    (what, *_), row = conversation().stretches, conversation()
    strange = replace(what, text="incomprehensibilities", ends=what.ends[:1])
    assert listened(model(), row, [what]) is not None
    assert listened(model(), row, [strange]) is None


def test_what_has_no_sound_or_was_cut_is_no_sample_of_alignment() -> None:
    written = Stretch("assistant", 9, (), "four", (), 1)
    row = replace(conversation(cut=True), stretches=(*conversation(cut=True).stretches, written))
    assert len(examples("alignment", row, config=BY_TURN)) == len(row.stretches) - 2


# ---------------------------------------------------------------- stage 2: half duplex


def exchange(heard: list[str], words: str, answer: Stretch) -> list[str]:
    """Its four streams, with their tags."""
    return [
        *["[SOS]", *heard, "[EOS]"],
        *["[SOT]", *parts(words), "[EOT]"],
        *["[SOT]", *parts(answer.text), "[EOT]"],
        *["[SOS]", *units(answer), "[EOS]"],
    ]


def test_half_duplex_goes_turn_by_turn_through_four_streams() -> None:
    row = conversation()
    what, plus, four, _, five, done = row.stretches
    (example,) = examples("half_duplex", config=BY_TURN)
    pause = [f"<unit {unit}>" for unit in row.user[3:20]]
    first = exchange(pause, "what is two plus two", four)
    assert told(example["tokens"]) == [*first, *exchange(units(five), five.text, done)]
    assert told(example["tokens"][example["said"]]) == [
        *[*parts("what is two plus two"), "[EOT]", *parts(four.text), "[EOT]", *units(four), "[EOS]"],
        *[*parts("what is five"), "[EOT]", *parts(done.text), "[EOT]", *units(done), "[EOS]"],
    ]
    assert what.turn == plus.turn
    assert of(example, HEARD) == [*parts("what is two plus two"), "[EOT]", *parts("what is five"), "[EOT]"]
    assert of(example, SPEECH, said=True) == [*units(four), "[EOS]", *units(done), "[EOS]"]
    assert of(example, USER, said=True) == []


def test_by_ear_the_words_are_written_while_they_are_heard() -> None:
    """The same exchanges; the parts of listening are those of alignment, each closed before the answer."""
    row, (example,) = conversation(), examples("half_duplex")
    _, _, four, _, five, done = row.stretches
    streams = [listened(model(), row, asked) for asked, _ in exchanges(row)]
    tokens = told(example["tokens"])
    for woven, answer in zip(streams, (four, done), strict=True):
        assert woven is not None
        heard = list(zip(*[iter(told(woven["user"]))] * 4, *[iter(told(woven["heard"]))] * 2, strict=True))
        part = ["[SOS]", *(token for chunk in heard for token in chunk), "[EOS]", "[SOT]", *parts(answer.text), "[EOT]"]
        whole = [*part, "[SOS]", *units(answer), "[EOS]"]
        assert tokens[: len(whole)] == whole
        tokens = tokens[len(whole) :]
    assert tokens == []
    assert five.text == "what is five"


def test_an_answer_that_was_cut_ends_the_example_with_its_text() -> None:
    (example,) = examples("half_duplex", conversation(cut=True))
    *_, last = conversation(cut=True).stretches
    assert told(example["tokens"])[-len(parts(last.text)) - 2 :] == ["[SOT]", *parts(last.text), "[EOT]"]
    assert bool(example["said"][-1])


def test_an_answer_without_sound_is_learnt_in_text_alone() -> None:
    asked, written = conversation().stretches[1], Stretch("assistant", 20, (), "four", (), 1)
    (example,) = examples("half_duplex", replace(conversation(), stretches=(asked, written)))
    assert told(example["tokens"])[-3:] == ["[SOT]", "four", "[EOT]"]
    assert of(example, SPEECH) == []


def test_who_only_reads_is_no_exchange() -> None:
    alone = replace(conversation(), stretches=tuple(s for s in conversation().stretches if s.speaker == "user"))
    assert list(exchanges(alone)) == []
    assert examples("half_duplex", alone) == []


# ---------------------------------------------------------------- stages 3 and 4: full duplex

CONFIGS = [Config(4, 2, 2), Config(4, 0, 2), Config(10, 0, 0), Config(10, 2, 3)]


@pytest.mark.parametrize("config", CONFIGS)
def test_full_duplex_learns_all_that_the_model_says_and_nothing_that_the_user_says(config: Config) -> None:
    (example,) = examples("full_duplex", config=config)
    sizes = [config.speech_chunk, config.heard_chunk, config.text_chunk, config.speech_chunk]
    chunk = [stream for stream, size in enumerate(sizes) for _ in range(size)]
    assert len(example["tokens"]) % len(chunk) == 0
    assert example["stream"].tolist() == chunk * (len(example["tokens"]) // len(chunk))
    assert (example["said"] == (example["stream"] != USER)).all()


def test_two_streams_have_sound_alone() -> None:
    """Also of a model that has text until then: units of the user, and units or silence that it says."""
    (example,), (bare,) = examples("two_streams"), examples("full_duplex", config=Config(4, 0, 0))
    assert told(example["tokens"]) == told(bare["tokens"])
    assert model().without_text().config == Config(4, 0, 0)
    assert set(example["stream"]) == {USER, SPEECH}
    assert all(token.startswith("<unit") for token in of(example, USER))
    assert all(token.startswith("<unit") or token == "[silent speech]" for token in of(example, SPEECH))
    assert "[silent speech]" not in of(example, USER)


@pytest.mark.parametrize("cut", [False, True])
def test_speech_lies_where_it_was_spoken_and_silence_is_no_unit(cut: bool) -> None:
    row = conversation(cut=cut)
    woven = timed(model(), row)
    expected = ["[silent speech]"] * len(woven["speech"])
    for stretch in row.stretches:
        if stretch.speaker == "assistant":
            expected[stretch.start : stretch.start + len(stretch.units)] = units(stretch)
    assert told(woven["speech"]) == expected
    assert set(model().ids["units"].ids).isdisjoint({model().tags.silent_speech, model().tags.silent_text})


def test_the_user_is_heard_all_the_time_and_goes_on_at_the_end_as_it_ended() -> None:
    row = conversation()
    long = replace(row, stretches=(Stretch("assistant", 80, (1, 2, 3), "two plus two is four. " * 5, (), 1),))
    units = [f"<unit {unit}>" for unit in row.user]
    assert told(timed(model(), row)["user"]) == units[: len(units) // 4 * 4]
    heard = told(timed(model(), long)["user"])
    assert len(heard) > len(units) + 8
    assert heard == (units + units[-4:] * len(heard))[: len(heard)]


def test_of_a_text_that_is_longer_than_its_sound_nothing_is_lost() -> None:
    """The user's channel goes on until all is written."""
    long = Stretch("assistant", 80, (1, 2, 3), "two plus two is four. " * 5, (), 1)
    row = replace(conversation(), stretches=(conversation().stretches[1], long))
    woven = timed(model(), row)
    silent = model().tags.silent_text
    assert told(token for token in woven["text"] if token != silent) == parts(long.text)
    assert len(woven["user"]) == len(woven["speech"]) == 2 * len(woven["text"]) > len(row.user)


@pytest.mark.parametrize("length", [1, 3, 57, 58, 59, 60, 61])
def test_speech_at_the_very_end_is_not_lost(length: int) -> None:
    """Whatever the recording's length: the last chunk, which is not whole, holds speech too."""
    ours = tuple(unit % CODES for unit in range(length))
    row = Encoded("short", conversation().user[:length], (Stretch("assistant", 0, ours, "", (), 1),))
    woven = timed(model(), row)
    assert told(woven["speech"])[:length] == [f"<unit {unit}>" for unit in ours]
    assert all(token.startswith("<unit") for token in told(woven["user"]))


@pytest.mark.parametrize("config", [Config(4, 2, 2), Config(10, 3, 2)])
def test_what_is_heard_is_written_after_it_was_heard(config: Config) -> None:
    """Each word in the chunk of its end and three units, or later; in the order of the words."""
    row = conversation()
    woven = timed(model(config), row)
    silent = model().tags.silent_text
    places = [(place // config.heard_chunk, token) for place, token in enumerate(woven["heard"]) if token != silent]
    words = [
        (end, word) for stretch in row.stretches for word, end in zip(stretch.text.split(), stretch.ends, strict=False)
    ]
    words.sort()
    assert told(token for _, token in places) == [word for _, word in words]
    for (chunk, _), (end, _) in zip(places, words, strict=True):
        assert chunk >= (end + HEARD_LATER) // config.speech_chunk
        assert (chunk + 1) * config.speech_chunk > end + 1, "it is written before the chunk is heard"


def test_the_text_of_an_answer_begins_with_its_sound() -> None:
    woven = timed(model(), conversation())
    written = told(woven["text"])
    first = next(place for place, token in enumerate(written) if token != "[silent text]")
    assert first // 2 == 22 // 4
    four = parts("four. <call> set_timer seconds = 5 </call>")
    assert written[first : first + len(four)] == four


TURNS = ("say one two one two", "One, two.", "and again please", "One, two, one, two.")


@pytest.mark.parametrize("seed", range(3))
def test_without_sound_words_and_answers_lie_where_they_would_with_it(seed: int) -> None:
    learner = model(Config(heard_chunk=3))
    found = without_sound(learner, TURNS, seed)
    places = found["steps"].cumsum() - 1
    in_chunk = places % learner.config.chunk_tokens
    heard, text = (found["stream"] == STREAMS.index(name) for name in ("heard", "text"))
    assert np.isin(in_chunk[heard], range(10, 13)).all()
    assert np.isin(in_chunk[text], range(13, 15)).all()
    assert (heard | text).all()
    assert (np.diff(places)[in_chunk[1:] > 10] == 1).all(), "what is written in a chunk lies together"
    assert (found["said"] == text & (found["tokens"] != learner.tags.silent_text)).all()
    for number, turn in enumerate(TURNS):
        assert parts(turn)[0].lower() in [word.lower() for word in of(found, 2 if number % 2 else 1)]


@pytest.mark.parametrize("seed", range(4))
def test_with_some_sound_all_words_stay_where_they_were(seed: int) -> None:
    learner, (whole,) = model(), examples("full_duplex")
    some = with_some_sound(learner, whole, seed)
    places = some["steps"].cumsum() - 1
    for name in ("tokens", "stream"):
        np.testing.assert_array_equal(some[name], whole[name][places])
    written = np.flatnonzero(np.isin(whole["stream"], [STREAMS.index("heard"), STREAMS.index("text")]))
    assert {*written.tolist()} <= {*places.tolist()}
    assert len(written) <= len(places) < len(whole["tokens"])
    answers = of(whole, STREAMS.index("text"))
    words = [word for before, word in pairwise(answers) if "[silent text]" not in (before, word)]
    assert of({**some, "tokens": some["tokens"][some["said"]], "stream": some["stream"][some["said"]]}, 2) == words


def test_what_is_left_out_is_what_nobody_looks_at() -> None:
    """A model that learns without the sound computes what it would with it, if it looked at words and texts alone."""
    learner = small(config=Config(heard_chunk=3))
    found = without_sound(learner, TURNS, 0)
    batch = collate([[found]])
    with torch.no_grad():
        given = Causal(learner.lm)(batch)
        places = batch["steps"].cumsum(1)[0] - 1
        tokens = torch.randint(5, (1, int(places[-1]) + 1))
        tokens[0, places] = batch["tokens"]
        looked_at = torch.zeros_like(tokens).index_fill(1, places, 1)
        whole = learner.lm(input_ids=tokens, attention_mask=looked_at, position_ids=torch.arange(tokens.shape[1])[None])
    asked = batch["said"][0, 1:].nonzero()[:, 0]
    torch.testing.assert_close(given, whole.logits[0, places[asked]], atol=1e-5, rtol=1e-4)


def test_with_all_its_sound_nothing_is_left_out() -> None:
    learner = small()
    batch = collate([[examples("full_duplex")[0]]])
    with torch.no_grad():
        without, with_steps = (
            Causal(learner.lm)(each) for each in (batch, {**batch, "steps": torch.ones_like(batch["tokens"])})
        )
    torch.testing.assert_close(without, with_steps)


def test_what_was_cut_is_not_written_as_if_it_had_been_said() -> None:
    row = conversation(cut=True)
    woven = timed(model(), row)
    last = row.stretches[-1]
    ends = (last.start + len(last.units) - 1) // 4
    assert set(told(woven["text"][2 * (ends + 1) :])) <= {"[silent text]"}
    whole = timed(model(), conversation())
    assert "done" in told(whole["text"])
    assert "done" not in told(woven["text"])


# ---------------------------------------------------------------- a model that grew


def test_what_was_there_is_untouched_and_new_ids_are_contiguous() -> None:
    words = small().words
    lm = backbone(Qwen2Config(**_sizes(len(words) - len(TAG_TOKENS) - CODES)), seed=3)
    old, fresh = lm.get_input_embeddings().weight.detach().clone(), omni_flatten_words()
    texts = len(fresh)
    grown = OmniFlatten.grown(lm, fresh, Codes(CODES), Config())
    assert grown.texts == range(texts)
    assert list(grown.tags) == list(range(texts, texts + 8))
    assert list(grown.ids["units"].ids) == list(range(texts + 8, texts + 8 + CODES))
    assert grown.unit_ids([0, 59]) == [texts + 8, texts + 8 + 59]
    weight = grown.lm.get_input_embeddings().weight
    assert len(weight) == texts + 8 + CODES
    assert torch.equal(weight[:texts], old)
    rows = weight[texts:].detach().numpy()
    assert len(np.unique(rows, axis=0)) == len(rows)
    assert all(fresh.convert_tokens_to_ids(f"<unit {n}>") == texts + 8 + n for n in range(CODES))


def omni_flatten_words() -> Any:
    from duologue.model.words import words_tokenizer
    from small_omni import WORDS

    return words_tokenizer(WORDS)


def _sizes(tokens: int) -> dict[str, Any]:
    return {
        "vocab_size": tokens,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "tie_word_embeddings": True,
    }


def test_units_begin_as_what_the_codec_knows_of_them() -> None:
    """Codes with close vectors have close rows."""
    vectors = torch.nn.functional.one_hot(torch.arange(6) // 2, 3).float() + torch.randn(6, 3) / 100
    words = omni_flatten_words()
    lm = backbone(Qwen2Config(**_sizes(len(words))), seed=3)
    grown = OmniFlatten.grown(lm, words, Codes(6, vectors), Config())
    rows = grown.lm.get_input_embeddings().weight[list(grown.ids["units"].ids)]
    near = torch.cdist(rows, rows)
    for unit in range(6):
        assert int(near[unit].argsort()[1]) == unit ^ 1


def test_each_stream_holds_only_what_it_may() -> None:
    speech, text = (set(model().may_hold(stream).tolist()) for stream in ("speech", "text"))
    assert speech == {model().tags.silent_speech, *model().ids["units"].ids}
    assert text == {model().tags.silent_text, *model().texts}
    assert text == set(model().may_hold("heard").tolist())


@settings(max_examples=40)
@given(st.data())
def test_text_that_is_written_is_never_taken_back(data: st.DataObject) -> None:
    """A session tells it as it grows: what was told of a beginning is the beginning of what is told of more."""
    vocabulary = [token for token in model().texts if not model().words.decode([token]).startswith(("<|", "<"))]
    whole = [token for token in vocabulary if not told([token])[0].startswith("##")]
    ids = [data.draw(st.sampled_from(whole)), *data.draw(st.lists(st.sampled_from(vocabulary), max_size=12))]
    before = ""
    for end in range(1, len(ids) + 1):
        text, calls = model().text_of(ids[:end], ())
        assert text.startswith(before)
        assert calls == ()
        before = text


# ---------------------------------------------------------------- on the disk


def logits(lm: Any, ids: list[int]) -> Tensor:
    with torch.no_grad():
        found: Tensor = lm(torch.tensor([ids])).logits
    return found


def test_saved_and_loaded_it_is_the_same(tmp_path: Path) -> None:
    made = kept(tmp_path / "model")
    again = OmniFlatten.load(tmp_path / "model")
    assert again.ids == made.ids
    assert again.tags == made.tags
    assert again.config == made.config
    ids = [*made.text_ids("what is two"), *made.tags, *made.unit_ids([0, 7, 59])]
    assert again.text_ids("what is two zyx") == made.text_ids("what is two zyx")
    assert torch.equal(logits(again.lm, ids), logits(made.lm, ids))
    session = omni_flatten.session(tmp_path / "model")
    assert isinstance(session, LayoutSession)
    assert {tool.name for tool in session.tools} >= {"set_timer", "order_drink"}


def test_a_folder_with_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds no OmniFlatten model; recipes/omni_flatten\.py makes one"):
        OmniFlatten.load(tmp_path)
    with pytest.raises(ValueError, match="holds no OmniFlatten model"):
        OmniFlatten.load(tmp_path / "none")
    kept(tmp_path / "model")
    (tmp_path / "model" / nano_codec.CODEC).unlink()
    with pytest.raises(FileNotFoundError, match=r"nano_units\.safetensors: there is no such file"):
        omni_flatten.session(tmp_path / "model")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("omni_flatten.json", "{"),
        ("omni_flatten.json", '{"speech_chunk": 4, "sizes": 3}'),
        ("omni_flatten.json", "[]"),
        ("ids.json", "{"),
        ("ids.json", "{}"),
        ("config.json", "{"),
        ("tokenizer.json", "{"),
        ("model.safetensors", "no weights"),
    ],
)
def test_a_folder_in_which_a_file_is_broken_is_refused(tmp_path: Path, name: str, content: str) -> None:
    kept(tmp_path / "model")
    assert (tmp_path / "model" / name).exists()
    (tmp_path / "model" / name).write_text(content)
    with pytest.raises(ValueError, match=str(tmp_path / "model")):
        OmniFlatten.load(tmp_path / "model")


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("failing", ["weights", "words", "ids"])
def test_on_a_full_disk_what_was_there_is_there_still(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    kept(tmp_path / "model")
    before, other = files(tmp_path / "model"), small(seed=6)

    def full(*_: object, **__: object) -> None:
        raise {"weights": SafetensorError, "words": Exception, "ids": OSError}[failing]("No space left on device")

    part = {"weights": other.lm, "words": other.words, "ids": type(other.ids)}[failing]
    with monkeypatch.context() as disk:
        disk.setattr(part, "save" if failing == "ids" else "save_pretrained", full)
        with pytest.raises(OSError, match=r"model could not be written \(No space left on device\); make room"):
            other.save(tmp_path / "model")
    assert files(tmp_path / "model") == before
    other.save(tmp_path / "model")
    assert files(tmp_path / "model").keys() == before.keys()
    assert files(tmp_path / "model") != before


def test_ids_of_another_tokenizer_are_refused(tmp_path: Path) -> None:
    kept(tmp_path / "model")
    ids = json.loads((tmp_path / "model" / "ids.json").read_text())
    ids["groups"]["units"]["offset"] += 1
    (tmp_path / "model" / "ids.json").write_text(json.dumps(ids))
    with pytest.raises(ValueError, match="is of another tokenizer: ids of the group 'units' differ"):
        OmniFlatten.load(tmp_path / "model")


# ---------------------------------------------------------------- the paper's base


def test_the_papers_base_grows_under_its_own_names(tmp_path: Path) -> None:
    """After growing and saving it is what transformers loads by itself."""
    before = text_model(tmp_path / "base")
    lm, tokenizer = backbone(str(tmp_path / "base")), tokenizer_of(tmp_path / "base")
    old = lm.get_input_embeddings().weight.detach().clone()
    grown = OmniFlatten.grown(lm, tokenizer, Codes(CODES), omni_flatten.paper())
    assert list(grown.tags) == list(range(before, before + 8))
    assert torch.equal(lm.get_input_embeddings().weight[:before], old[:before])
    grown.save(tmp_path / "grown")
    again, report = AutoModelForCausalLM.from_pretrained(tmp_path / "grown", output_loading_info=True)
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    names = set(again.state_dict())
    attention = "model.layers.1.self_attn"
    assert {"model.embed_tokens.weight", "model.norm.weight", f"{attention}.q_proj.bias"} <= names
    ids = [*grown.text_ids("what is two"), *grown.unit_ids([3])]
    assert torch.equal(logits(again.eval(), ids), logits(grown.lm, ids))
    assert again.get_output_embeddings().weight is again.get_input_embeddings().weight
    assert OmniFlatten.load(tmp_path / "grown").config == omni_flatten.paper()


# ---------------------------------------------------------------- learning


def test_every_stage_has_its_examples() -> None:
    assert [stage.name for stage in STAGES] == list(EXAMPLES)
    for stage in STAGES:
        cells = NextToken(STREAMS).cells(collate([[example] for example in examples(stage.name)]))
        assert int(cells["user"]) == 0
        assert int(cells["speech"]) > 0


@pytest.mark.parametrize("stage", ["half_duplex", "full_duplex"])
def test_two_conversations_are_learnt_by_heart(tmp_path: Path, stage: str) -> None:
    """In a few seconds, by Muon: given what was before, the likeliest token is the right one at every place."""
    learner = small(width=64)
    made = list(EXAMPLES[stage](learner, [conversation(0), conversation(1)]))
    how = Stage("heart", 8e-3, 2_000, steps=110, warmup_steps=5, weight_decay=0, muon=("*.layers.*",), final_rate=0.05)
    train(Causal(learner.lm), how, Run(tmp_path, quiet=True), made, objective=NextToken(STREAMS))
    learner.lm.eval()
    for example in made:
        tokens = torch.from_numpy(example["tokens"])
        guessed = logits(learner.lm, tokens.tolist())[0, :-1].argmax(-1)
        said = torch.from_numpy(example["said"])[1:]
        wrong = (guessed != tokens[1:]) & said
        assert int(wrong.sum()) == 0, f"{int(wrong.sum())} of {int(said.sum())} wrong, loss {losses(tmp_path)[-1]}"


@pytest.mark.parametrize("config", [Config(4, 2, 2), Config(10, 0, 0)])
def test_no_gradient_comes_from_the_future(config: Config) -> None:
    """The loss of what is said at a place depends on nothing at this place or after it."""
    (example,) = examples("full_duplex", config=config)
    lm, objective = model(config).lm, NextToken(STREAMS)
    tokens = torch.from_numpy(example["tokens"])[None]
    asked = np.flatnonzero(example["said"])
    for place in (int(asked[n]) for n in np.linspace(0, len(asked) - 1, 5).astype(int)):
        vectors = lm.get_input_embeddings()(tokens).detach().requires_grad_()
        hidden = lm.get_decoder()(inputs_embeds=vectors, use_cache=False).last_hidden_state
        said = torch.zeros_like(tokens, dtype=torch.bool)
        said[0, place] = True
        stream = torch.from_numpy(example["stream"])[None]
        nats = objective.nats(lm.get_output_embeddings()(hidden), {"tokens": tokens, "said": said, "stream": stream})
        loss: Any = torch.stack(list(nats.values())).sum()
        loss.backward()
        assert vectors.grad is not None
        reached = vectors.grad[0].abs().sum(-1) > 0
        assert bool(reached[:place].all())
        assert not bool(reached[place:].any())
