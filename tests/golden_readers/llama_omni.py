"""LLaMA-Omni with small random weights, as its reference implementation computes it, stage by stage and whole."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.testing import assert_close
from transformers.initialization import no_init_weights

from duologue.dialogue import Message
from duologue.model.adapter import IGNORED, Fused, fused
from duologue.model.ctc import Collapse, CtcLoss
from duologue.model.prompt import ids_of, labelled, sound_first
from duologue.model.whisper import LARGE_V3, WhisperSizes
from duologue.streaming import Memory
from duologue.systems import llama_omni_released
from duologue.systems.llama_omni import LLAMA_3, LlamaOmni
from duologue.systems.llama_omni_conversation import Conversation, Step

Golden = dict[str, Tensor]


@lru_cache
def model_of(folder: Path) -> LlamaOmni:
    dims = json.loads((folder / "speech_encoder_dims.json").read_text())
    sizes = (dims[f"n_{name}"] for name in ("mels", "audio_ctx", "audio_state", "audio_head", "audio_layer"))
    return llama_omni_released.load(folder, torch.float32, WhisperSizes(*sizes))


def consuming(model: LlamaOmni) -> LlamaOmni:
    """The same, speaking from the states at the tokens, as the reference's training has it."""
    other = LlamaOmni(model.ears, model.lm, model.words, replace(model.config, states="consumed"))
    other.adapter, other.speech = model.adapter, model.speech
    return other.eval()


def near(ours: Tensor, theirs: Tensor, atol: float, rtol: float = 0.0) -> None:
    assert_close(ours.detach(), theirs, atol=atol, rtol=rtol)


def scalar(golden: Golden, name: str) -> float:
    return float(golden[name])


def with_model(path: Path) -> tuple[Golden, LlamaOmni]:
    return load_file(path), model_of(path.parent)


# ---------------------------------------------------------------- weights and names


def weights(path: Path) -> None:
    golden, model = with_model(path)
    ours = model.state_dict()
    names = {llama_omni_released.released_name(name): name for name in ours}
    assert len(names) == len(ours) == len(golden)
    for name, tensor in golden.items():
        assert torch.equal(ours[names[name]], tensor)


def released_shapes(path: Path) -> None:
    golden = json.loads(path.read_text())["model"]
    shapes = {name: shape for pattern, shape in golden["shapes"].items() for name in spelt(pattern)}
    with torch.device("meta"), no_init_weights():
        model = llama_omni_released.built(llama_omni_released.FIELDS, LARGE_V3, torch.bfloat16)
    ours = {llama_omni_released.released_name(n): list(p.shape) for n, p in model.named_parameters()}
    assert ours == shapes
    assert len(ours) == golden["tensors"]
    assert sum(p.numel() for p in model.parameters()) == golden["parameters"]


def spelt(pattern: str) -> list[str]:
    """`{a..b}` stands for each of a to b."""
    parts = re.split(r"\{(\d+)\.\.(\d+)\}", pattern)
    counts = [range(int(a), int(b) + 1) for a, b in zip(parts[1::3], parts[2::3], strict=True)]
    return [
        "".join(f"{text}{n}" for text, n in zip(parts[::3], (*map(str, ns), ""), strict=True))
        for ns in product(*counts)
    ]


# ---------------------------------------------------------------- text


def prompt(path: Path) -> None:
    golden = json.loads(path.read_text())
    words = model_of(path.parent).words
    assert (golden["speech_token_index"], golden["ignore_index"]) == (-200, IGNORED)
    asked, answered = (
        Message("user", LLAMA_3.request),
        Message("assistant", "The capital of France is Paris."),
    )
    single = replace(LLAMA_3, begins=1)
    assert ids_of(single.written([asked]), words) == golden["input_ids_single_bos"]
    for messages, expected in (
        ([asked], golden),
        (
            [Message("system", " "), Message("user", golden["without_system"]["user"])],
            golden["without_system"],
        ),
        ([asked, answered, Message("user", "And then? <speech>")], golden["multi_turn"]),
    ):
        assert single.written(messages) == expected["prompt"]
        assert ids_of(LLAMA_3.written(messages), words) == expected["input_ids"]
    training(golden["training"], words)


def training(golden: dict[str, Any], words: Any) -> None:
    roles = {"human": "user", "gpt": "assistant"}
    messages = [Message(roles[turn["from"]], turn["value"]) for turn in golden["turns_raw"]]  # type: ignore[arg-type]
    for turn, expected in zip(golden["turns_raw"], golden["turns_normalised"], strict=True):
        assert sound_first(turn["value"]) == expected["value"]
    assert replace(LLAMA_3, begins=1).written(messages) == golden["prompt_string"]
    assert labelled(LLAMA_3, messages, words) == (golden["input_ids"], golden["labels"])


# ---------------------------------------------------------------- forward


def forward(path: Path) -> None:
    golden, model = with_model(path)
    with torch.no_grad():
        for name in ("single", "batch"):
            stages(golden, model, name)
        together(golden, model)
        cut(golden, model)
        clips = model.adapter(golden["batch.encoder_out"])
        near(
            model.embedded(golden["two.input_ids"][0].tolist(), kept(golden, clips))[None],
            golden["two.inputs_embeds"],
            5e-5,
        )
        text = model.embedded(golden["text.input_ids"][0].tolist())[None]
        hidden = model.lm.get_decoder()(inputs_embeds=text).last_hidden_state
        near(hidden, golden["text.hidden"], 5e-4)
        near(model.lm.lm_head(hidden), golden["text.logits"], 1e-3)
        speech(golden, model)


def stages(golden: Golden, model: LlamaOmni, name: str) -> None:
    features = model.ears(golden[f"{name}.mel"])  # type: ignore[operator]
    near(features, golden[f"{name}.encoder_out"], 5e-5)
    near(model.adapter(golden[f"{name}.encoder_out"]), golden[f"{name}.adaptor_out"], 5e-5)
    near(model.adapter(features), golden[f"{name}.adaptor_out"], 5e-5)
    if name == "single":
        embeds = model.embedded(golden["single.input_ids"][0].tolist(), list(golden["single.adaptor_out"]))[None]
        near(embeds, golden["single.inputs_embeds"], 5e-5)
        hidden = model.lm.get_decoder()(inputs_embeds=golden["single.inputs_embeds"]).last_hidden_state
        near(hidden, golden["single.hidden"], 5e-4)
        near(model.lm.lm_head(hidden), golden["single.logits"], 1e-3)


def kept(golden: Golden, clips: Tensor) -> list[Tensor]:
    """The vectors of each clip that belong to its sound, by its number of mel frames."""
    return [
        clip[: (frames + 1) // 2 // 5]
        for clip, frames in zip(clips, golden["batch.speech_lengths"].tolist(), strict=True)
    ]


def rows(golden: Golden, model: LlamaOmni, longest: int = 2048, padding: Literal["right", "left"] = "right") -> Fused:
    ids, labels, mask = (golden[f"batch.{name}"] for name in ("input_ids", "labels", "attention_mask"))
    clips = kept(golden, golden["batch.adaptor_out"])
    return fused(model.lm.get_input_embeddings(), ids, clips, labels, mask, longest, padding)


def same(ours: Fused, golden: Golden, name: str) -> None:
    near(ours.embeddings, golden[f"{name}.inputs_embeds"], 5e-5)
    assert torch.equal(ours.mask, golden[f"{name}.fused_attention_mask"])
    assert torch.equal(ours.labels, golden[f"{name}.fused_labels"])


def together(golden: Golden, model: LlamaOmni) -> None:
    sides: tuple[tuple[str, Literal["right", "left"]], ...] = (("batch", "right"), ("left", "left"))
    for name, padding in sides:
        ours = rows(golden, model, padding=padding)
        same(ours, golden, name)
        hidden, real = model.hidden(ours), ours.mask.bool()
        near(hidden[real], golden[f"{name}.hidden"][real], 5e-4)
        if name == "batch":
            near(model.lm.lm_head(hidden[real]), golden["batch.logits"][real], 1e-3)
        text = model(ours).text
        near(text[None], golden[f"{name}.lm_loss"], 0, 1e-5)


def cut(golden: Golden, model: LlamaOmni) -> None:
    for name in ("trunc", "trunc_speech"):
        same(rows(golden, model, int(scalar(golden, f"{name}.max_length"))), golden, name)


def speech(golden: Golden, model: LlamaOmni) -> None:
    states = golden["gen.states"][None]
    logits = model.speech(states)[0]
    near(logits, golden["gen.logits"], 1e-3)
    assert torch.equal(logits.argmax(-1), golden["gen.alignment"])
    state = model.speech.start(len(states[0]))
    one_by_one = [model.speech.step(states[:, n : n + 1], state)[0] for n in range(len(states[0]))]
    near(torch.cat(one_by_one), golden["gen.logits"], 1e-3)


# ---------------------------------------------------------------- decoding


def decode(path: Path) -> None:
    golden = json.loads(path.read_text())
    tensors, model = load_file(path.with_suffix(".safetensors")), model_of(path.parent)
    assert golden["upsample_factor"] == model.config.speech.labels_per_token
    assert golden["blank"] == model.speech.blank
    assert model.stops == frozenset(golden["eos_token_id"])
    for name, case in golden["cases"].items():
        vectors = prompted(case, tensors, model)
        for omega, expected in case["segments"].items():
            steps = answered(model, vectors, case, float(omega))
            written(steps, case)
            assert segments(steps) == [(s["after_token"], s["units"]) for s in expected], name
        states(model, vectors, case, tensors[f"{name}.states"])


def prompted(case: dict[str, Any], tensors: Golden, model: LlamaOmni) -> Tensor:
    clips = []
    if case["speech"]:
        features = model.ears(tensors[case["speech"]])[0]  # type: ignore[operator]
        clips = [model.adapter(features[: (case["speech_length"] + 1) // 2])]
    return model.embedded(case["input_ids"], clips).detach()


def answered(model: LlamaOmni, vectors: Tensor, case: dict[str, Any], omega: float) -> list[Step]:
    talk = Conversation(model, Memory(len(vectors) + case["max_new_tokens"]))
    talk.feed(vectors)
    return list(talk.answer(omega, case["max_new_tokens"]))


def written(steps: list[Step], case: dict[str, Any]) -> None:
    assert [step.token for step in steps] == case["text_ids"]
    assert len(steps) == case["num_text_tokens"]
    assert [list(step.units) for step in steps] == case["new_units_per_token"]
    assert [unit for step in steps for unit in step.units] == case["units"]
    assert [step.last for step in steps] == [False] * (len(steps) - 1) + [True]


def segments(steps: list[Step]) -> list[tuple[int, list[int]]]:
    return [(after, list(step.segment)) for after, step in enumerate(steps, 1) if step.segment]


def states(model: LlamaOmni, vectors: Tensor, case: dict[str, Any], theirs: Tensor) -> None:
    """Those that predict the text, of the whole sequence at once, and the labels that they give."""
    said = torch.cat([vectors, model.embedded(case["text_ids"][:-1])])[None].detach()
    hidden = model.lm.get_decoder()(inputs_embeds=said).last_hidden_state[0, len(vectors) - 1 :]
    near(hidden, theirs, 5e-4)
    assert model.speech(hidden[None])[0].argmax(-1).tolist() == case["alignment"]


# ---------------------------------------------------------------- units


def collapse(path: Path) -> None:
    for case in json.loads(path.read_text())["cases"]:
        assert Collapse(case["blank"]).push(case["labels"]) == case["units"], case["about"]
        if "chunk_sizes" in case:
            streamed, chunks = (
                Collapse(case["blank"]),
                torch.split(torch.tensor(case["labels"]), case["chunk_sizes"]),
            )
            assert [streamed.push(chunk.tolist()) for chunk in chunks] == case["new_units_per_chunk"], case["about"]


def ctc_loss(path: Path) -> None:
    golden, model = with_model(path)
    for name in sorted({key.split(".")[0] for key in golden} - {"e2e"}):
        one_loss(golden, model, name)
    end_to_end(golden, load_file(path.parent / "forward.safetensors"), model)


def one_loss(golden: Golden, model: LlamaOmni, name: str) -> None:
    own = {key.removeprefix(f"{name}."): value for key, value in golden.items() if key.startswith(f"{name}.")}
    whole = own["states"].requires_grad_()
    model.zero_grad()
    for speaking, expected in ((model, "loss_predictive"), (consuming(model), "loss")):
        cost = speaking.speech.loss(speaking.spoken_states(whole, own["labels"]), own["units"])
        near(cost.loss[None], own[expected], 1e-6, 1e-5)
    assert torch.equal(cost.lengths, own["up_lengths"])
    infeasible = [row for row, nats in enumerate(own["row_nll"].tolist()) if nats == -1]
    assert list(cost.infeasible) == infeasible
    near(cost.row_nats, own["row_nll"].clamp_min(0), 1e-4, 1e-5)
    if "logits" in own:
        for ours, theirs, length in zip(cost.logits, own["logits"], own["up_lengths"].tolist(), strict=True):
            near(ours[:length], theirs[:length], 1e-3)
    if "grad.states" in own:
        gradients(cost, own, whole, model)


def gradients(cost: CtcLoss, own: Golden, states: Tensor, model: LlamaOmni) -> None:
    cost.loss.backward()  # type: ignore[no-untyped-call]
    ours = {name.removeprefix("llama."): parameter.grad for name, parameter in model.speech.named_parameters()}
    ours["states"] = states.grad
    theirs = {name.removeprefix("grad."): value for name, value in own.items() if name.startswith("grad.")}
    assert set(ours) == set(theirs)
    for name, expected in theirs.items():
        found = ours[name]
        assert found is not None
        near(found, expected, 1e-4 * float(expected.abs().max()))


def end_to_end(golden: Golden, inputs: Golden, model: LlamaOmni) -> None:
    units = golden["e2e.units"]
    with torch.no_grad():
        batch = rows(inputs, model)
    both = consuming(model)(batch, units)
    near(both.text[None], golden["e2e.lm_loss"], 0, 1e-4)
    near(both.speech.loss[None], golden["e2e.ctc_loss"], 0, 1e-4)
    near(both.joint(1.0)[None], golden["e2e.joint_loss"], 0, 1e-4)
    near(model(batch, units, text=False).speech.loss[None], golden["e2e.ctc_loss_predictive"], 0, 1e-4)
    model.zero_grad()
    consuming(model)(batch, units, text=False).speech.loss.backward()
    norm = torch.stack([p.grad.norm() for p in model.speech.parameters() if p.grad is not None]).norm()
    near(norm[None], golden["e2e.generator_grad_norm"], 0, 1e-2)


READERS = {
    "llama_omni/model.safetensors": weights,
    "llama_omni/released_shapes.json": released_shapes,
    "llama_omni/prompt.json": prompt,
    "llama_omni/forward.safetensors": forward,
    "llama_omni/decode.json": decode,
    "llama_omni/collapse.json": collapse,
    "llama_omni/ctc_loss.safetensors": ctc_loss,
}
HELD = {"llama_omni": "speech_encoder_dims.json"}
