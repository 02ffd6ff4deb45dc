"""SyncLLM: its format and grammar, what its stages learn from, and talking with the user known late."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import layouts
import unit_chunks
from duologue import talk
from duologue.data.encode import Encoded, Stretch
from duologue.data.tensors import Example
from duologue.layout import weave
from duologue.model.backbone import backbone, nano
from duologue.model.one_vocabulary import Codes
from duologue.model.picking import Picking
from duologue.model.words import words_tokenizer
from duologue.session import Audio, Said
from duologue.streaming import Memory
from duologue.systems import sync_llm_call, sync_llm_talk
from duologue.systems.sync_llm import STAGES, STREAMS, Alphabet, Config, Repeats, SyncLLM, full_duplex, paper
from duologue.systems.sync_llm_call import Call, StreamingMind
from duologue.systems.sync_llm_examples import (
    EXAMPLES,
    channels,
    listening_examples,
    no_overlap_examples,
    speech_share,
    swapped,
    turn_based_examples,
    turns_of,
    two_channel_examples,
)
from duologue.systems.sync_llm_format import (
    Chunk,
    Part,
    after,
    decode,
    encode,
    read,
    spread,
    streams,
    units_after,
    written,
)
from duologue.systems.sync_llm_talk import LIKELIEST, SyncSession, Talking
from duologue.train import Causal, NextToken, Run, Stage, train
from duologue.units import nano_codec
from duologue.units.codec import decode_whole
from duologue.units.speaking import Voice
from layouts import S0, S1
from little_training import losses
from small_omni import CODES, WORDS, conversation
from small_sync import kept, small
from small_units import NOT_LIVE
from small_units import codec as small_codec

ALPHABET = Alphabet(100, 101, range(10, 60))
WAYS: tuple[Repeats, ...] = ("removed", "carried", "exact", "kept")
laws = settings(max_examples=80)


@st.composite
def configs(draw: st.DrawFn) -> Config:
    return Config(40 * draw(st.integers(1, 7)), repeats=draw(st.sampled_from(WAYS)))


@st.composite
def raws(draw: st.DrawFn, chunks_of: int | None = None) -> tuple[list[int], list[int]]:
    """Two channels of runs of few units, so that everything repeats and returns."""
    length = draw(st.integers(0, 30)) if chunks_of is None else chunks_of * draw(st.integers(0, 6))
    unit = st.integers(0, 3)
    first, second = (draw(st.lists(unit, min_size=length, max_size=length)) for _ in STREAMS)
    held = draw(st.lists(st.booleans(), min_size=length, max_size=length))
    for place in range(1, length):
        if held[place]:
            first[place] = first[place - 1]
    return first, second


def ids(chunks: Sequence[Chunk], alphabet: Alphabet = ALPHABET) -> list[int]:
    found: list[int] = weave(full_duplex(alphabet), streams(chunks, alphabet)).tokens[:, 0].tolist()
    return found


# ---------------------------------------------------------------- the format


@laws
@given(configs(), raws())
def test_what_is_read_back_is_written_as_it_was(config: Config, raw: tuple[list[int], list[int]]) -> None:
    """Through the ids of the layout, for any length; the lossless ways give back the very units."""
    chunks = encode(*raw, config)
    back, counts = read(ids(chunks) if chunks else [], ALPHABET, config)
    assert back == chunks
    assert not counts
    sounded = decode(back, config, silence=0, length=len(raw[0]))
    assert encode(*sounded, config) == chunks
    if config.repeats in ("exact", "kept"):
        assert sounded == raw


@laws
@given(configs(), raws())
def test_chunks_are_those_of_the_slow_twin(config: Config, raw: tuple[list[int], list[int]]) -> None:
    config = replace(config, repeats="carried" if config.repeats == "carried" else "removed")
    slow = unit_chunks.chunked(*raw, config.slots, config.repeats == "carried")
    chunks = encode(*raw, config)
    assert [(list(own), list(user)) for own, user in chunks] == slow
    for filling, fill in (("even", unit_chunks.even), ("centred", unit_chunks.centred)):
        if filling == "centred" and config.repeats == "carried":
            continue
        fast = decode(chunks, replace(config, filling=filling), 9, len(raw[0]))
        twin = [unit_chunks.sounded([p[n] for p in slow], config.slots, 9, len(raw[0]), fill) for n in (0, 1)]
        assert [*fast] == twin


@laws
@given(raws(), st.integers(1, 7))
def test_an_exact_part_is_the_shortest_that_is_read_back(raw: tuple[list[int], list[int]], slots: int) -> None:
    config, held = Config(40 * slots, repeats="exact"), None
    for place, chunk in enumerate(encode(*raw, config)):
        real = raw[0][place * slots : (place + 1) * slots]
        assert spread(chunk.own, len(real), held, silence=9) == real
        shorter = {tuple(spread(p, len(real), held, 9)) for k in range(len(chunk.own)) for p in parts_of(real, k)}
        assert tuple(real) not in shorter
        held = real[-1]


def parts_of(units: Sequence[int], size: int) -> Iterator[Part]:
    """All parts of a size, of these units in their order."""
    if not size:
        yield ()
    for place in range(len(units)) if size else ():
        yield from ((units[place], *rest) for rest in parts_of(units[place:], size - 1))


@settings(max_examples=200)
@given(st.lists(st.one_of(st.integers(0, 4), st.sampled_from([S0, S1, 501, 2000])), max_size=25), st.integers(1, 7))
def test_any_ids_are_read_and_what_is_wrong_is_told(tokens: list[int], slots: int) -> None:
    """As the slow twin reads them, which looks no further than one token for an empty part. What was repaired is in
    order."""
    config = Config(40 * slots)
    chunks, counts = read(tokens, layouts.ALPHABET, config, strict=False)
    slow, wrong = unit_chunks.parsed(tokens)
    assert [(list(own), list(user)) for own, user in chunks] == slow
    wrong["empty_tag"] = sum(S1 in chunk and not user for chunk, (_, user) in zip(cut(tokens), slow, strict=True))
    assert +counts == +wrong + unit_chunks.trouble(slow, slots)
    if any(any(chunk) for chunk in chunks):
        again, left = read(ids(chunks, layouts.ALPHABET), layouts.ALPHABET, config, strict=False)
        assert again == chunks
        assert not any(left[kind] for kind in ("stray", "double_tag", "empty_tag"))
    if counts.total():
        with pytest.raises(ValueError, match="malformed chunks"):
            read(tokens, layouts.ALPHABET, config)


def cut(tokens: Sequence[int]) -> list[list[int]]:
    """The tokens of each chunk, without its clock."""
    clocks = [place for place, token in enumerate([*tokens, S0]) if token == S0]
    return [list(tokens[start + 1 : end]) for start, end in pairwise(clocks)]


@pytest.mark.parametrize(("slots", "removed", "centred", "carried"), [(4, 0.56, 0.50, 0.31), (6, 0.73, 0.65, 0.52)])
def test_how_far_a_change_is_misplaced(slots: int, removed: float, centred: float, carried: float) -> None:
    """On runs of two units on average, in units: what the facts of the format say of each rule."""
    draw = np.random.default_rng(0)
    raw = np.repeat(np.arange(24_000) % 50, draw.geometric(0.5, 24_000)).tolist()
    raw = raw[: len(raw) // slots * slots]
    for config, error in (
        (Config(40 * slots), removed),
        (Config(40 * slots, filling="centred"), centred),
        (Config(40 * slots, repeats="carried"), carried),
        (Config(40 * slots, repeats="exact"), 0.0),
    ):
        back, _ = decode(encode(raw, raw, config), config, silence=0)
        misplaced = np.abs(np.subtract(changes(raw), changes(back))).mean()
        assert abs(misplaced - error) < 0.02, (config, misplaced)


def changes(raw: Sequence[int]) -> list[int]:
    return [place for place, (a, b) in enumerate(pairwise(raw)) if a != b]


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda: Config(150), "chunk_ms is 150: a chunk holds whole units of 40 ms"),
        (lambda: Config(20), "one at least"),
        (lambda: Config(0), "chunk_ms is 0: give whole milliseconds"),
        (lambda: Config(160.0), "chunk_ms is 160.0: give whole milliseconds"),  # type: ignore[arg-type]
        (lambda: Config(unit_ms=0), "unit_ms is 0: give whole milliseconds"),
        (lambda: Config(repeats="x"), "repeats is 'x': choose of removed, carried"),  # type: ignore[arg-type]
        (lambda: Config(filling="y"), "filling is 'y': choose of even, centred"),  # type: ignore[arg-type]
        (lambda: decode([Chunk((1,), (2,))], paper(), 0, length=10), "1 chunks of 4 slots are not 10 units"),
        (lambda: decode([Chunk((1,), (2,))], paper(), 0, length=0), "are not 0 units"),
        (lambda: decode([Chunk((1,), (2,))], paper(), 0, length=-3), "are not -3 units"),
        (lambda: decode([], paper(), 0, length=-1), "0 chunks of 4 slots are not -1 units"),
        (lambda: Config(repeats="carried", filling="centred"), "filling 'centred' is for 'removed'"),
        (lambda: encode([1, 2], [1], paper()), "one length, not 2 and 1 units"),
    ],
)
def test_what_fits_no_chunk_is_refused(make: Any, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        make()


# ---------------------------------------------------------------- the grammar


@laws
@given(configs(), st.data())
def test_all_that_is_written_may_follow(config: Config, data: st.DataObject) -> None:
    raw = data.draw(raws(config.slots))
    for channel in zip(*encode(*raw, config), strict=True):
        held: int | None = None
        for part in channel:
            for place, unit in enumerate(part):
                may = after(part[:place], held, config)
                assert may.same if unit == (part[place - 1] if place else held) else may.other
            assert after(part, held, config).end
            held = part[-1] if part else held


@laws
@given(configs(), st.data())
def test_all_that_may_follow_is_written(config: Config, data: st.DataObject) -> None:
    """A walk through what the grammar allows is what encoding makes of the sound that it gives."""
    chunks = [Chunk(*parts) for parts in zip(walk(config, data), walk(config, data), strict=True)]
    assert encode(*decode(chunks, config, silence=0), config) == chunks


@pytest.mark.parametrize("repeats", WAYS)
@pytest.mark.parametrize("slots", range(1, 7))
def test_the_grammar_is_that_of_the_slow_twin(slots: int, repeats: Repeats) -> None:
    """Which tries all that may come after."""
    config = Config(40 * slots, repeats=repeats)
    for length in range(slots + 1):
        for again in product((False, True), repeat=length):
            part = tuple(np.cumsum(np.logical_not(again)).tolist())
            may, room = after(part, 0, config), length < slots
            assert may.end == is_written(part, slots, repeats)
            assert may.same == (room and can_be_ended((*part, part[-1] if part else 0), slots, repeats))
            assert may.other == (room and can_be_ended((*part, slots + 1), slots, repeats))


def is_written(part: Part, slots: int, repeats: Repeats) -> bool:
    return written(spread(part, slots, 0, 0), 0, repeats) == part


def can_be_ended(part: Part, slots: int, repeats: Repeats) -> bool:
    longer = [(*part, unit) for unit in (part[-1], len(part) + 100)] if len(part) < slots else []
    return is_written(part, slots, repeats) or any(can_be_ended(each, slots, repeats) for each in longer)


@pytest.mark.parametrize("repeats", WAYS)
def test_a_chunk_may_be_as_long_as_one_likes(repeats: Repeats) -> None:
    config = Config(4000, repeats=repeats)
    assert after((1,), 0, config) == (repeats in ("exact", "kept"), True, repeats != "kept")
    assert after((0,), 0, config) == (repeats in ("exact", "kept"), repeats != "removed", False)


def walk(config: Config, data: st.DataObject) -> list[Part]:
    parts: list[Part] = []
    held = None
    for _ in range(3):
        part: Part = ()
        while True:
            may = after(part, held, config)
            before = part[-1] if part else held
            units = [unit for unit in range(4) if (may.same if unit == before else may.other)]
            assert units_after(part, held, Alphabet(9, 10, range(4)), config).tolist() == units
            assert units or may.end, "the grammar leads nowhere"
            unit = data.draw(st.sampled_from([*units, *[None] * may.end]))
            if unit is None:
                break
            part = (*part, unit)
        parts.append(part)
        held = part[-1] if part else held
    return parts


# ---------------------------------------------------------------- a model that grew


USUAL = Config()


@lru_cache
def model(config: Config = USUAL) -> SyncLLM:
    return small(config)


def test_tags_and_units_have_ids_of_their_own() -> None:
    alphabet = model().alphabet
    assert alphabet.s1 == alphabet.s0 + 1
    assert alphabet.units == range(alphabet.s0 + 2, alphabet.s0 + 2 + CODES)
    assert max(model().text_ids("what is two plus two")) < alphabet.s0
    assert model().words.convert_ids_to_tokens([alphabet.s0, alphabet.s1, alphabet.units[7]]) == [
        "[S0]",
        "[S1]",
        "<unit 7>",
    ]


def test_units_begin_as_what_the_codec_knows_of_them() -> None:
    vectors = torch.nn.functional.one_hot(torch.arange(6) // 2, 3).float() + torch.randn(6, 3) / 100
    words = words_tokenizer(WORDS)
    fresh = SyncLLM.grown(backbone(nano(len(words), 64, 2)), words, Codes(6, vectors), paper())
    rows = fresh.lm.get_input_embeddings().weight[list(fresh.alphabet.units)]
    near = torch.cdist(rows, rows)
    assert [int(near[unit].argsort()[1]) for unit in range(6)] == [unit ^ 1 for unit in range(6)]


def test_saved_and_loaded_it_is_the_same(tmp_path: Path) -> None:
    made = kept(tmp_path / "model")
    again = SyncLLM.load(tmp_path / "model")
    assert (again.ids, again.config, again.alphabet) == (made.ids, made.config, made.alphabet)
    tokens = torch.tensor([[*made.text_ids("what is two"), made.alphabet.s0, *made.alphabet.units[:9]]])
    assert torch.equal(logits(again, tokens), logits(made, tokens))
    assert sync_llm_talk.session(tmp_path / "model").call.latency_chunks == 1


def logits(of: SyncLLM, tokens: Tensor) -> Tensor:
    with torch.no_grad():
        found: Tensor = of.lm(tokens).logits
    return found


def test_a_folder_with_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no SyncLLM model"):
        SyncLLM.load(tmp_path)
    kept(tmp_path / "model")
    (tmp_path / "model" / "sync_llm.json").write_text('{"chunk_ms": 150}')
    with pytest.raises(ValueError, match="cannot be read: chunk_ms is 150"):
        SyncLLM.load(tmp_path / "model")
    (tmp_path / "model" / nano_codec.CODEC).unlink()
    (tmp_path / "model" / "sync_llm.json").write_text("{}")
    with pytest.raises(FileNotFoundError, match="there is no such file"):
        sync_llm_talk.session(tmp_path / "model")


def test_on_a_full_disk_what_was_there_is_there_still(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept(tmp_path / "model")
    before = {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()}

    def full(*_: object, **__: object) -> None:
        raise OSError("No space left on device")

    other = small(seed=6)
    monkeypatch.setattr(other.words, "save_pretrained", full)
    with pytest.raises(OSError, match="make room on the disk"):
        other.save(tmp_path / "model")
    assert {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()} == before


# ---------------------------------------------------------------- examples

SILENCE = small_codec().silence[0]


def told(example: Example, made: SyncLLM | None = None) -> list[str]:
    found: list[str] = (made or model()).words.convert_ids_to_tokens(example["tokens"].tolist())
    return found


def parts(text: str) -> list[str]:
    found: list[str] = model().words.convert_ids_to_tokens(model().text_ids(text))
    return found


def units(*stretches: Stretch) -> list[str]:
    """Of each sentence the units, without repeats."""
    said = [
        [unit for unit, before in zip(s.units, (None, *s.units), strict=False) if unit != before] for s in stretches
    ]
    return [f"<unit {unit}>" for one in said for unit in one]


def of_share(share: float, monkeypatch: pytest.MonkeyPatch, row: Encoded) -> list[str]:
    monkeypatch.setattr("duologue.systems.sync_llm_examples.speech_share", lambda *_: share)
    (example,) = turn_based_examples(model(), [row])
    assert example["said"].tolist() == [False, *[True] * (len(example["said"]) - 1)]
    return told(example)


def test_a_sentence_is_in_text_or_in_units(monkeypatch: pytest.MonkeyPatch) -> None:
    """All turns in order, each with the tag of its speaker; back-channels are left out, calls are not spoken."""
    row = conversation()
    what, plus, four, _, five, done = row.stretches
    assert of_share(0.0, monkeypatch, row) == [
        *["[S1]", *parts("what is two plus two"), "[S0]", *parts("four.")],
        *["[S1]", *parts("what is five"), "[S0]", *parts("five is five. okay, done.")],
    ]
    spoken = ["[S1]", *units(what, plus), "[S0]", *units(four), "[S1]", *units(five), "[S0]", *units(done)]
    assert of_share(1.0, monkeypatch, row) == spoken


def test_who_learns_to_listen_reads_each_word_behind_its_sound() -> None:
    what, plus, four, okay, five, done = conversation().stretches
    (example,) = listening_examples(model(), [conversation()])
    theirs = ["[S1]", *by_word(what), *by_word(plus), "[S0]", *parts("four."), *units(four)]
    assert told(example) == [
        *theirs,
        *["[S1]", *by_word(five), "[S0]", *parts("five is five. okay, done."), *units(done)],
    ]
    steady = replace(plus, units=(7,) * 4 + (8,) * (len(plus.units) - 4), turn=None)
    (held,) = listening_examples(model(), [replace(conversation(), stretches=(steady,))])
    assert told(held) == ["[S1]", "<unit 7>", *parts("two"), "<unit 8>", *parts("plus"), *parts("two")]
    (alone,) = listening_examples(model(), [replace(conversation(), stretches=(replace(plus, turn=None), okay))])
    assert told(alone) == ["[S1]", *by_word(plus), "[S1]", *by_word(okay)]


def by_word(stretch: Stretch) -> list[str]:
    """Each word behind the units that are new in it, slowly."""
    found, start = list[str](), stretch.start
    for word, end in zip(stretch.text.split(), stretch.ends, strict=True):
        before = (None, *stretch.units)[start - stretch.start]
        said = stretch.units[start - stretch.start : end - stretch.start]
        new = [unit for held, unit in zip((before, *said), said, strict=False) if unit != held]
        found += [*(f"<unit {unit}>" for unit in new), *parts(word)]
        start = end
    rest = units(replace(stretch, units=stretch.units[start - stretch.start - 1 :]))[1:]
    return [*found, *rest]


def test_an_answer_that_was_cut_ends_the_turns() -> None:
    assert [speaker for speaker, _ in turns_of(conversation())] == [1, 0, 1, 0]
    assert [speaker for speaker, _ in turns_of(conversation(cut=True))] == [1, 0, 1]
    assert list(turn_based_examples(model(), [replace(conversation(), stretches=())])) == []


def test_the_share_of_speech_rises_along_the_stage() -> None:
    """Of what is learnt too: its sentences are drawn one by one."""
    draw = np.random.default_rng(0)
    shares = [[speech_share(progress, draw) for _ in range(400)] for progress in (0.0, 0.5, 1.0)]
    assert all(0 <= share <= 1 for some in shares for share in some)
    assert [round(float(np.mean(some)), 1) for some in shares] == [0.3, 0.6, 0.8]
    rows = [conversation(seed) for seed in range(60)]
    rising = [EXAMPLES[f"turn_based_{part}"](model(), rows, SILENCE) for part in (1, 2, 3, 4)]
    spoken = [np.mean([sum("<unit" in token for token in told(e)) for e in examples]) for examples in rising]
    assert spoken == sorted(spoken)


def test_what_is_drawn_is_drawn_again() -> None:
    rows = [conversation(seed) for seed in range(9)]
    first, second, other = ([told(e) for e in turn_based_examples(model(), rows, seed=seed)] for seed in (1, 1, 2))
    assert first == second
    assert first != other


def sounded(example: Example, made: SyncLLM, length: int | None = None) -> tuple[list[int], list[int]]:
    """The channels that an example says."""
    chunks, _ = read(example["tokens"].tolist(), made.alphabet, made.config)
    return decode(chunks, made.config, SILENCE, length)


EXACT = Config(repeats="exact")


def test_without_overlap_the_other_is_silent() -> None:
    """Turn after turn, with the gaps that are asked for."""
    row, made = conversation(), model(EXACT)
    (example,) = no_overlap_examples(made, [row], SILENCE, iter([2, 0, 5]))
    what, plus, four, _, five, done = row.stretches
    asked, answer, again, end = [*what.units, *plus.units], four.units, five.units, done.units
    lengths = (len(asked), 2, len(answer), 0, len(again), 5, len(end))
    own, user = sounded(example, made, sum(lengths))
    quiet = [[SILENCE] * length for length in lengths]
    assert own == [*quiet[0], *quiet[1], *answer, *quiet[4], *quiet[5], *end]
    assert user == [*asked, *quiet[1], *quiet[2], *again, *quiet[5], *quiet[6]]
    assert example["said"].tolist() == [False, *[True] * (len(example["said"]) - 1)]


@pytest.mark.parametrize("cut", [False, True])
def test_two_channels_are_as_they_were_recorded(cut: bool) -> None:
    row, made = conversation(cut=cut), model(EXACT)
    (example,) = two_channel_examples(made, [row], SILENCE)
    own, user = sounded(example, made, len(row.user))
    assert user == [*row.user]
    expected = [SILENCE] * len(own)
    for stretch in row.stretches:
        if stretch.speaker == "assistant":
            expected[stretch.start : stretch.start + len(stretch.units)] = stretch.units
    assert own == expected


def test_speech_after_the_users_end_is_not_lost() -> None:
    late = Stretch("assistant", 85, (1, 2, 3, 4, 5), "two", (), 1)
    own, user = channels(replace(conversation(), stretches=(late,)), SILENCE)
    assert own == [SILENCE] * 85 + [1, 2, 3, 4, 5]
    assert user == [*conversation().user, *[SILENCE] * 3]


def test_long_recordings_are_cut_into_windows() -> None:
    made = model(EXACT)
    windows = list(two_channel_examples(made, [conversation()], SILENCE, window_chunks=5))
    (whole,) = two_channel_examples(made, [conversation()], SILENCE)
    assert {len(sounded(window, made)[0]) for window in windows[:-1]} == {20}
    lengths = [*[20] * (len(windows) - 1), len(conversation().user) % 20]
    cut = [sounded(window, made, length) for window, length in zip(windows, lengths, strict=True)]
    for speaker, channel in enumerate(sounded(whole, made, len(conversation().user))):
        assert [unit for window in cut for unit in window[speaker]] == channel


def test_with_sides_exchanged_each_says_what_the_other_said() -> None:
    row = conversation()
    own, user = channels(swapped(row, SILENCE), SILENCE)
    for stretch in row.stretches:
        channel = own if stretch.speaker == "user" else user
        assert tuple(channel[stretch.start : stretch.start + len(stretch.units)]) == stretch.units
    said = [stretch for stretch in row.stretches if stretch.speaker == "user"]
    asks = {place for one in said for place in range(one.start, one.start + len(one.units))}
    assert all(unit == SILENCE for place, unit in enumerate(own) if place not in asks)
    assert [speaker for speaker, _ in turns_of(swapped(row, SILENCE))] == [0, 1, 0, 1]


# ---------------------------------------------------------------- learning


def test_every_stage_has_its_examples() -> None:
    assert [stage.name for stage in STAGES] == list(EXAMPLES)
    assert sum(stage.steps or 0 for stage in STAGES) == 48_000
    for stage in STAGES:
        for example in EXAMPLES[stage.name](model(), [conversation()], SILENCE):
            asked = {STREAMS[number] for number in example["stream"][example["said"]]}
            assert asked == {"own", "user"}


def test_two_conversations_are_learnt_by_heart(tmp_path: Path) -> None:
    """But for the user's first unit: nothing before it tells which of the two conversations it is."""
    learner = small(initial=0.02)
    made = list(EXAMPLES["two_channels"](learner, [conversation(0), conversation(1)], SILENCE))
    how = Stage("heart", 8e-3, 2_000, steps=90, warmup_steps=5, weight_decay=0, muon=("*.layers.*",), final_rate=0.05)
    train(Causal(learner.lm), how, Run(tmp_path, quiet=True), made, objective=NextToken(STREAMS))
    learner.lm.eval()
    for example in made:
        tokens = torch.from_numpy(example["tokens"])
        wrong = (logits(learner, tokens[None])[0, :-1].argmax(-1) != tokens[1:]).nonzero()[:, 0].tolist()
        first = example["tokens"].tolist().index(learner.alphabet.s1)
        assert set(wrong) <= {first}, f"{len(wrong)} of {len(tokens)} wrong, loss {losses(tmp_path)[-1]}"


def test_no_gradient_comes_from_the_future() -> None:
    (example,) = EXAMPLES["two_channels"](model(), [conversation()], SILENCE)
    tokens = torch.from_numpy(example["tokens"])[None]
    for place in (1, 20, len(example["tokens"]) - 1):
        vectors = model().lm.get_input_embeddings()(tokens).detach().requires_grad_()
        hidden = model().lm.get_decoder()(inputs_embeds=vectors, use_cache=False).last_hidden_state
        said = torch.zeros_like(tokens, dtype=torch.bool)
        said[0, place] = True
        batch = {"tokens": tokens, "said": said}
        loss: Any = NextToken().nats(model().lm.get_output_embeddings()(hidden), batch)["said"]
        loss.backward()
        assert vectors.grad is not None
        reached = vectors.grad[0].abs().sum(-1) > 0
        assert bool(reached[:place].all())
        assert not bool(reached[place:].any())


# ---------------------------------------------------------------- a call


class WholeMind:
    """The slow twin: it keeps its context and computes all of it anew whenever it is asked."""

    def __init__(self, made: SyncLLM) -> None:
        self._lm, self.context = made.lm, list[int]()

    @property
    def length(self) -> int:
        return len(self.context)

    def put(self, tokens: Sequence[int]) -> None:
        self.context += tokens

    def back_to(self, length: int) -> None:
        del self.context[length:]

    @torch.no_grad()
    def choose(self, units: Tensor, ends: Sequence[int]) -> int | None:
        odds = self._lm(torch.tensor([self.context])).logits[0, -1].softmax(-1)
        ended = float(odds[list(ends)].sum())
        best = int(units[odds[units].argmax()])
        return best if float(odds[best]) > ended else None


def opened(mind: Any, latency_chunks: int, config: Config, made: SyncLLM) -> Call:
    raw = [SILENCE] * (config.slots * (latency_chunks + 1))
    own = [chunk.own for chunk in encode(raw, raw, config)]
    return Call(mind, made.alphabet, config, own, own[:1])


def streaming(made: SyncLLM, memory: Memory | None = None) -> StreamingMind:
    return StreamingMind(made.lm, memory or Memory(2000), LIKELIEST)


def heard_units(call: Call, config: Config, draw: np.random.Generator, held: int) -> list[int]:
    """The user's next chunk: now and then just what was guessed."""
    if call.expected is not None and draw.random() < 0.5:
        return spread(call.expected, config.slots, held, SILENCE)
    return np.repeat(draw.integers(0, CODES, config.slots), draw.integers(1, 4))[: config.slots].tolist()


LATENCIES = pytest.mark.parametrize("latency_chunks", [0, 1, 2, 3])
CHUNKS = 12


@LATENCIES
@pytest.mark.parametrize("config", [Config(), Config(240, repeats="carried"), Config(200, repeats="exact")])
def test_a_call_is_what_computing_all_anew_gives(latency_chunks: int, config: Config) -> None:
    """Own chunks are those of the slow twin. The context is at any time the training grid of the own chunks with what
    the user really said, and then with guesses."""
    made, whole = model(config), WholeMind(model(config))
    fast, slow = (opened(mind, latency_chunks, config, made) for mind in (streaming(made), whole))
    draw, held = np.random.default_rng(1), SILENCE
    silent = read(whole.context, made.alphabet, config)[0][0].own
    own, real = [silent, *[()] * latency_chunks], [silent]
    if config.repeats == "kept":
        own = [silent] * (latency_chunks + 1)
    for _ in range(CHUNKS):
        own.append(slow.speak())
        assert fast.speak() == own[-1]
        raw = heard_units(slow, config, draw, held)
        held = raw[-1]
        real.append(slow.hear(raw))
        assert fast.hear(raw) == real[-1]
        known, counts = read(whole.context, made.alphabet, config)
        assert not counts
        assert [chunk.own for chunk in known] == own[: len(known)]
        assert [chunk.user for chunk in known][: len(real)] == real
    assert (fast.guessed_right, fast.heard_chunks) == (slow.guessed_right, CHUNKS)
    assert (0 < fast.guessed_right < CHUNKS) == (latency_chunks > 0)


class AnyMind(WholeMind):
    """It says anything that it may."""

    def __init__(self, seed: int) -> None:
        self.context, self._draw = [], np.random.default_rng(seed)

    def choose(self, units: Tensor, ends: Sequence[int]) -> int | None:
        chosen = self._draw.choice([*units.tolist(), *[-1] * bool(ends)])
        return None if chosen < 0 else int(chosen)


@settings(max_examples=60)
@given(configs(), st.integers(0, 3), st.integers(0, 1000))
def test_whatever_a_model_says_its_chunks_are_well_formed(config: Config, latency_chunks: int, seed: int) -> None:
    """Of three units, so that everything may be a repeat: own chunks, what was heard and what is guessed are at any
    time what encoding would make of their sound, and what was heard is what was really said."""
    alphabet, mind, draw = Alphabet(3, 4, range(3)), AnyMind(seed), np.random.default_rng(seed)
    before = [0] * (config.slots * (latency_chunks + 1))
    own = [chunk.own for chunk in encode(before, before, config)]
    call, real = Call(mind, alphabet, config, own, own[:1]), before[: config.slots]
    said = [*own]
    for _ in range(8):
        said.append(call.speak())
        chunks, _ = read(mind.context, alphabet, config)
        assert [chunk.own for chunk in chunks] == said
        assert len(chunks) - len(real) // config.slots == latency_chunks + 1
        sound = decode(chunks[:-1], config, silence=0)
        assert encode(*sound, config) == chunks[:-1]
        real += draw.integers(0, 3, config.slots).tolist()
        call.hear(real[-config.slots :])
        heard = encode(real, real, config)
        known = read(mind.context, alphabet, config)[0][: len(heard)]
        assert [chunk.user for chunk in known] == [chunk.user for chunk in heard]


@LATENCIES
def test_a_guess_that_was_right_may_stay(latency_chunks: int) -> None:
    """Taking it back and putting the same again changes nothing."""
    made = model()
    lazy, eager = (opened(streaming(made), latency_chunks, paper(), made) for _ in range(2))
    draw, held = np.random.default_rng(2), SILENCE
    for _ in range(CHUNKS):
        assert lazy.speak() == eager.speak()
        raw = heard_units(lazy, paper(), draw, held)
        held = raw[-1]
        eager._guesses.clear()
        lazy.hear(raw)
        eager.hear(raw)
    assert eager.guessed_right == 0
    assert (lazy.guessed_right > 0) == (latency_chunks > 0)


@LATENCIES
def test_nothing_is_computed_anew(latency_chunks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the call is, a chunk costs at most its own tokens and those behind what was guessed wrong."""
    fed: list[int] = []
    real_step = sync_llm_call.step

    def counted(lm: Any, state: Any, tokens: Tensor) -> Tensor:
        fed.append(tokens.shape[1])
        return real_step(lm, state, tokens)

    monkeypatch.setattr(sync_llm_call, "step", counted)
    config, draw = paper(), np.random.default_rng(3)
    call, most = opened(streaming(model()), latency_chunks, config, model()), 0
    for _ in range(CHUNKS):
        fed.clear()
        call.speak()
        assert len(fed) <= call.passes
        assert sum(fed) <= (2 * latency_chunks + 2) * (config.slots + 1) + 2
        most = max(most, len(fed))
        call.hear(draw.integers(0, CODES, config.slots).tolist())
    assert most > 1


def test_a_part_ends_as_likely_as_either_tag() -> None:
    """What is picked from: the units, and both tags as one outcome."""
    shown: list[Tensor] = []
    s0, s1, of_units = model().alphabet
    mind = StreamingMind(model().lm, Memory(100), lambda logits, *_: shown.append(logits) or len(logits) - 1)
    mind.put([s0, of_units[3]])
    assert mind.choose(torch.tensor(of_units[5:9]), (s0, s1)) is None
    odds = logits(model(), torch.tensor([[s0, of_units[3]]]))[0, -1].softmax(-1)
    outcomes = torch.cat((odds[of_units[5] : of_units[9]], odds[s0 : s1 + 1].sum()[None]))
    torch.testing.assert_close(shown[0].softmax(-1), outcomes / outcomes.sum())


@pytest.mark.parametrize("config", [paper(), EXACT])
@LATENCIES
def test_what_it_is_told_to_say_is_said_and_remembered(latency_chunks: int, config: Config) -> None:
    """Then it goes on by itself, as if it had said so of its own accord."""
    draw, mind = np.random.default_rng(1), WholeMind(model(config))
    call = opened(mind, latency_chunks, config, model(config))
    told = np.repeat(draw.integers(0, CODES, 5 * config.slots), 3)[: 5 * config.slots].tolist()
    call.tell(told)
    said = []
    for _ in range(9):
        said.append(call.speak())
        call.hear(draw.integers(0, CODES, config.slots).tolist())
    own, _ = decode([Chunk(part, ()) for part in said[:5]], config, SILENCE)
    assert said[:5] == [chunk.own for chunk in encode(told, told, config)]
    assert config != EXACT or own == told
    assert any(said[5:])
    chunks, _ = read(mind.context, model(config).alphabet, config)
    assert [chunk.own for chunk in chunks][latency_chunks + 1 : latency_chunks + 6] == said[:5]
    with pytest.raises(ValueError, match="whole chunks of 4 units, not 3"):
        call.tell(told[:3])


def test_a_call_begins_with_chunks_of_both() -> None:
    with pytest.raises(ValueError, match="begins with a chunk of the user's"):
        Call(WholeMind(model()), model().alphabet, paper(), [(1,)], [])
    with pytest.raises(RuntimeError, match="begins with a prompt"):
        streaming(model()).choose(torch.tensor([1]), ())


# ---------------------------------------------------------------- a session

FRAME = 640


def talking(latency_chunks: int = 1, memory: Memory | None = None, temperature: float = 0.0, seed: int = 0) -> Talking:
    return Talking(model(), small_codec(), latency_chunks, Picking(temperature), seed, memory or Memory(2000))


def heard(frames: int, seed: int) -> Audio:
    """Tones of two frames each, for which the codec has many units."""
    draw, tones = np.random.default_rng(seed), -(-frames // 2)
    pitch, loudness = draw.uniform(0.01, 0.4, (tones, 1)), draw.uniform(0, 1, (tones, 1))
    return (loudness * np.sin(np.arange(2 * FRAME) * pitch)).astype(np.float32).ravel()[: frames * FRAME]


def conversed(session: SyncSession, sound: Audio) -> list[Said]:
    return [session.step(sound[start : start + FRAME]) for start in range(0, len(sound), FRAME)]


def sound_of(said: Sequence[Said]) -> Audio:
    return np.concatenate([one.audio for one in said])


def test_who_opens_a_call_begins_with_what_was_given() -> None:
    """Its sound is that of the opening, the frames being later by the latency."""
    opening = [7, 7, 8, 9, 9, 9, 9, 3, 4, 4]
    session = SyncSession(replace(talking(), model=model(EXACT)), opening)
    said = sound_of(conversed(session, np.zeros(20 * FRAME, np.float32)))
    wanted = decode_whole(small_codec(), torch.tensor([[opening]]))[0].numpy()
    start = (4 + session.delay_frames) * FRAME
    np.testing.assert_allclose(said[start : start + 8 * FRAME], wanted[: 8 * FRAME], atol=1e-5)
    assert not said[:start].any()


@LATENCIES
def test_one_frame_out_per_frame_in_silence_included(latency_chunks: int) -> None:
    said = conversed(
        SyncSession(talking(latency_chunks)), np.concatenate((heard(20, 0), np.zeros(20 * FRAME, np.float32)))
    )
    for one in said:
        assert one.audio.shape == (FRAME,)
        assert one.audio.dtype == np.float32
        assert np.abs(one.audio).max() <= 1
    assert sound_of(said).any()
    assert not any(one.audio.any() for one in said[: 4 * latency_chunks])


@LATENCIES
def test_two_sessions_given_the_same_sound_say_the_same(latency_chunks: int) -> None:
    """Side by side in one process, frame by frame."""
    shared = talking(latency_chunks, temperature=1.0, seed=7)
    one, other, third = SyncSession(shared), SyncSession(shared), SyncSession(shared)
    first, second = heard(40, 0), heard(40, 1)
    pairs = [
        (one.step(first[at : at + FRAME]), other.step(first[at : at + FRAME]), third.step(second[at : at + FRAME]))
        for at in range(0, len(first), FRAME)
    ]
    ours, same, others = zip(*pairs, strict=True)
    assert sound_of(ours).tobytes() == sound_of(same).tobytes()
    assert [said.events for said in ours] == [said.events for said in same]
    assert sound_of(ours).tobytes() != sound_of(others).tobytes()
    assert sound_of(others).tobytes() == sound_of(conversed(SyncSession(shared), second)).tobytes()


@LATENCIES
@pytest.mark.parametrize("changes_at", [3, 4])
def test_it_hears_no_sooner_than_it_says(latency_chunks: int, changes_at: int) -> None:
    """What is heard in chunk 3 is first answered in the chunk after it, and as many later as the latency has."""
    first, second = heard(40, 0), heard(40, 1)
    second[: changes_at * 4 * FRAME] = first[: changes_at * 4 * FRAME]
    said = [conversed(SyncSession(talking(latency_chunks)), sound) for sound in (first, second)]
    differ = [not np.array_equal(a.audio, b.audio) for a, b in zip(*said, strict=True)]
    earliest = 4 * (changes_at + 1 + latency_chunks)
    assert not any(differ[:earliest])
    assert any(differ[earliest : earliest + 8])


def test_drawn_tokens_depend_on_the_seed() -> None:
    sounds = [
        sound_of(conversed(SyncSession(talking(temperature=temperature, seed=seed)), heard(24, 0))).tobytes()
        for temperature, seed in ((1.0, 1), (1.0, 1), (1.0, 2), (0.0, 1), (0.0, 2))
    ]
    assert sounds[0] == sounds[1]
    assert len({*sounds}) == 3


def test_the_work_of_a_chunk_is_spread_over_its_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    passes = 0
    real_step = sync_llm_call.step

    def counted(*given: Any) -> Tensor:
        nonlocal passes
        passes += 1
        return real_step(*given)

    monkeypatch.setattr(sync_llm_call, "step", counted)
    session, each = SyncSession(talking(1)), list[int]()
    for frame in heard(48, 4).reshape(-1, FRAME):
        passes = 0
        session.step(frame)
        each.append(passes)
    assert max(each) <= 3
    assert sum(each) > len(each)


@LATENCIES
def test_a_call_may_last_for_ever(latency_chunks: int) -> None:
    """Memory is bounded, and guesses are taken back across what it forgets."""
    session = SyncSession(talking(latency_chunks, Memory(260, sink=20, spare=80)))
    conversed(session, heard(240, 2))
    assert session.call._mind.length > 500
    right = session.guessed_right
    assert right is None if latency_chunks == 0 else right is not None and 0 <= right <= 1


@pytest.mark.parametrize("frame", [np.zeros(FRAME + 1, np.float32), np.full(FRAME, np.nan, np.float32)])
def test_a_bad_frame_is_refused_and_the_call_goes_on(frame: Audio) -> None:
    session, untouched, sound = SyncSession(talking()), SyncSession(talking()), heard(20, 4)
    conversed(session, sound[: 5 * FRAME])
    with pytest.raises(ValueError, match="640 finite samples"):
        session.step(frame)
    rest = sound_of(conversed(session, sound[5 * FRAME :]))
    assert rest.tobytes() == sound_of(conversed(untouched, sound))[5 * FRAME :].tobytes()


def test_a_recording_is_answered_in_lock_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `duologue talk` does. It has no words; when it speaks is told."""
    monkeypatch.setattr(talk, "LONGEST_REPLY_S", 1.0)
    conversation = talk.converse(SyncSession(talking()), heard(30, 1))
    assert conversation.sound[:, 1].any()
    kinds = [event.kind for event in conversation.events]
    assert kinds[:2] == ["turn", "said"]
    spoken = [utterance for utterance in conversation.dialogue if utterance.speaker == "assistant"]
    assert len(spoken) == kinds.count("done")


def test_silence_is_silent_and_a_turn_ends_with_it() -> None:
    teller, voice = sync_llm_talk._Teller(SILENCE), Voice(small_codec())
    codes = [SILENCE, SILENCE, 7, SILENCE, 9, *[SILENCE] * 14, 8]
    events = [event.kind for code in codes for event in teller.tell(0.0, code)]
    assert events == ["turn", "said", "done", "turn", "said"]
    assert teller.speaking == 2
    sound = np.concatenate([voice.say(None if code == SILENCE else code) for code in codes])
    assert not sound[: 2 * FRAME].any()
    assert sound[4 * FRAME : 7 * FRAME].any()
    assert not sound[8 * FRAME : 19 * FRAME].any()


def test_what_does_not_fit_together_is_refused() -> None:
    with pytest.raises(ValueError, match="latency_chunks is -1"):
        talking(-1)
    with pytest.raises(ValueError, match="penalty is 1.3: leave it at 1"):
        replace(talking(), picking=Picking(penalty=1.3))
    with pytest.raises(ValueError, match=r"60 units of 20 ms, the codec 1 books of 60, 25 a second: take the codec"):
        Talking(model(Config(160, unit_ms=20)), small_codec())


@pytest.mark.parametrize(("codec", "told"), NOT_LIVE)
def test_a_codec_that_cannot_be_used_live_is_refused_at_the_start(codec: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        SyncSession(replace(talking(), codec=codec))
