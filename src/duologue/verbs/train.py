"""`duologue train`: a stage of a system on encoded conversations."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from duologue.data.encode import Encoded
    from duologue.model.one_vocabulary import Codes
    from duologue.systems.omni_flatten import OmniFlatten
    from duologue.train import Causal, Stage

HELP = "Train a stage of OmniFlatten on conversations in units."
EXAMPLE = """\
  duologue train runs/omni/model --stage full_duplex --data runs/omni/dialogues_0/units --folder runs/mine --epochs 2
  duologue train --base Qwen/Qwen2-0.5B --stage alignment --data runs/omni/dialogues_0/units --folder runs/base --bf16
  python recipes/omni_flatten.py            # everything, from nothing; makes the units too"""


LORA_HELP = """train low-rank changes alone, of this rank; with --base the whole embedding too, and the head where that
is another matrix: else rows of new tags and units would stay where they were drawn"""
LORA_TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=Path, nargs="?", help="folder of an OmniFlatten model to go on from")
    parser.add_argument(
        "--base",
        nargs="?",
        const="",
        metavar="TEXT_MODEL",
        help="begin with a text model instead, to which tags and units are added: a folder or an id on the Hugging "
        "Face hub; alone: the paper's, Qwen/Qwen2-0.5B",
    )
    parser.add_argument(
        "--codec",
        metavar="UNITS",
        help="of the units that --base is given: the nano codec's file, or an S3 tokenizer's name "
        "(speech_tokenizer_v1_25hz); default: the nano codec that comes along",
    )
    parser.add_argument("--stage", required=True, help="alignment, half_duplex, full_duplex or two_streams")
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="encoded conversations (files, folders)")
    parser.add_argument("--folder", type=Path, required=True, help="for checkpoints, log, curve, model")
    parser.add_argument("--epochs", type=int, default=None, help="default: the paper's")
    parser.add_argument("--learning-rate", type=float, default=None, help="peak; default: the paper's")
    parser.add_argument("--batch-tokens", type=int, default=None, help="default: the paper's")
    parser.add_argument("--microbatch-tokens", type=int, default=None, help="at once; default: the whole batch")
    parser.add_argument("--lora-rank", type=int, default=0, help=LORA_HELP)
    parser.add_argument("--validation", type=int, default=50, help="conversations kept for validation")
    parser.add_argument("--bf16", action="store_true", help="compute in bfloat16")
    parser.add_argument("--seed", type=int, default=0)


def run(options: argparse.Namespace) -> int:
    from duologue.systems.omni_flatten import STREAMS
    from duologue.systems.omni_flatten_examples import EXAMPLES
    from duologue.train import Causal, DivergedError, NextToken, Run, fold_lora, train
    from duologue.units.nano_codec import CODEC
    from duologue.whole import whole_file

    if options.stage not in EXAMPLES:
        raise ValueError(f"there is no stage {options.stage!r}, only {', '.join(EXAMPLES)}")
    if options.validation < 0:
        raise ValueError(f"--validation {options.validation}: give 0 or more conversations")
    model, codec = _begun(options)
    model = model.without_text() if options.stage == "two_streams" else model
    examples = list(EXAMPLES[options.stage](model, list(_conversations(options.data))))
    if len(examples) <= options.validation:
        raise ValueError(f"{len(examples)} examples: give more, or keep fewer for validation (--validation)")
    learner = Causal(model.lm)
    where = Run(options.folder, options.microbatch_tokens, options.bf16)
    stage = _stage(options, learner)
    held_out, learnt = examples[: options.validation], examples[options.validation :]
    try:
        train(learner, stage, where, learnt, held_out, NextToken(STREAMS))
    except DivergedError as error:
        raise ValueError(f"{error} (--learning-rate, and another --folder)") from error
    if options.lora_rank:
        fold_lora(learner)
    model.save(options.folder / "model")
    if codec.is_file():
        whole_file(options.folder / "model" / CODEC, lambda file: file.write(codec.read_bytes()))
    talk = "talk with it by duologue talk --system omni_flatten --model PATH"
    print(f"{options.folder / 'model'}: {talk if codec.is_file() else 'nothing makes sound of its units here'}")
    return 0


def _begun(options: argparse.Namespace) -> tuple[OmniFlatten, Path]:
    """The model before the stage, and the file of its codec. Raises ValueError for one that cannot be had."""
    from duologue.model.backbone import backbone, tokenizer_of
    from duologue.systems.omni_flatten import BASE, SHIPPED, OmniFlatten, paper
    from duologue.units.nano_codec import CODEC

    if (options.model is None) == (options.base is None):
        raise ValueError("give the folder of an OmniFlatten model, or --base with a text model: one of the two")
    if options.base is None:
        if options.codec is not None:
            raise ValueError(f"{options.model} has its units already: leave --codec out, or begin with --base")
        return OmniFlatten.load(options.model), options.model / CODEC
    base, codec = options.base or BASE, options.codec or str(SHIPPED / CODEC)
    codes = _codes(codec)
    return OmniFlatten.grown(backbone(base), tokenizer_of(base), codes, paper(), options.seed), Path(codec)


def _codes(codec: str) -> Codes:
    """The units of a nano codec's file, with what it knows of them, or of an S3 tokenizer."""
    from duologue.model.one_vocabulary import Codes
    from duologue.units import nano_codec
    from duologue.units.s3 import VERSIONS

    if codec in VERSIONS:
        return Codes(VERSIONS[codec].codes)
    return nano_codec.codes_of(codec)


def _stage(options: argparse.Namespace, learner: Causal) -> Stage:
    """The paper's, with what was asked for."""
    from dataclasses import replace

    from duologue.systems.omni_flatten import STAGES
    from duologue.train import Lora

    stage = next(stage for stage in STAGES if stage.name == options.stage)
    asked = ("epochs", "learning_rate", "batch_tokens", "seed")
    stage = replace(stage, **{name: v for name in asked if (v := getattr(options, name)) is not None})
    if not options.lora_rank:
        return stage
    lora = Lora(LORA_TARGETS, options.lora_rank, 2 * options.lora_rank)
    return replace(stage, trains=() if options.base is None else _rows_of_tokens(learner), lora=lora)


def _rows_of_tokens(learner: Causal) -> tuple[str, ...]:
    """Names of the embedding, and of the head where it is another matrix."""
    rows = learner.lm.get_input_embeddings().weight, learner.lm.get_output_embeddings().weight
    return tuple(name for name, matrix in learner.named_parameters() if any(matrix is one for one in rows))


def _conversations(paths: Iterable[Path]) -> Iterator[Encoded]:
    from duologue.data.encode import read

    for path in paths:
        files = sorted(path.glob("*.jsonl")) if path.is_dir() else [path]
        if not files:
            raise ValueError(f"{path}: no encoded conversations (*.jsonl) in this folder")
        for file in files:
            yield from read(file)
