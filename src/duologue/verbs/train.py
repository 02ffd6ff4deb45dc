"""`duologue train`: a stage of a system on encoded conversations."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from duologue.data.encode import Encoded

HELP = "Train a stage of OmniFlatten on conversations in units."
EXAMPLE = """\
  duologue train runs/omni/model --stage full_duplex --data runs/omni/dialogues_0/units --folder runs/mine --epochs 2
  python recipes/omni_flatten.py            # everything, from nothing; makes the units too"""


LORA_TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=Path, help="folder of an OmniFlatten model to go on from")
    parser.add_argument("--stage", required=True, help="alignment, half_duplex, full_duplex or two_streams")
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="encoded conversations (files, folders)")
    parser.add_argument("--folder", type=Path, required=True, help="for checkpoints, log, curve, model")
    parser.add_argument("--epochs", type=int, default=None, help="default: the paper's")
    parser.add_argument("--learning-rate", type=float, default=None, help="peak; default: the paper's")
    parser.add_argument("--batch-tokens", type=int, default=None, help="default: the paper's")
    parser.add_argument("--microbatch-tokens", type=int, default=None, help="at once; default: the whole batch")
    parser.add_argument("--lora-rank", type=int, default=0, help="train low-rank changes alone, of this rank")
    parser.add_argument("--validation", type=int, default=50, help="conversations kept for validation")
    parser.add_argument("--bf16", action="store_true", help="compute in bfloat16")
    parser.add_argument("--seed", type=int, default=0)


def run(options: argparse.Namespace) -> int:
    from dataclasses import replace

    from duologue.systems.omni_flatten import STAGES, STREAMS, OmniFlatten
    from duologue.systems.omni_flatten_examples import EXAMPLES
    from duologue.train import Causal, DivergedError, Lora, NextToken, Run, fold_lora, train
    from duologue.units.nano_codec import CODEC
    from duologue.whole import whole_file

    if options.stage not in EXAMPLES:
        raise ValueError(f"there is no stage {options.stage!r}, only {', '.join(EXAMPLES)}")
    if options.validation < 0:
        raise ValueError(f"--validation {options.validation}: give 0 or more conversations")
    model = OmniFlatten.load(options.model)
    model = model.without_text() if options.stage == "two_streams" else model
    examples = list(EXAMPLES[options.stage](model, list(_conversations(options.data))))
    if len(examples) <= options.validation:
        raise ValueError(f"{len(examples)} examples: give more, or keep fewer for validation (--validation)")
    stage = next(stage for stage in STAGES if stage.name == options.stage)
    asked = ("epochs", "learning_rate", "batch_tokens", "seed")
    stage = replace(stage, **{name: v for name in asked if (v := getattr(options, name)) is not None})
    if options.lora_rank:
        stage = replace(stage, trains=(), lora=Lora(LORA_TARGETS, options.lora_rank, 2 * options.lora_rank))
    where = Run(options.folder, options.microbatch_tokens, options.bf16)
    learner = Causal(model.lm)
    held_out, learnt = examples[: options.validation], examples[options.validation :]
    try:
        train(learner, stage, where, learnt, held_out, NextToken(STREAMS))
    except DivergedError as error:
        raise ValueError(f"{error} (--learning-rate, and another --folder)") from error
    if options.lora_rank:
        fold_lora(learner)
    model.save(options.folder / "model")
    if (codec := options.model / CODEC).is_file():
        whole_file(options.folder / "model" / CODEC, lambda file: file.write(codec.read_bytes()))
    print(f"{options.folder / 'model'}: talk with it by duologue talk --system omni_flatten --model PATH")
    return 0


def _conversations(paths: Iterable[Path]) -> Iterator[Encoded]:
    from duologue.data.encode import read

    for path in paths:
        files = sorted(path.glob("*.jsonl")) if path.is_dir() else [path]
        if not files:
            raise ValueError(f"{path}: no encoded conversations (*.jsonl) in this folder")
        for file in files:
            yield from read(file)
