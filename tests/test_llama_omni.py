"""LLaMA-Omni: what is streamed is what is computed whole, in training as when talking; turns; bad input."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from math import inf

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModelForCausalLM, LlamaConfig

from duologue.dialogue import Message
from duologue.model.adapter import IGNORED, SPEECH_ID, fused
from duologue.model.ctc import Collapse, SpeechSizes
from duologue.model.prompt import labelled
from duologue.model.whisper import Beyond, Length, Whisper, WhisperSizes
from duologue.model.words import words_tokenizer
from duologue.sound import Audio
from duologue.streaming import Memory
from duologue.systems import llama_omni
from duologue.systems.llama_omni import SMALL_WORLD, LlamaOmni
from duologue.systems.llama_omni_conversation import Conversation, Step
from small_models import LLAMA3, SIZES, close, laws

WORDS = words_tokenizer(("two", "plus", "is", "what", "four", "five", "okay", "seven", "and"))
EARS = WhisperSizes(8, 50, 16, 2, 1)
"""Windows of a second."""
UNITS = 12
MEMORY = Memory(200)


@cache
def small(states: str = "predictive", stacked: int = 5) -> LlamaOmni:
    """Random, with lively text and labels."""
    torch.manual_seed(3)
    lm_config = LlamaConfig(**SIZES | {"vocab_size": len(WORDS)}, rope_parameters=dict(LLAMA3), initializer_range=0.3)
    lm = AutoModelForCausalLM.from_config(lm_config)
    speech = SpeechSizes(2, 24, 2, 40, UNITS, longest_tokens=300)
    config = llama_omni.Config(speech, stacked, 24, states, chat=SMALL_WORLD)  # type: ignore[arg-type]
    model = LlamaOmni(whisper("true"), lm, WORDS, config).eval()
    with torch.no_grad():
        for parameter in (*model.speech.parameters(), *model.adapter.parameters()):
            parameter.add_(torch.randn_like(parameter), alpha=0.3)
    return model


def sound(seconds: float = 0.6, seed: int = 0) -> Audio:
    """A tone that gets higher and louder with `seed`, and a little noise."""
    times_s = np.arange(round(seconds * 16_000)) / 16_000
    noise = np.random.default_rng(seed).normal(0, 0.01, len(times_s))
    return (0.1 * (1 + seed % 5) * np.sin(2 * np.pi * 200 * (1 + seed) * times_s) + noise).astype(np.float32)


def asked(model: LlamaOmni, seed: int = 0, memory: Memory = MEMORY) -> Conversation:
    talk = Conversation(model, memory)
    talk.hear(sound(seed=seed))
    return talk


def tokens(steps: list[Step]) -> list[int]:
    return [step.token for step in steps]


def units(steps: list[Step]) -> list[int]:
    return [unit for step in steps for unit in step.units]


every_alignment = pytest.mark.parametrize("states", ["predictive", "consumed"])

# ---------------------------------------------------------------- streamed = whole


@torch.no_grad()
def answered_slowly(model: LlamaOmni, vectors: Tensor, most: int) -> tuple[list[int], list[int]]:
    """Token by token without any cache, then speech in one pass over the states that are asked for."""
    said = list[int]()
    while len(said) < most and not set(said) & model.stops:
        states = whole(model, vectors, said)
        said.append(int(model.lm.lm_head(states[-1]).argmax()))
    first = len(vectors) - (model.config.states == "predictive")
    states = whole(model, vectors, said)[first : first + len(said)]
    labels = model.speech(states[None])[0].argmax(-1).tolist()
    return said, Collapse(model.speech.blank).push(labels)


def whole(model: LlamaOmni, vectors: Tensor, said: list[int]) -> Tensor:
    fed = torch.cat([vectors, model.embedded(said)]) if said else vectors
    states: Tensor = model.lm.get_decoder()(inputs_embeds=fed[None], use_cache=False).last_hidden_state[0]
    return states


def prompted(model: LlamaOmni, seed: int) -> Tensor:
    chat = model.config.chat
    return model.embedded(
        model.ids_of(chat.opening() + chat.question(chat.request)), [model.heard(sound(seed=seed))]
    ).detach()


@every_alignment
@laws
@given(omega=st.one_of(st.integers(1, 60), st.just(inf)), seed=st.integers(0, 30), most=st.integers(1, 12))
def test_streamed_units_are_offline_units(states: str, omega: float, seed: int, most: int) -> None:
    model = small(states)
    steps = list(asked(model, seed).answer(omega, most))
    assert (tokens(steps), units(steps)) == answered_slowly(model, prompted(model, seed), most)
    assert [unit for step in steps for unit in step.segment] == units(steps)
    assert all(len(step.segment) >= omega for step in steps[:-1] if step.segment)
    assert [step.last for step in steps] == [False] * (len(steps) - 1) + [True]


def test_a_segment_goes_out_as_soon_as_it_may() -> None:
    for step_count, omega in ((8, 1), (8, 3), (8, 7)):
        waiting = 0
        for step in asked(small()).answer(omega, step_count):
            waiting += len(step.units)
            assert bool(step.segment) == (waiting >= omega or (step.last and waiting > 0))
            waiting -= len(step.segment)


@laws
@given(omega=st.one_of(st.integers(1, 150), st.just(inf)), seed=st.integers(0, 30), most=st.integers(1, 40))
def test_thrift_changes_no_segment(omega: float, seed: int, most: int) -> None:
    each, thrifty = (list(asked(small(), seed).answer(omega, most, thrifty=thrifty)) for thrifty in (False, True))
    assert [step.segment for step in thrifty] == [step.segment for step in each]
    assert units(thrifty) == units(each)


def test_thrift_runs_the_decoder_no_oftener_than_it_must(monkeypatch: pytest.MonkeyPatch) -> None:
    model, runs = small(), list[int]()
    true = model.speech.step
    monkeypatch.setattr(model.speech, "step", lambda s, state: runs.append(s.shape[1]) or true(s, state))  # type: ignore[func-returns-value]
    answers = {omega: len(list(asked(model).answer(omega, 12, thrifty=True))) for omega in (1, 76, inf)}
    ones = answers[1]
    assert runs[:ones] == [1] * ones
    assert runs[ones] == min(4, answers[76])
    assert runs[-1] == answers[inf]


def test_units_are_lively() -> None:
    """Else what is asserted here would say little."""
    said = units(list(asked(small()).answer(most=12)))
    assert len(set(said)) >= 5
    assert len({tuple(tokens(list(asked(small(), seed).answer(most=6)))) for seed in range(5)}) > 2


def test_without_speech_the_text_is_the_same() -> None:
    spoken, silent = (list(asked(small()).answer(most=8, speak=speak)) for speak in (True, False))
    assert tokens(spoken) == tokens(silent)
    assert units(silent) == []


# ---------------------------------------------------------------- training sees what talking sees


@every_alignment
def test_training_takes_the_states_that_talking_takes(states: str) -> None:
    model, said = small(states), tokens(list(asked(small(states)).answer(most=6)))
    prompt = model.ids_of(SMALL_WORLD.question(SMALL_WORLD.request))
    ids = torch.tensor([[*prompt, *said]])
    labels = torch.where(torch.arange(ids.shape[1]) < len(prompt), IGNORED, ids)
    rows = model.fused(ids, [model.ears.features(sound())], labels)
    chosen = model.spoken_states(model.hidden(rows), rows.labels)
    cost = model.speech.loss(chosen, torch.tensor([[1, 2, 3]]))
    labels_said = cost.logits[0].argmax(-1).tolist()
    assert Collapse(model.speech.blank).push(labels_said) == units(list(asked(model).answer(most=6)))


def test_a_row_in_a_batch_is_what_it_is_alone() -> None:
    """Whichever side is filled up; another number of clips in each row."""
    model = small()
    ids = torch.tensor([[3, SPEECH_ID, 4, 5, 6], [7, 8, 9, 0, 0]])
    mask = torch.tensor([[1] * 5, [1, 1, 1, 0, 0]])
    labels = torch.where(mask.bool() & (ids > 4), ids, IGNORED)
    features = [model.ears.features(sound())]
    alone = model.hidden(model.fused(ids[:1], features))[0]
    for padding in ("right", "left"):
        rows = model.fused(ids, features, labels, mask, padding)
        hidden = model.hidden(rows)
        assert close(hidden[0].detach(), alone.detach())
        real = rows.mask[1].bool()
        assert close(hidden[1][real].detach(), model.hidden(model.fused(ids[1:, :3], []))[0].detach())
        assert rows.labels[1][real].tolist() == [7, 8, 9]
        assert rows.labels[0].tolist() == [IGNORED] * 8 + [5, 6]


def test_each_stage_trains_its_part() -> None:
    model = small()
    ids, labels = labelled(SMALL_WORLD, [Message("user", "<speech>"), Message("assistant", "four is two")], WORDS)
    rows = torch.tensor([ids]), [model.ears.features(sound())], torch.tensor([labels])
    for text, own_units, parts in (
        (True, None, {"adapter", "lm"}),
        (False, torch.tensor([[1, 2]]), {"adapter", "lm", "speech"}),
    ):
        model.zero_grad()
        losses = model(model.fused(*rows), own_units, text)
        assert (losses.text is None, losses.speech is None) == (not text, own_units is None)
        losses.joint(1.0).backward()
        assert {name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None} == parts
    losses = model(model.fused(*rows), torch.tensor([[1, 2]]))
    assert losses.joint(0.5).item() == pytest.approx(losses.text.item() + 0.5 * losses.speech.loss.item())


# ---------------------------------------------------------------- several turns


@every_alignment
@pytest.mark.parametrize("heard", [None, 0, 2, 4])
def test_a_conversation_remembers_what_was_heard(states: str, heard: int | None) -> None:
    """The second answer is that to the whole conversation at once; of an interrupted answer, `heard` tokens stay."""
    model = small(states)
    talk = asked(model)
    first = list(talk.answer(most=5))
    if heard is not None:
        talk.keep(heard)
    talk.hear(sound(seed=1))
    second = list(talk.answer(most=6))
    kept = tokens(first)[:heard]
    question = model.ids_of(SMALL_WORLD.question(SMALL_WORLD.request))
    closed = [] if kept and kept[-1] in model.stops else model.ids_of(SMALL_WORLD.end)
    clips = [model.heard(sound(seed=seed)) for seed in (0, 1)]
    vectors = model.embedded([*question, *kept, *closed, *question], clips).detach()
    assert (tokens(second), units(second)) == answered_slowly(model, vectors, 6)
    assert int(talk.state.fed[0]) >= len(vectors)


def test_closing_the_answer_is_hearing_what_came_out() -> None:
    model = small()
    closed, whole_talk = asked(model), asked(model)
    running = closed.answer(most=8)
    for _ in range(3):
        next(running)
    running.close()  # type: ignore[attr-defined]
    list(whole_talk.answer(most=8))
    whole_talk.keep(3)
    for talk in (closed, whole_talk):
        talk.hear(text="and")
    assert closed.said == whole_talk.said == []
    assert tokens(list(closed.answer(most=5))) == tokens(list(whole_talk.answer(most=5)))


def test_a_fork_goes_its_own_way() -> None:
    model = small()
    opened = Conversation(model, MEMORY, system="two is two")
    opened.open()
    fork, alone = opened.fork(), Conversation(model, MEMORY, system="two is two")
    opened.hear(sound(seed=7))
    for talk in (fork, alone):
        talk.hear(sound())
    assert list(fork.answer(3, 6)) == list(alone.answer(3, 6))


def test_memory_with_a_sink_never_ends() -> None:
    talk = Conversation(small(), Memory(60, sink=4, spare=20))
    for seed in range(5):
        talk.hear(sound(seed=seed))
        assert list(talk.answer(most=10))
    assert int(talk.state.fed[0]) > 80


# ---------------------------------------------------------------- drawing


def test_drawn_answers_repeat_with_their_seed() -> None:
    def drawn(seed: int, temperature: float = 2.0) -> list[Step]:
        return list(asked(small()).answer(5, 8, temperature, seed))

    assert drawn(1) == drawn(1)
    assert len({tuple(tokens(drawn(seed))) for seed in range(6)}) > 1
    assert tokens(drawn(4, temperature=1e-4)) == tokens(list(asked(small()).answer(5, 8)))


# ---------------------------------------------------------------- ears


def whisper(length: Length, beyond: Beyond = "windows") -> Whisper:
    """Random, and lively enough to hear tones."""
    torch.manual_seed(0)
    ears = Whisper(EARS, length, beyond).eval()
    with torch.no_grad():
        for parameter in ears.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.2)
    return ears


def test_a_window_keeps_all_or_what_is_true() -> None:
    padded, true = whisper("padded").features(sound(0.3)), whisper("true").features(sound(0.3))
    assert padded.shape == (50, 16)
    assert torch.equal(padded[:15], true)
    assert len(whisper("true").features(sound(0.0001))) == 1


def test_long_sound_is_heard_in_windows_or_openly_cut() -> None:
    heard = whisper("true").features(sound(2.5))
    windows = [whisper("true").features(part) for part in np.split(sound(2.5), [16_000, 32_000])]
    assert torch.equal(heard, torch.cat(windows))
    assert len(heard) == 125
    assert torch.equal(whisper("true", "cut").features(sound(2.5)), windows[0])
    assert len(whisper("padded").features(sound(2.5))) == 150


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize("omega", [0, 0.5, -1, float("nan")])
def test_omega_below_1_is_refused(omega: float) -> None:
    with pytest.raises(ValueError, match="a segment has at least 1 unit"):
        asked(small()).answer(omega)


def test_an_answer_needs_a_question() -> None:
    talk = Conversation(small(), MEMORY)
    with pytest.raises(ValueError, match="call hear"):
        talk.answer()
    talk.hear(text="what")
    list(talk.answer(most=2))
    with pytest.raises(ValueError, match="call hear"):
        talk.answer()
    with pytest.raises(ValueError, match="it cannot be cut after 3"):
        talk.keep(3)
    with pytest.raises(ValueError, match="a turn of nothing"):
        talk.hear()
    for most in (0, 301):
        with pytest.raises(ValueError, match="positions for 1 to 300 tokens"):
            asked(small()).answer(most=most)
    with pytest.raises(ValueError, match="temperature -1"):
        asked(small()).answer(temperature=-1)


@pytest.mark.parametrize(
    ("audio", "said"),
    [
        (np.zeros(0, np.float32), r"shape \[0\]: give one channel of at least one sample"),
        (np.zeros((2, 9), np.float32), r"shape \[2, 9\]: give one channel"),
        (np.full(9, np.nan, np.float32), "no finite numbers"),
        (sound(0.07), "1120 samples are no vector: give at least 100 ms"),
        (sound(600), "no room for 600 s of sound: 200 of 200 positions are left, and it takes 6000"),
    ],
)
def test_sound_that_cannot_be_heard_changes_nothing(audio: Audio, said: str) -> None:
    talk = Conversation(small(), MEMORY)
    with pytest.raises(ValueError, match=said):
        talk.hear(audio)
    talk.hear(sound())
    assert list(talk.answer(most=6)) == list(asked(small()).answer(most=6))


def test_clips_and_their_places_must_agree() -> None:
    model, clip = small(), torch.zeros(2, 32)
    with pytest.raises(ValueError, match="1 places for sound, but 0 clips"):
        model.embedded([3, SPEECH_ID], [])
    with pytest.raises(ValueError, match="1 of 2 clips have no place"):
        fused(model.lm.get_input_embeddings(), torch.tensor([[SPEECH_ID]]), [clip, clip])
    with pytest.raises(ValueError, match="choose 'right' or 'left'"):
        fused(model.lm.get_input_embeddings(), torch.tensor([[3]]), [], padding="both")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="choose 'predictive' or 'consumed'"):
        llama_omni.Config(states="both")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="user and assistant by turns"):
        SMALL_WORLD.written([Message("assistant", "four")])


def test_numbers_too_large_for_their_precision_are_reported() -> None:
    torch.manual_seed(0)
    lm_config = LlamaConfig(**SIZES | {"vocab_size": len(WORDS)}, rope_parameters=dict(LLAMA3))
    lm = AutoModelForCausalLM.from_config(lm_config, dtype=torch.float16)
    with torch.no_grad():
        for layer in lm.model.layers[0].mlp.children():
            if isinstance(layer, torch.nn.Linear):
                layer.weight.fill_(100)
    config = llama_omni.Config(SpeechSizes(2, 24, 2, 40, UNITS), adapter_width=24, chat=SMALL_WORLD)
    talk = Conversation(LlamaOmni(whisper("true"), lm, WORDS, config).eval(), MEMORY)
    with pytest.raises(FloatingPointError, match="no finite numbers in float16: load the model in bfloat16 or float32"):
        talk.hear(sound())


# ---------------------------------------------------------------- learning

ANSWERS = {
    0: ("four", [1, 2, 3]),
    1: ("two is five", [4, 4, 5, 0, 7, 11]),
    2: ("okay", [9, 2]),
    3: ("seven and two", [3, 1]),
}


def memorised() -> tuple[tuple[Tensor, list[Tensor], Tensor, Tensor], Tensor]:
    """Ids of the dialogues, features of their questions, labels and mask; units of their answers."""
    texts = (Message("assistant", text) for text, _ in ANSWERS.values())
    rows = [labelled(SMALL_WORLD, [Message("user", "<speech>"), message], WORDS) for message in texts]
    ids = pad_sequence([torch.tensor(ids) for ids, _ in rows], batch_first=True)
    labels = pad_sequence([torch.tensor(own) for _, own in rows], batch_first=True, padding_value=IGNORED)
    mask = pad_sequence([torch.ones(len(ids)) for ids, _ in rows], batch_first=True)
    spoken = [torch.tensor(own) for _, own in ANSWERS.values()]
    features = [whisper("true").features(sound(seed=seed)) for seed in ANSWERS]
    return (ids, features, labels, mask), pad_sequence(spoken, batch_first=True, padding_value=IGNORED)


def test_a_small_size_learns_four_dialogues_by_heart() -> None:
    """Text, then, with everything else frozen, speech; and it answers so."""
    torch.manual_seed(1)
    lm_config = LlamaConfig(**SIZES | {"vocab_size": len(WORDS)}, rope_parameters=dict(LLAMA3))
    speech = SpeechSizes(2, 32, 2, 64, UNITS, 8, longest_tokens=300, places=True)
    config = llama_omni.Config(speech, 5, 24, chat=SMALL_WORLD)
    model = LlamaOmni(whisper("true"), AutoModelForCausalLM.from_config(lm_config), WORDS, config, seed=1)
    rows, spoken = memorised()

    learn(model, 120, 3e-3, lambda: model(model.fused(*rows)).text)
    model.requires_grad_(False)
    model.speech.requires_grad_(True)
    frozen = {name: tensor.clone() for name, tensor in model.lm.state_dict().items()}
    learn(
        model,
        120,
        1e-2,
        lambda: model(model.fused(*rows), spoken, text=False).speech.loss,
    )

    assert all(torch.equal(tensor, frozen[name]) for name, tensor in model.lm.state_dict().items())
    for seed, (text, expected) in ANSWERS.items():
        steps = list(asked(model.eval(), seed).answer(2, 8))
        assert WORDS.decode(tokens(steps), skip_special_tokens=True) == text
        assert units(steps) == expected


def learn(model: LlamaOmni, steps: int, rate: float, loss: Callable[[], Tensor]) -> None:
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], rate)
    for _ in range(steps):
        optimizer.zero_grad()
        loss().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
