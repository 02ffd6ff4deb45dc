"""Mini-Omni: loading, single passes, every task of decoding and streaming, id for id, released ids and sizes.

The codec's files are read with the other codecs.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml  # type: ignore[import-untyped]
from safetensors.torch import load_file
from torch import Tensor

from duologue.layout import Layout, Say, Tokens, unweave, weave
from duologue.model.weights import Stored, WeightsError
from duologue.streaming import Memory, start, step
from duologue.systems import mini_omni
from duologue.systems.mini_omni import AUDIO, BOOKS, LANES, Config, Question, Task, answer, prompt
from duologue.systems.mini_omni_decoding import Choosing, Decoding, answered
from duologue.systems.mini_omni_model import MiniOmni, before_norm
from duologue.systems.mini_omni_model import whole as at_once
from duologue.systems.mini_omni_places import shapes
from duologue.systems.mini_omni_released import RELEASED, assembled, built

TOLERANCE = 5e-5


def close(ours: Tensor, golden: Tensor) -> None:
    torch.testing.assert_close(ours, golden, atol=TOLERANCE, rtol=0)


# ---------------------------------------------------------------- sizes, names, loading


def config_json(path: Path) -> None:
    golden = json.loads(path.read_text())
    small, ids, sizes = model(path.parent).config, golden["special_ids"], golden["vocabulary"]
    ours = small.marks._asdict()
    assert ids["text"] == {name: ours[name] for name in ids["text"]}
    assert {k: v for k, v in ids["audio"].items() if k != "split"} == {
        name: ours[name] for name in ("eoa", "pad_a", "input_a", "answer_a")
    }
    first = small.text + small.text_marks
    assert sizes["audio_layer_offsets"] == [first + small.book * book for book in range(BOOKS)]
    assert sizes["total"] == first + BOOKS * small.book
    named = {
        "text_vocab": "text",
        "text_special": "text_marks",
        "audio_vocab": "codes",
        "audio_special": "book_marks",
    }
    release = mini_omni.released()
    assert sizes["released"] == {name: getattr(release, ours) for name, ours in named.items()}
    assert (small.features, small.adapter) == (
        golden["model"]["whisper_adapter_dim"],
        golden["model"]["whisper_adapter_intermediate"],
    )


def marks(folder: Path) -> tuple[int, int]:
    sizes = json.loads((folder / "config.json").read_text())["vocabulary"]
    return sizes["text_special"], sizes["audio_special"]


def in_memory(tensors: dict[str, Tensor]) -> dict[str, Stored]:
    return {name: Stored(tuple(tensor.shape), tensor.clone) for name, tensor in tensors.items()}


@cache
def model(folder: Path, tts: bool = False) -> MiniOmni:
    tensors = load_file(folder / "model.safetensors")
    if tts:
        tensors |= load_file(folder / "post_adapter.safetensors")
    sizes = yaml.safe_load((folder / "model_config.yaml").read_text())
    return assembled(sizes, in_memory(tensors), folder, marks(folder), tts=tts)


def weights(path: Path) -> None:
    """Every name has a place and every place a name; the tensors are those that were stored."""
    golden, ours = load_file(path), model(path.parent)
    assert shapes(ours) == {name: tuple(tensor.shape) for name, tensor in golden.items()}
    lm, table = ours.lm, golden["transformer.wte.weight"]
    rows = [lm.get_input_embeddings(), ours.added.marks.embedding, ours.added.books.embedding]
    assert torch.equal(torch.cat([part.weight for part in rows]), table)
    assert lm.get_output_embeddings().weight is lm.get_input_embeddings().weight
    assert sum(p.numel() for p in ours.parameters()) == sum(t.numel() for t in golden.values()) - table.numel()


def tts_weights(path: Path) -> None:
    golden, both = load_file(path), load_file(path.parent / "model.safetensors")
    ours = model(path.parent, tts=True)
    assert shapes(ours) == {name: tuple(tensor.shape) for name, tensor in (both | golden).items()}
    with pytest.raises(WeightsError, match="tts=True"):
        assembled({}, in_memory(both | golden), path)


def sizes_yaml(path: Path) -> None:
    ours = built(yaml.safe_load(path.read_text()), marks(path.parent))
    golden = json.loads((path.parent / "config.json").read_text())["model"]
    lm = ours.lm.config
    assert (lm.num_hidden_layers, lm.hidden_size, lm.num_attention_heads) == (
        golden["n_layer"],
        golden["n_embd"],
        golden["n_head"],
    )
    assert (lm.num_key_value_heads, lm.max_position_embeddings) == (
        golden["n_query_groups"],
        golden["block_size"],
    )


def released_shapes(path: Path) -> None:
    """Of the language model; nothing is allocated."""
    golden = json.loads(path.read_text())
    with torch.device("meta"):
        ours, with_tts = built(RELEASED), built(RELEASED, tts_blocks=6)
    assert ours.config == mini_omni.released()
    assert {name: list(shape) for name, shape in shapes(ours).items()} == golden["language_model"]
    assert len(shapes(ours)) == golden["entries"]
    assert sum(p.numel() for p in ours.parameters()) == golden["parameters_tied"]
    assert sum(p.numel() for p in with_tts.parameters()) == golden["parameters_with_post_adapter"]


# ---------------------------------------------------------------- single passes


def raw(config: Config, absolute: Any) -> Tensor:
    """Ids as they are fed, [..., 8, length] → of each book, [..., length, 8]."""
    first = torch.tensor([config.text + config.text_marks + config.book * book for book in range(BOOKS)] + [0])
    return torch.as_tensor(absolute).long().mT - first


def forward_json(path: Path) -> None:
    golden = load_file(path.with_name("forward.safetensors"))
    for name, case in json.loads(path.read_text()).items():
        ours, plain = model(path.parent, name.startswith("post_adapter.")), name.removeprefix("post_adapter.")
        expected = {
            key.removeprefix(f"{plain}."): value for key, value in golden.items() if key.startswith(f"{plain}.")
        }
        if ours.added.tts is not None:
            expected["audio_logits"] = golden[f"{name}.audio_logits"]
        (cached if "steps" in case else whole)(ours, case, expected)


def prepared(ours: MiniOmni, case: dict[str, Any], golden: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Tokens, where there are features, and these: of each row as many as its length, at steps 1 and on."""
    tokens = raw(ours.config, golden["ids"])
    heard, features = torch.zeros(tokens.shape[:2], dtype=torch.bool), [torch.zeros(0, ours.config.features)]
    for row, (task, count) in enumerate(zip(case["tasks"] or [], case["feature_lengths"] or [], strict=True)):
        if task not in ("T1A2", "T1T2"):
            heard[row, 1 : 1 + count] = True
            features.append(golden["features"][row, :count])
    return tokens, heard, torch.cat(features)


@torch.no_grad()
def whole(ours: MiniOmni, case: dict[str, Any], golden: dict[str, Tensor]) -> None:
    embedded = ours.embedded(*prepared(ours, case, golden))
    with before_norm(ours.lm) as before:
        text, audio = ours.states(embedded, at_once)
    inner = {"inputs_embeds": embedded, "hiddenbefore_norm": before[0], "hidden_after_norm": text}
    for name, found in inner.items():
        if name in golden:
            close(found, golden[name])
    if "adapter_out" in golden:
        close(ours.added.asr(golden["features"]), golden["adapter_out"])
    compare(ours, case, golden, text, audio)


@torch.no_grad()
def cached(ours: MiniOmni, case: dict[str, Any], golden: dict[str, Tensor]) -> None:
    embedded = ours.embedded(*prepared(ours, case, golden))
    state = start(ours.lm, case["rows"], Memory(embedded.shape[1]))
    first = case["prompt_length"]
    parts = [embedded[:, :first], *torch.split(embedded[:, first:], 1, dim=1)]
    states = torch.cat([step(ours.lm, state, part) for part in parts], dim=1)
    compare(ours, case, golden, states, states)


def compare(ours: MiniOmni, case: dict[str, Any], golden: dict[str, Tensor], text: Tensor, audio: Tensor) -> None:
    positions = slice(None) if case["positions"] == "all" else case["positions"]
    close(ours.text_logits(text[:, positions]), golden["text_logits"])
    close(ours.audio_logits(audio[:, positions]).transpose(1, 2), golden["audio_logits"])


# ---------------------------------------------------------------- decoding


def question(ours: MiniOmni, case: dict[str, Any], features: dict[str, Tensor]) -> tuple[Question, Decoding]:
    """What is asked, from task and features (or text) alone; it must give the recorded prompt."""
    task, parallel = case["task"][:4], case["task"].endswith("batch_parallel")
    recorded = raw(ours.config, case["prompt_row0" if parallel else "prompt"])
    heard = features[case["features"]][0, : case["feature_length"]] if "features" in case else None
    typed = [] if heard is not None else recorded[1:-2, BOOKS].tolist()
    rows: list[tuple[Task, Tensor]] = [(task, recorded)]
    if parallel:
        rows.append(("A1T2", raw(ours.config, case["prompt_row1"])))
    for of, expected in rows:
        count = 0 if heard is None else len(heard)
        assert written(prompt(ours.config, of, count, typed), ours.config, count).tolist() == expected.tolist()
    steps = case["max_returned_tokens"] - case["prompt_length"]
    return Question(task, heard, typed), Decoding(parallel=parallel, exact=True, most_steps=steps)


def written(columns: Any, config: Config, heard: int) -> Tokens:
    return weave(Layout(lambda: columns, ("user",), len(LANES)), {"user": [config.marks.pad_a] * heard}).tokens


def decoded(ours: MiniOmni, case: dict[str, Any], features: dict[str, Tensor]) -> None:
    asked, how = question(ours, case, features)
    steps = list(answered(ours, asked, how))
    fed = raw(ours.config, np.array(case["fed_row0" if how.parallel else "fed"]).T).tolist()
    assert [list(step.placed) for step in steps][: len(fed)] == fed, case["name"]
    stored = steps
    if "stop" in case:
        assert len(steps) == case["model_calls"]
        stored = steps[: case["stored_steps"]]
        chosen = zip(*(step.placed for step in steps), strict=True)
        if "sampled_audio" in case:
            assert [*chosen][:BOOKS] == [*zip(*case["sampled_audio"], strict=True)]
        ended = case["text_eot_step"] if case["stop"] != "text_eot" else len(steps)
        assert [step.placed[BOOKS] for step in steps][:ended] == case["sampled_text"][:ended]
    columns = [list(lane) for lane in zip(*(step.placed for step in stored), strict=True)]
    assert columns[BOOKS] == case["output_text"], case["name"]
    assert columns[:BOOKS] == case.get("output_audio", columns[:BOOKS])
    if "frames" in case:
        assert [list(step.frame) for step in stored if step.frame] == case["frames"]


def decode_json(path: Path) -> None:
    features = load_file(path.with_name("decode_features.safetensors"))
    for case in json.loads(path.read_text())["cases"]:
        decoded(model(path.parent), case, features)


def stream_json(path: Path) -> None:
    """Each chunk can be sent after so many calls; the frames that the reference never sends come too."""
    features, ours = load_file(path.with_name("stream.safetensors")), model(path.parent)
    for case in json.loads(path.read_text())["cases"]:
        decoded(ours, case, features)
        steps = answered(ours, *question(ours, case, features))
        after = [call for call, step in enumerate(steps, 1) if step.frame]
        assert len(after) == case["frames_total"]
        sent = [chunk["frames"] for chunk in case["chunks"]]
        assert [after[chunk["first_frame"] + chunk["frames"] - 1] for chunk in case["chunks"]] == [
            chunk["after_model_calls"] for chunk in case["chunks"]
        ]
        assert sum(sent) + case["frames_never_sent_by_reference"] == len(after)


def sampling_json(path: Path) -> None:
    golden = json.loads(path.read_text())
    logits = torch.tensor([golden["logits"]])
    for case in golden["cases"]:
        how = Choosing(case["temperature"], case["top_k"], case["top_p"])
        if case["probabilities"] is None:
            assert how.greedy
        else:
            close(how.distribution(logits)[0], torch.tensor(case["probabilities"]))
        if how.greedy:
            assert how.chosen(logits, torch.Generator()) == [case["argmax"]]


# ---------------------------------------------------------------- released ids, very small width


@cache
def released_ids(folder: Path) -> MiniOmni:
    golden = json.loads((folder / "real_layout.json").read_text())
    stored = load_file(folder / "real_layout.safetensors")
    tensors = {name.removeprefix("weights."): t for name, t in stored.items() if name.startswith("weights.")}
    tensors["transformer.wte.weight"] = torch.from_numpy(table(**golden["embedding"]))
    return assembled(RELEASED | golden["model"], in_memory(tensors), folder)


def table(rows: int, width: int, seed: int, sum_float64: float, **ends: list[float]) -> Any:
    """Embeddings by a rule (splitmix64)."""
    with np.errstate(over="ignore"):
        x = np.arange(rows * width, dtype=np.uint64) + np.uint64(seed) + np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    x ^= x >> np.uint64(31)
    values = ((x >> np.uint64(40)).astype(np.float64) / 2**23 - 1).astype(np.float32)
    assert values[:4].tolist() == ends["first_values"]
    assert values[-4:].tolist() == ends["last_values"]
    assert values.astype(np.float64).sum() == pytest.approx(sum_float64)
    return values.reshape(rows, width)


def real_layout_json(path: Path) -> None:
    stored, ours = load_file(path.with_name("real_layout.safetensors")), released_ids(path.parent)
    for case in json.loads(path.read_text())["cases"]:
        decoded(ours, case, stored)
        if f"{case['name']}.last.text_logits" in stored:
            last_logits(ours, case, stored)


@torch.no_grad()
def last_logits(ours: MiniOmni, case: dict[str, Any], stored: dict[str, Tensor]) -> None:
    """At the last call, of the row that speaks and of the one that writes."""
    golden = {key: stored[f"{case['name']}.last.{key}"] for key in ("text_columns", "text_logits")}
    golden |= {key: stored[f"{case['name']}.last.{key}"] for key in ("audio_columns", "audio_logits")}
    rows = ["_row0", "_row1"] if case["rows"] == 2 else [""]
    fed = [
        raw(ours.config, case[f"prompt{row}"]).tolist() + raw(ours.config, np.array(case[f"fed{row}"]).T).tolist()
        for row in rows
    ]
    features = stored[case["features"]][0, : case["feature_length"]]
    tokens = torch.tensor(fed)
    heard = torch.zeros(tokens.shape[:2], dtype=torch.bool)
    heard[:, 1 : 1 + len(features)] = True
    text, audio = ours.states(ours.embedded(tokens, heard, features.repeat(len(rows), 1)), at_once)
    close(ours.text_logits(text[-1, -1])[golden["text_columns"].long()], golden["text_logits"])
    close(ours.audio_logits(audio[0, -1])[:, golden["audio_columns"].long()], golden["audio_logits"])


# ---------------------------------------------------------------- layouts, by hand


ANSWER = Layout(lambda: answer(mini_omni.released(), Say("text")), LANES, lanes=len(LANES))
EOA, EOT = mini_omni.released().marks.eoa, mini_omni.released().marks.eot


def layouts_json(path: Path) -> None:
    """All but the order of the codec's levels, which is no matter of layout."""
    golden = json.loads(path.read_text())
    for name, expected in golden["prompts_released_ids"].items():
        assert absolute(named(name)).tolist() == list(expected.values()), name
    delayed(golden["delay_three_frames"])
    for steps, frames in zip(golden["short_outputs"]["L"], golden["short_outputs"]["frames"], strict=True):
        assert min(map(len, list(unweave(ANSWER, numbered(20)[:steps]).values())[:BOOKS])) == frames
    for stride in golden["stream_chunks"]["strides"]:
        streamed(stride)


def delayed(golden: dict[str, Any]) -> None:
    rows, steps = golden["streams"], golden["stored_steps"]
    codes = {name: [c for c in rows[f"audio_layer_{book}"] if c < EOA] for book, name in enumerate(AUDIO)}
    text = [token for token in rows["text"] if token < EOT]
    grid = weave(ANSWER, {**codes, AUDIO[0]: [*codes[AUDIO[0]], EOA], "text": [*text, EOT]})
    assert len(grid) == steps == golden["stop_step"]
    assert grid.tokens.T.tolist() == list(rows.values())
    assert [*np.argwhere(grid.tokens == EOA)[:, 0], steps] == golden["audio_end_step_of_layer"]
    for number in (4, 5):
        assert absolute(grid.tokens)[:, number].tolist() == golden[f"fed_to_the_model_after_step_{number}"]
    flat = zip(*codes.values(), strict=True)
    assert [code for frame in flat for code in ("#", *frame)] == golden["undelayed_flat"]


def streamed(stride: dict[str, Any]) -> None:
    """Which stored entries each chunk of `stride` frames reads, and after which step it has them all."""
    step_of = {int(token): step for step, row in enumerate(numbered(40)) for token in row[:BOOKS]}
    for chunk, expected in enumerate(stride["first_three_chunks"]):
        frames = range(chunk * stride["stride"], (chunk + 1) * stride["stride"])
        steps = [[step_of[100 * book + frame] for book in range(BOOKS)] for frame in frames]
        assert expected["frames"] == [[f"layer{book}@s{step}" for book, step in enumerate(row)] for row in steps]
        assert expected["emitted_after_stored_step"] == steps[-1][-1]
        assert expected["model_calls_so_far"] == steps[-1][-1] + 1


def numbered(frames: int) -> Tokens:
    """An answer in which code `100 * book + frame` stands for itself."""
    codes = {name: [*range(100 * book, 100 * book + frames)] for book, name in enumerate(AUDIO)}
    return weave(ANSWER, {**codes, AUDIO[0]: [*codes[AUDIO[0]], EOA], "text": [EOT]}).tokens


def named(name: str) -> Tokens:
    """The prompt that is named by its task and its length."""
    task: Any = "A1A2" if "row 0" in name else "A1T2" if "row 1" in name else name[:4]
    heard, typed = (3, []) if task.startswith("A") else (0, [10, 11])
    return written(prompt(mini_omni.released(), task, heard, typed), mini_omni.released(), heard)


def absolute(tokens: Tokens) -> Tokens:
    """Released ids as they are fed, [K, S]: each book's block lies behind the text and the books before it."""
    ids: Tokens = tokens + np.array([152000 + 4160 * book for book in range(BOOKS)] + [0])
    return ids.T


READERS = {
    f"mini_omni/{name}": reader
    for name, reader in {
        "config.json": config_json,
        "model_config.yaml": sizes_yaml,
        "model.safetensors": weights,
        "post_adapter.safetensors": tts_weights,
        "forward.json": forward_json,
        "forward.safetensors": lambda path: forward_json(path.with_suffix(".json")),
        "decode.json": decode_json,
        "decode_features.safetensors": lambda path: decode_json(path.with_name("decode.json")),
        "stream.json": stream_json,
        "sampling.json": sampling_json,
        "real_layout.json": real_layout_json,
        "real_layout.safetensors": lambda path: real_layout_json(path.with_suffix(".json")),
        "released_shapes.json": released_shapes,
        "layouts.json": layouts_json,
    }.items()
}
HELD = {"mini_omni": "model_config.yaml"}
