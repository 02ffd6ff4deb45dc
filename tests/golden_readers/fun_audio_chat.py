"""Fun-Audio-Chat beside its reference: tiny random weights under the released names, single passes, ten traced answers,
training sequences with their losses and gradients."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Generator, Tensor

from duologue.data.tensors import collate
from duologue.layout import weave
from duologue.model.backbone import tokenizer_of
from duologue.model.omni_ears import log_mel
from duologue.model.picking import Pick, Picking, Seen
from duologue.model.weights import Stored, WeightsError
from duologue.streaming import Memory
from duologue.systems.fun_audio_chat import LEARNT, TwoRates
from duologue.systems.fun_audio_chat_examples import Turn, example, released_turns, spectrum
from duologue.systems.fun_audio_chat_model import FunAudioChat
from duologue.systems.fun_audio_chat_released import TIED, built, load, place, released_name
from duologue.systems.fun_audio_chat_talk import Said, Talk

MEMORY = Memory(slots=800)
CODE = "[AU{:04d}]"


def close(ours: Tensor, golden: Tensor, limit: float, what: str = "") -> None:
    torch.testing.assert_close(ours.float(), golden.float(), atol=limit, rtol=0, msg=lambda text: f"{what}: {text}")


def fives(each: Sequence[Tensor]) -> Tensor:
    """Of all units, by group."""
    return torch.stack(list(each)).reshape(len(each) // 5, 5, -1)


# ---------------------------------------------------------------- weights and ids


def config(path: Path) -> None:
    golden = json.loads(path.read_text())
    model = built(golden, tokenizer_of(path.parent))
    text, audio = golden["text_config"], golden["audio_config"]
    assert model.marks.heard == golden["audio_token_index"]
    assert model.marks.ends[0] == text["eos_token_id"]
    assert model.unit_ids == (81, audio["bos_token_id"], audio["eos_token_id"], audio["pad_token_id"], 85)
    assert (model.config.group, model.ears.width) == (audio["group_size"], audio["output_dim"])
    wrong = {**golden, "audio_config": {**audio, "continuous_features_mode": "add"}}
    with pytest.raises(WeightsError, match="continuous_features_mode"):
        built(wrong, tokenizer_of(path.parent))


def tokenizer(path: Path) -> None:
    """Every case's text has the ids that the reference read."""
    words = tokenizer_of(path.parent)
    golden = json.loads((path.parent / "sft_sequence.json").read_text())
    for case in golden["cases"]:
        assert words(case["rendered_text"], add_special_tokens=False).input_ids == case["input_ids"]


def speech_tokenizer(path: Path) -> None:
    """Names of units are their ids."""
    units, model = tokenizer_of(path.parent), load(path.parent.parent)
    ids = model.unit_ids
    assert units.convert_tokens_to_ids([CODE.format(n) for n in range(ids.codes)]) == [*range(ids.codes)]
    special = (units.bos_token_id, units.eos_token_id, units.pad_token_id)
    assert special == (ids.bos, ids.eos, ids.pad)
    settings = json.loads((path.parent / "tokenizer_config.json").read_text())
    assert settings["audio_group_size"] == model.config.group


def model(path: Path) -> None:
    """Each tensor lies in its place; a checkpoint with one too few, too many or of another shape is refused."""
    ours, tensors = load(path.parent), load_file(path)
    assert torch.equal(ours.units.table.weight, tensors["audio_tower.embed_tokens.weight"])
    assert torch.equal(ours.adapter.get_parameter("weight"), tensors["audio_tower.continual_output_matching.weight"])
    name = "audio_invert_tower.pre_matching.bias"
    refused(ours, {k: v for k, v in tensors.items() if k != name}, f"missing: {name}")
    refused(ours, tensors | {"strange": torch.zeros(1)}, "not of this model: strange")
    refused(ours, tensors | {name: torch.zeros(3)}, rf"{name} is \[3\], not \[240\]")
    tied = tensors | {TIED: tensors["audio_tower.embed_tokens.weight"]}
    place(ours, in_memory(tied), "the same, its tied head beside it")
    refused(ours, tied | {TIED: tied[TIED] + 1}, "is not the table of units")


def refused(ours: FunAudioChat, tensors: dict[str, Tensor], why: str) -> None:
    with pytest.raises(WeightsError, match=why):
        place(ours, in_memory(tensors), "a checkpoint")


def in_memory(tensors: dict[str, Tensor]) -> dict[str, Stored]:
    return {name: Stored(tuple(t.shape), lambda t=t: t) for name, t in tensors.items()}  # type: ignore[misc]


def released_shapes(path: Path) -> None:
    """A model of the released size, without memory: every name has a place of its shape, and there are no others."""
    golden = json.loads(path.read_text())["fun_audio_chat_8b"]
    shapes = {
        name.replace("{n}", str(n)): tuple(entry["shape"])
        for name, entry in golden["entries"].items()
        for n in range(entry["count"])
    }
    with torch.device("meta"):
        ours = built(large(json.loads((path.parent / "config.json").read_text())), tokenizer_of(path.parent))
    empty = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    place(ours, in_memory(empty), "the released checkpoint")
    assert golden["tied"] == {TIED: "audio_tower.embed_tokens.weight"}
    assert sum(parameter.numel() for parameter in ours.parameters()) == golden["parameters"]


def large(tiny: dict[str, Any]) -> dict[str, Any]:
    """The tiny config at the released sizes."""
    head = {"hidden_size": 1024, "intermediate_size": 3072, "num_attention_heads": 16}
    body = {"head_dim": 128, "num_key_value_heads": 8}
    lm = {"hidden_size": 4096, "intermediate_size": 12288, "num_attention_heads": 32}
    ears = {"d_model": 1280, "encoder_layers": 32, "encoder_attention_heads": 20, "encoder_ffn_dim": 5120}
    audio, text = tiny["audio_config"], tiny["text_config"]
    crq = {**audio["crq_transformer_config"], **head, **body, "num_hidden_layers": 28}
    units = {"codebook_size": 6565, "bos_token_id": 6561, "eos_token_id": 6562, "pad_token_id": 6563}
    return {
        **tiny,
        "text_config": {**text, **lm, **body, "num_hidden_layers": 36, "vocab_size": 151936},
        "audio_config": {**audio, **ears, **units, "output_dim": 4096, "crq_transformer_config": crq},
    }


# ---------------------------------------------------------------- single passes


def forward(path: Path) -> None:
    golden, ours = load_file(path), load(path.parent)
    with torch.no_grad():
        front(ours, golden)
        grouping(ours, golden)
        inference(ours, golden)
        mismatch(ours, golden)
    training(ours, golden, json.loads((path.parent / "sft_sequence.json").read_text()))


def front(ours: FunAudioChat, golden: dict[str, Tensor]) -> None:
    close(log_mel(golden["frontend.waveform"].numpy(), 128).T, golden["frontend.mel"], 1e-5, "spectrum")
    spectra = torch.split(golden["encoder.features"].T, golden["encoder.feature_lens"].tolist())
    one_window = [golden["encoder.output_one_window"], golden["encoder.output_one_window_minus_1"]]
    rows = [row[:n] for row, n in zip(golden["encoder.output"], golden["encoder.output_rows"], strict=True)]
    states = ears(ours, [*spectra, spectra[0][:200], spectra[0][:199]])
    for found, row in zip(states, [*rows, *one_window], strict=True):
        close(found, row, 2e-5, "states of the ears")


def ears(ours: FunAudioChat, spectra: Sequence[Tensor]) -> list[Tensor]:
    states: list[Tensor] = ours.ears(spectra)  # type: ignore[operator]
    return states


def grouping(ours: FunAudioChat, golden: dict[str, Tensor]) -> None:
    speech = ours.units(golden["group.speech_ids"].reshape(2, -1, 5))
    close(speech, golden["group.speech_5hz"], 1e-5, "units at 5 Hz")
    user = ours.adapter(ours.grouped(golden["group.encoder_frames"][0], 4))
    close(user, golden["group.user_5hz"][0], 1e-5, "sound at 5 Hz")
    close(torch.stack([speech[0], user]), golden["group.mode_replace"], 1e-5, "sound in the place of units")


def prompt(ours: FunAudioChat, golden: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Columns of the recorded prompt, which of them are sound, and what is heard there."""
    ids = golden["infer.input_ids"][0]
    tokens = torch.cat([ids[:, None], torch.full((len(ids), 5), ours.unit_ids.pad)], 1)
    sound = ids == ours.marks.heard
    return tokens, sound, ours.grouped(golden["infer.encoder_output"][0, :53], int(sound.sum()))


def inference(ours: FunAudioChat, golden: dict[str, Tensor]) -> None:
    tokens, sound, heard = prompt(ours, golden)
    close(ours.adapter(heard), golden["infer.user_5hz"][0], 1e-5, "sound at 5 Hz")
    vectors = ours.embedded(tokens, sound, heard)
    close(vectors, golden["infer.inputs_embeds"][0], 1e-5, "input of the language model")
    hidden = ours.lm.get_decoder()(inputs_embeds=vectors[None]).last_hidden_state
    close(hidden, golden["infer.hidden"], 2e-5, "states")
    close(ours.lm.lm_head(hidden[:, -8:]), golden["infer.text_logits_last8"], 1e-4, "text")
    chosen, bos = golden["infer.srh_prefill_ids"].tolist(), ours.unit_ids.bos
    before = torch.full((1, len(tokens), 5), bos)
    before[0, -1] = torch.tensor([bos, *chosen[:4]])
    states = ours.head_states(hidden, tokens)
    spoken = ours.head(states, ours.units.table(before), torch.arange(len(tokens))[None])
    logits = ours.units.logits(ours.head.leave(spoken)).flatten(1, 2)
    close(logits[:, -40:], golden["infer.srh_prefill_logits_last40"], 1e-4, "units over the prompt")
    penalty = Picking(penalty=1.2)
    assert [penalty(logits[0, n - 5], lambda n=n: chosen[:n], Generator()) for n in range(5)] == chosen  # type: ignore[misc]


def mismatch(ours: FunAudioChat, golden: dict[str, Tensor]) -> None:
    """The finished turn as a training example: sound has half its size, and units get other logits."""
    tokens, _, heard = prompt(ours, golden)
    close(0.5 * ours.adapter(heard), golden["mismatch.user_5hz_train_inputs"], 1e-5, "halved")
    close(ours.adapter(heard), golden["mismatch.user_5hz_infer_inputs"], 1e-5, "whole")
    text = [ours.marks.opens, *golden["mismatch.text_ids"][1].tolist(), *ours.marks.ends]
    streams = {
        "given": tokens[:, 0].tolist(),
        "text": text,
        "speech": golden["mismatch.speech_ids"][1, :45].tolist(),
    }
    woven = torch.from_numpy(weave(ours.layout(), streams).tokens)
    batch = {"tokens": woven[None], "position": torch.arange(len(woven))[None], "heard": heard[None]}
    spoken = ours.head(*ours.head_inputs(batch, ours.states(batch)), batch["position"])
    logits = ours.units.logits(ours.head.leave(spoken[0, 48:57]))
    close(logits, golden["mismatch.teacher_forced_logits"], 1e-4, "units of the finished turn")


def training(ours: FunAudioChat, golden: dict[str, Tensor], recorded: dict[str, Any]) -> None:
    """Two samples in one batch, the ears learning, too."""
    batch = collate([[sample] for sample in train_samples(ours, golden, recorded)], {"tokens": ours.unit_ids.pad})
    assert torch.equal(ours.before(batch["tokens"][..., 1:])[0].flatten(), golden["train.srh_previous_ids"][0])
    hidden = ours.states(batch)
    spoken = ours.head(*ours.head_inputs(batch, hidden), batch["position"])
    for row, at in enumerate(recorded["batch"]["rows"]):
        first, last, length = at["audio_bos_position"], at["audio_eos_position"], at["length"]
        text = ours.lm.lm_head(hidden[row, first - 1 : length])
        close(text, golden[f"train.text_logits_row{row}"], 1e-4, "text")
        units = ours.units.logits(ours.head.leave(spoken[row, first : last + 1]))
        close(units, golden[f"train.speech_logits_row{row}"], 1e-4, "units")
    objective = TwoRates(LEARNT)
    cells, nats = objective.cells(batch), objective.nats(ours(batch), batch)
    means = {name: nats[name] / cells[name] for name in LEARNT}
    for name, mean in means.items():
        close(mean, golden[f"train.{name}_loss"], 1e-5, name)
    loss = means["text"] + means["speech"]
    close(loss, golden["train.loss"], 1e-5, "loss")
    loss.backward()  # type: ignore[no-untyped-call]
    gradients(ours, golden, recorded["grad_norms"])


def train_samples(ours: FunAudioChat, golden: dict[str, Tensor], recorded: dict[str, Any]) -> list[Any]:
    cases = {case["name"]: case for case in recorded["cases"]}
    mels = iter(zip(golden["train.input_features"], golden["train.feature_attention_mask"], strict=True))
    samples = []
    for name in recorded["batch"]["cases"]:
        mel, mask = next(mels)
        frames = mel[:, mask.bool()].T
        turns = released_turns(cases[name], lambda _, places, f=frames: spectrum(ours, f, places))  # type: ignore[misc]
        turns = [padded(ours, turn, golden["train.text_ids"].shape[1]) for turn in turns]
        samples.append(example(ours, turns, cases[name]["system"], "mel"))
    return samples


def gradients(ours: FunAudioChat, golden: dict[str, Tensor], norms: dict[str, float | None]) -> None:
    found = {released_name(name): parameter.grad for name, parameter in ours.named_parameters()}
    assert set(found) == set(norms)
    for name, norm in norms.items():
        gradient = found[name]
        if norm is None:
            assert gradient is None or not gradient.any(), name
        else:
            assert gradient is not None
            torch.testing.assert_close(gradient.norm().item(), norm, rtol=1e-5, atol=0, msg=name)
    for name in (name for name in golden if name.startswith("train.grad.")):
        gradient = found[name.removeprefix("train.grad.")]
        assert gradient is not None
        close(gradient, golden[name], 1e-5, name)


# ---------------------------------------------------------------- training sequences


def sft_sequence(path: Path) -> None:
    golden, ours = json.loads(path.read_text()), load(path.parent)
    for case in golden["cases"]:
        sequence(ours, case)
    for row in golden["slot_table"]:
        assert ours.places(row["samples"]) == row["placeholders"]
        states = (row["mel_frames_30s_extractor"] + 1) // 2 // 2
        assert max(states, 1) == row["encoder_frames"] or not row["encoder_frames"]


def sequence(ours: FunAudioChat, case: dict[str, Any]) -> None:
    """The ids that are read, and the labels of both streams; the reference reads a placeholder where text and units
    are said together, and pads the texts of a batch to the longest one with a token that it then trains."""
    blank = {"heard": np.zeros((0, ours.ears.width), np.float32)}
    turns = released_turns(case, lambda _, places: {"heard": np.resize(blank["heard"], (places, ours.ears.width))})
    turns = [padded(ours, turn, max(map(len, case["text_ids"]))) for turn in turns]
    woven = example(ours, turns, case["system"])
    tokens, said = woven["tokens"], woven["said"]
    spoken = (tokens[:, 1] != ours.unit_ids.pad) & (tokens[:, 1] != ours.unit_ids.eos)
    assert np.where(spoken, ours.marks.heard, tokens[:, 0]).tolist() == case["input_ids"], case["name"]
    effective = case["effective"]
    assert np.where(said[:, 0], tokens[:, 0], -100).tolist() == effective["text_labels"], case["name"]
    assert np.where(said, tokens, -100)[:, 1:].tolist() == effective["speech_labels"], case["name"]
    sound = (tokens[:, 0] == ours.marks.heard) | spoken
    assert np.flatnonzero(sound).tolist() == case["audio_slot_positions"], case["name"]


def padded(ours: FunAudioChat, turn: Turn, longest: int) -> Turn:
    """A turn as the reference pads its text."""
    if turn.units is None:
        return turn
    ids = ours.text_ids(str(turn.text))
    return Turn(turn.role, [*ids, *[ours.words.pad_token_id] * (longest - len(ids))], None, turn.units)


# ---------------------------------------------------------------- answers


Recorded = tuple[FunAudioChat, dict[str, dict[str, Any]], dict[str, Tensor]]


def recorded(folder: Path) -> Recorded:
    golden = json.loads((folder / "decode.json").read_text())
    cases = {case["name"]: case for case in golden["cases"]}
    return load(folder), cases, load_file(folder / "decode.safetensors")


def decode(path: Path) -> None:
    ours, cases, tensors = recorded(path.parent)
    for case in cases.values():
        if not case["sampled_with_seed"]:
            check(case, answered(asked_as(ours, case, tensors), case))
    second_turn(ours, cases["s2s_multiturn"], tensors)


def inside(path: Path) -> None:
    ours, cases, tensors = recorded(path.parent)
    traced(ours, cases["s2s_greedy"], tensors)
    replay(ours, cases["s2s_sampled_replay"], tensors)


def picks(case: dict[str, Any]) -> tuple[Picking, Picking]:
    shaped = Picking(penalty=case["generate_kwargs"].get("repetition_penalty", 1.0))
    return (Picking() if case["sp_gen_kwargs"]["text_greedy"] else shaped), shaped


def asked_as(
    ours: FunAudioChat,
    case: dict[str, Any],
    tensors: dict[str, Tensor],
    picked: tuple[Pick, Pick] | None = None,
) -> Talk:
    """A conversation in which everything up to the answer was heard, read and said."""
    switches, (text, speech) = case["sp_gen_kwargs"], picked or picks(case)
    speaks, opens = not switches["disable_speech"], switches["force_text_abos"]
    talk = Talk(ours, 1, MEMORY, speaks, opens, text, speech)
    sounds = iter(case["user_audios"])
    turns = ours.words.decode(case["prompt_ids"]).split("<|im_start|>")
    for turn in turns[1:-1]:
        role, content = turn.removesuffix("<|im_end|>\n").split("\n", 1)
        if role == "system":
            talk.instruct(0, content)
        elif role == "user":
            ask(talk, content, sounds, tensors)
        else:
            talk.remember(0, content)
    talk.catch_up()
    assert talk.calls[0].columns().tokens[:, 0].tolist() == case["prompt_ids"], case["name"]
    return talk


def ask(talk: Talk, content: str, sounds: Any, tensors: dict[str, Tensor]) -> None:
    opens, closes = "<|audio_bos|>", "<|audio_eos|>"
    if content.startswith(opens):
        sound = next(sounds)
        with torch.no_grad():
            states = ears(talk.model, [tensors[sound["mel"]].T])[0]
        talk.heard(0, talk.model.grouped(states, sound["placeholders"]))
        content = content.split(closes)[1].removeprefix("\n")
    talk.ask(0, content)


def answered(talk: Talk, case: dict[str, Any]) -> list[Said]:
    said: list[Said] = []
    while talk.asked() and len(said) < case["generate_kwargs"]["max_new_tokens"]:
        said += talk.step()
    return said


def check(case: dict[str, Any], said: Sequence[Said]) -> None:
    assert [one.text for one in said] == case["new_text_ids"], case["name"]
    assert [unit for one in said for unit in one.units] == case["speech_ids"], case["name"]
    stored = [[*(step["speech_group_stored"] or [])] for step in case["steps"]]
    assert [[*one.units] for one in said] == stored, case["name"]
    assert said[-1].last == (case["new_text_ids"][-1] == case["generate_kwargs"]["eos_token_id"]), case["name"]


def second_turn(ours: FunAudioChat, case: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    """The same answer where the first turn was answered aloud, interrupted, and remembered as text."""
    history = next(t for t in ours.words.decode(case["prompt_ids"]).split("<|im_start|>") if t.startswith("assistant"))
    talk = Talk(ours, 1, MEMORY, text=picks(case)[0], speech=picks(case)[1])
    sounds = iter(case["user_audios"])
    talk.instruct(0, "S2M")
    ask(talk, "<|audio_bos|><|audio_eos|>", sounds, tensors)
    for _ in range(5):
        talk.step()
    talk.end(0, text=history.removeprefix("assistant\n").removesuffix("<|im_end|>\n"))
    content = ours.words.decode(case["prompt_ids"]).split("<|im_start|>user\n")[2].split("<|im_end|>")[0]
    ask(talk, content, sounds, tensors)
    check(case, answered(talk, case))


class Traced:
    """Picks as another, and keeps what it picked from."""

    def __init__(self, pick: Picking) -> None:
        self.pick, self.logits, self.scores = pick, list[Tensor](), list[Tensor]()

    def __call__(self, logits: Tensor, seen: Seen, draw: Generator) -> int:
        self.logits.append(logits.clone())
        self.scores.append(self.pick.scores(logits, seen))
        return self.pick(logits, seen, draw)


def traced(ours: FunAudioChat, case: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    """Inside the first answer, as long as it speaks: the head is silent afterwards, the reference's goes on."""
    speech = Traced(picks(case)[1])
    talk, hidden = asked_as(ours, case, tensors, (picks(case)[0], speech)), []
    for _ in case["steps"]:
        talk.step()
        hidden.append(talk.calls[0].hidden)
    golden = {name.removeprefix("s2s_greedy."): t for name, t in tensors.items() if name.startswith("s2s_greedy.")}
    close(torch.stack(hidden), golden["step_llm_hidden"], 2e-5, "states")
    close(ours.lm.lm_head(torch.stack(hidden)), golden["step_text_logits"], 1e-4, "text")
    groups = len(speech.logits) // 5
    assert groups == 1 + sum(step["speech_group_stored"] is not None for step in case["steps"])
    close(fives(speech.logits), golden["step_srh_logits"][:groups], 1e-4, "units")
    close(
        fives(speech.scores),
        golden["step_srh_scores"][:groups],
        1e-4,
        "penalised units",
    )
    columns = talk.calls[0].columns().tokens[len(case["prompt_ids"]) :][: len(case["steps"]) - 1]
    no_sound = torch.zeros(len(columns), dtype=torch.bool)
    vectors = ours.embedded(torch.from_numpy(columns), no_sound, torch.zeros(0, ours.ears.width))
    close(vectors, golden["step_llm_inputs"][1:], 1e-5, "input of the language model")


class Replayed:
    """Says what was recorded, and keeps the probabilities."""

    def __init__(self, ids: Sequence[int], pick: Picking) -> None:
        self.ids, self.pick, self.probabilities = iter(ids), pick, list[Tensor]()

    def __call__(self, logits: Tensor, seen: Seen, draw: Generator) -> int:
        self.probabilities.append(self.pick.scores(logits, seen).softmax(-1))
        return next(self.ids)


def replay(ours: FunAudioChat, case: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    shaped = Picking(temperature=0.8, top_p=0.9, penalty=1.2)
    steps = case["steps"]
    text = Replayed([step["text_id_chosen"] for step in steps][1:], shaped)
    speech = Replayed([unit for step in steps for unit in step["srh_ids_chosen"]], shaped)
    check(case, answered(asked_as(ours, case, tensors, (text, speech)), case))
    name = case["name"]
    close(torch.stack(text.probabilities), tensors[f"{name}.text_probs"][1:], 1e-5, "text")
    close(fives(speech.probabilities), tensors[f"{name}.srh_probs"], 1e-5, "units")


READERS = {
    f"fun_audio_chat/{name}": reader
    for name, reader in {
        "config.json": config,
        "decode.json": decode,
        "decode.safetensors": inside,
        "forward.safetensors": forward,
        "model.safetensors": model,
        "released_shapes.json": released_shapes,
        "sft_sequence.json": sft_sequence,
        "tokenizer.json": tokenizer,
        "tokenizer_config.json": tokenizer,
    }.items()
} | {
    "speech_tokenizer/tokenizer.json": speech_tokenizer,
    "speech_tokenizer/tokenizer_config.json": speech_tokenizer,
}
HELD = {"fun_audio_chat": "sft_sequence.json"}
