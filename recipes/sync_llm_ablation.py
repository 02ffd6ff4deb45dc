"""Whether removing repeats helps SyncLLM at the nano size: each way of writing learns from equally many tokens.

    python recipes/sync_llm_ablation.py --folder runs/omni_flatten --seeds 0 1

It takes what recipes/sync_llm.py takes. Mean and spread over the seeds are printed, whatever came out: nats a second of
held-out conversations (those of a token would compare different tokens), and questions answered right in speech. Each
variant's figures are kept in a folder of its own under `sync_llm_ablation`, so a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

import sync_llm
from duologue.data.encode import Encoded
from duologue.data.tensors import collate
from duologue.evaluate import by_ear
from duologue.evaluate.conversing import recorded
from duologue.evaluate.ears import answers_recogniser
from duologue.synthesis import Plan
from duologue.systems.sync_llm import STREAMS, Config, SyncLLM
from duologue.systems.sync_llm_examples import channels, two_channel_examples
from duologue.systems.sync_llm_talk import DRAWN, SyncSession, Talking, loaded
from duologue.train import Causal, NextToken
from duologue.whole import whole_file
from omni_flatten_ablation import over
from omni_flatten_data import codec_in, encoded_desk

TOKENS = 3_000_000
AFTER_S = 2.5
WAYS = ("removed", "carried", "exact", "kept")


@dataclass(frozen=True)
class Figures:
    """Of one variant and seed: nats a second of both sides and of each, tokens a second; answers in percent."""

    nats: float
    own_nats: float
    user_nats: float
    tokens: float
    answers: float | None


def main() -> None:
    options = parsed()
    torch.set_num_threads(options.threads)
    bench = Bench(options)
    Console().print(table({way: [bench.figures(way, seed) for seed in options.seeds] for way in options.repeats}))


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("runs/omni_flatten"), help="of recipes/omni_flatten.py")
    parser.add_argument("--text", type=Path, default=None, help="text model (default: text/model in the folder)")
    parser.add_argument("--out", type=Path, default=None, help="default: sync_llm_ablation in the folder")
    parser.add_argument("--repeats", nargs="+", choices=WAYS, default=["removed", "kept"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--tokens", type=float, default=TOKENS, help="that each variant learns from")
    parser.add_argument("--questions", type=int, default=100, help="of test users")
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


class Bench:
    """What all variants share, and where their results go."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options, self._codec = options, codec_in(options.folder)
        self._folder: Path = options.out or options.folder / "sync_llm_ablation"
        self._folder.mkdir(parents=True, exist_ok=True)
        plan = Plan(options.questions, split="test", timing="prompt", exchanges=(1, 1), seed=5)
        self._asked, self._users = recorded(self._folder / "questions", plan, AFTER_S)
        self._ears = answers_recogniser()

    def figures(self, way: Any, seed: int) -> Figures:
        folder = self._folder / f"{way}_{seed}"
        if not (folder / "figures.json").exists():
            if not (folder / "model").exists():
                self._learn(way, seed, folder)
            found = json.dumps(asdict(self._measured(folder / "model")), indent=1).encode()
            whole_file(folder / "figures.json", lambda file: file.write(found))
        return Figures(**json.loads((folder / "figures.json").read_text()))

    def _learn(self, way: Any, seed: int, folder: Path) -> None:
        corpora = {name for taught in sync_llm.NANO for name in taught.corpora}
        rows = {name: sync_llm.corpus(self._options.folder, name) for name in sorted(corpora)}
        text = self._options.text or self._options.folder / "text" / "model"
        model = sync_llm.untrained(text, self._codec, Config(repeats=way), seed)
        sync_llm.teach(model, rows, self._codec, folder, self._options.tokens, seed)

    def _measured(self, folder: Path) -> Figures:
        model, codec = loaded(folder)
        heard = [encoded_desk(self._codec, self._folder / "questions", row) for row in self._asked]
        each = by_ear.all_listened(lambda: SyncSession(Talking(model, codec, picking=DRAWN)), self._users)
        answers = [by_ear.answered(row, one, self._ears) for row, one in zip(self._asked, each, strict=True)]
        return Figures(
            **nats_a_second(model, heard, codec.silence[0], codec.unit_hz),
            answers=by_ear.score(answers).speech,
        )


@torch.inference_mode()
def nats_a_second(model: SyncLLM, rows: Sequence[Encoded], silence: int, unit_hz: float) -> dict[str, float]:
    """What conversations cost in all, and of each side, for each second of them."""
    seconds = sum(len(channels(row, silence)[0]) for row in rows) / unit_hz
    nats, tokens, learner = dict.fromkeys(STREAMS, 0.0), 0, Causal(model.lm)
    objective = NextToken(STREAMS)
    for example in two_channel_examples(model, rows, silence):
        batch = collate([[example]])
        tokens += len(example["said"])
        for name, value in objective.nats(learner(batch), batch).items():
            nats[name] += float(value)
    own, user = (nats[name] / seconds for name in STREAMS)
    return {"nats": own + user, "own_nats": own, "user_nats": user, "tokens": tokens / seconds}


def table(results: Mapping[str, Sequence[Figures]]) -> Table:
    """Mean ± standard deviation over the seeds."""
    shown = Table(title="repeats, the same tokens learnt from", box=None, title_justify="left", header_style="dim")
    names = {
        "": "",
        "nats": "nats a second",
        "own_nats": "its own",
        "user_nats": "the user's",
        "tokens": "tokens a second",
        "answers": "answers, %",
    }
    for name in names.values():
        shown.add_column(name, justify="right" if name else "left")
    for way, figures in results.items():
        shown.add_row(way, *(over([getattr(each, name) for each in figures]) for name in names if name))
    return shown


if __name__ == "__main__":
    main()
