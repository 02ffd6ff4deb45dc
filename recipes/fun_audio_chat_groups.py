"""Fun-Audio-Chat's claim of two rates, tried at a small size on the desk: what groups of 1, 2 and 5 units cost the
language model, and how well each answers.

    python recipes/fun_audio_chat_groups.py --folder runs/omni_flatten --seeds 0 1

It takes what recipes/omni_flatten.py and recipes/nano_ears.py made in the folder. Every variant learns from the same
conversations equally often, in as many updates; sound is heard in the same groups that it is said in. Each variant's
figures are kept in a folder of its own under `fun_audio_chat_groups`, so a run that was stopped goes on, and several
processes may share the seeds. The report says that training at 5 Hz takes about half the time of higher rates.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from random import Random

import torch
from rich.console import Console
from torch.utils.flop_counter import FlopCounterMode

from duologue.data.tensors import Example, collate
from duologue.desk import Desk
from duologue.evaluate.answers import Answered, Ears
from duologue.evaluate.conversing import recorded
from duologue.evaluate.ears import answers_recogniser
from duologue.evaluate.replies import answered, conversed
from duologue.synthesis import Plan
from duologue.systems import fun_audio_chat
from duologue.systems.fun_audio_chat import LEARNT, TwoRates
from duologue.systems.fun_audio_chat_model import FunAudioChat
from duologue.systems.fun_audio_chat_nano import WRITES
from duologue.systems.fun_audio_chat_trained import small_talking
from duologue.systems.fun_audio_chat_turns import Talker
from duologue.train import Run, Stage, train
from duologue.units import nano_codec
from duologue.whole import whole_file
from fun_audio_chat import ALIGNMENT, HELD_OUT, TUNING, by_desk, ears_of, examples, heard_clearly, untrained, written
from fun_audio_chat_groups_table import Figures, costs_table, shares_table
from omni_flatten_data import codec_in, made, noises_in, parser

CORPORA = ("dialogues_0", "questions_0")
CLEAR = 0.5
"""Questions that were never spoken, for each conversation."""
TIMED = 16
"""Held-out conversations that costs are measured on."""


def main() -> None:
    options = parsed()
    torch.set_num_threads(options.threads)
    bench = Bench(options)
    results = {group: [bench.figures(group, seed) for seed in options.seeds] for group in options.groups}
    console = Console(highlight=False, width=140)
    console.print(costs_table(results))
    console.print(shares_table(results))


def parsed() -> argparse.Namespace:
    found = parser(__doc__)
    found.add_argument("--groups", type=int, nargs="+", default=[1, 2, 5], help="units of a step")
    found.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    found.add_argument("--conversations", type=int, default=4_000, help="that each variant learns from")
    found.add_argument("--epochs", type=int, default=2, help="of tuning; alignment takes one")
    found.add_argument("--batch-tokens", type=int, default=1_024, help="at groups of five; fewer are more updates")
    found.add_argument("--users", type=int, default=160, help="recorded test users, a question each")
    found.add_argument("--no-speech", action="store_true", help="do not listen to the answers, read them alone")
    return found.parse_args()


class Bench:
    """The conversations that all variants share, and where their figures go."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options, self._folder = options, options.folder / "fun_audio_chat_groups"
        self._codec = nano_codec.load(codec_in(options.folder))
        model = self._untrained(5, 0)
        lessons = by_desk(ears_of(model), options.folder, made(options), CORPORA)
        self._lessons = Random(0).sample(lessons, min(len(lessons), options.conversations))
        plan = Plan(
            options.users,
            split="test",
            timing="prompt",
            exchanges=(1, 1),
            noises=noises_in(options.recordings),
            seed=5,
        )
        self._asked, self._users = recorded(self._folder / "questions", plan)
        self._ears: Ears | None = None if options.no_speech else answers_recogniser()

    def figures(self, group: int, seed: int) -> Figures:
        options = self._options
        size = f"{options.conversations}_{options.epochs}_{options.batch_tokens}"
        folder = self._folder / f"group_{group}_seed_{seed}_of_{size}"
        kept = folder / "figures.json"
        if not kept.exists():
            found = asdict(self._tried(group, seed, folder))
            whole_file(kept, lambda file: file.write(json.dumps(found, indent=1).encode()))
        return Figures(**json.loads(kept.read_text()))

    def _untrained(self, group: int, seed: int) -> FunAudioChat:
        return untrained(self._options.folder, self._codec, fun_audio_chat.nano(group), seed)

    def _tried(self, group: int, seed: int, folder: Path) -> Figures:
        model, batch_tokens = self._untrained(group, seed), self._options.batch_tokens
        silence = self._codec.silence[0]
        room = row_tokens(TUNING, group)
        learnt = list(examples(model, self._lessons, silence, room))
        unspoken = heard_clearly(ears_of(model), written(round(CLEAR * len(learnt)), 5))
        more = list(examples(model, unspoken, row_tokens=room, system=WRITES))
        held_out, learnt = learnt[:HELD_OUT], learnt[HELD_OUT:]
        alignment = replace(ALIGNMENT, batch_tokens=batch_tokens, warmup_steps=10, seed=seed)
        learn(model, stretched(alignment, group), learnt, held_out, folder / "pre_alignment")
        tuning = replace(
            TUNING,
            batch_tokens=batch_tokens,
            epochs=self._options.epochs,
            learning_rate=1e-3,
            warmup_steps=10,
            seed=seed,
        )
        learn(model, stretched(tuning, group), learnt + more, held_out, folder / "fine_tuning")
        answers = self._answers(model)
        return Figures(
            **costs(model, held_out[:TIMED]),
            **losses(model, held_out),
            right=[answer.text_right for answer in answers],
            sounds=[bool(answer.speech_right) for answer in answers if answer.speech_right is not None],
        )

    def _answers(self, model: FunAudioChat) -> list[Answered]:
        talking = small_talking(model, self._codec)
        desk = Desk(lambda: datetime(2026, 1, 5, 9))
        heard = (
            list(conversed(Talker(talking, desk), row, user))
            for row, user in zip(self._asked, self._users, strict=True)
        )
        return [answered(row, found, self._ears) for row, found in zip(self._asked, heard, strict=True)]


# ---------------------------------------------------------------- learning


def row_tokens(stage: Stage, group: int) -> int:
    """As many as hold the conversations that rows hold at groups of five."""
    return (stage.row_tokens or 0) * 5 // group


def stretched(stage: Stage, group: int) -> Stage:
    """With batches of about as many conversations, whatever the group."""
    return replace(stage, batch_tokens=stage.batch_tokens * 5 // group, row_tokens=row_tokens(stage, group))


def learn(
    model: FunAudioChat, stage: Stage, learnt: Sequence[Example], held_out: Sequence[Example], folder: Path
) -> None:
    microbatch = max(2_048, stage.row_tokens or 0)
    run = Run(folder, microbatch_tokens=microbatch, bf16=True, validate_every_steps=10_000)
    train(model, stage, run, learnt, held_out, TwoRates(LEARNT))


# ---------------------------------------------------------------- what it costs, how well it does


def costs(model: FunAudioChat, held_out: Sequence[Example]) -> dict[str, float]:
    batches = [collate([[example]]) for example in held_out]
    config, count = model.lm.config, len(batches)
    positions = sum(batch["tokens"].shape[1] for batch in batches) / count
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    cells = 2 * config.num_hidden_layers * config.num_key_value_heads * width
    with FlopCounterMode(display=False) as counted:
        both_ways(model, batches, lambda batch: model.states(batch))
    return {
        "positions": positions,
        "gflops": counted.get_total_flops() / count / 1e9,
        "ms": took_ms(lambda: both_ways(model, batches, lambda batch: model.states(batch))) / count,
        "kv_kb": positions * cells * model.lm.dtype.itemsize / 1e3,
        "ms_all": took_ms(lambda: both_ways(model, batches, model)) / count,
    }


def both_ways(
    model: FunAudioChat, batches: Sequence[dict[str, torch.Tensor]], made: Callable[..., torch.Tensor]
) -> None:
    for batch in batches:
        made(batch).sum().backward()  # type: ignore[no-untyped-call]
    model.zero_grad()


def took_ms(work: Callable[[], None], times: int = 3) -> float:
    """Of this process's time on the processor, the best of some."""
    found = []
    for _ in range(times):
        began = time.process_time()
        work()
        found.append(1000 * (time.process_time() - began))
    return min(found)


@torch.no_grad()
def losses(model: FunAudioChat, held_out: Sequence[Example]) -> dict[str, float]:
    objective, nats, cells = TwoRates(LEARNT), dict.fromkeys(LEARNT, 0.0), dict.fromkeys(LEARNT, 0.0)
    for batch in (collate([[example]]) for example in held_out):
        of_batch, count = objective.nats(model(batch), batch), objective.cells(batch)
        for name in LEARNT:
            nats[name] += float(of_batch[name])
            cells[name] += float(count[name])
    text, units = (nats[name] / cells[name] for name in LEARNT)
    return {"text": text, "units": units}


if __name__ == "__main__":
    main()
