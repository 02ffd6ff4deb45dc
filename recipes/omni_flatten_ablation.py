"""OmniFlatten's ablation (table 2) and its chunk-size study, tried again at a small size on the desk.

    python recipes/omni_flatten_ablation.py --folder runs/omni_flatten --seeds 0 1

It takes the units, the text model and the conversations that recipes/omni_flatten.py made in the folder. Every variant
learns from equally many tokens: one without an early stage learns longer in the last. Mean and spread over the seeds
are printed, whatever came out. Each variant's figures are kept in a folder of its own under `ablation`, so a run that
was stopped goes on, and several processes may share the seeds. Figures of other --tokens or --users are refused.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import mean, stdev

import torch
from rich.console import Console
from rich.table import Table

import omni_flatten_data
from duologue.evaluate.answers import score
from duologue.evaluate.conversing import recorded, tracks
from duologue.evaluate.duplex import answered, turns
from duologue.synthesis import Plan
from duologue.systems.omni_flatten import STREAMS, Config, OmniFlatten
from duologue.train import Causal, NextToken, Run, Stage, train
from duologue.units import nano_codec
from duologue.whole import whole_file
from nano_text import MATRICES
from omni_flatten import DIALOGUES, examples, untrained
from omni_flatten_data import codec_in, made, noises_in

BATCH_TOKENS, ROW_TOKENS = 3_072, 1_536
TOKENS = 3_000_000
"""That each variant learns from."""
SHARES = {"alignment": 0.2, "half_duplex": 0.3, "full_duplex": 0.5}
"""Of them, by stage, where all stages are there."""


@dataclass(frozen=True)
class Variant:
    """What is tried: some of the stages, a layout."""

    name: str
    stages: tuple[str, ...]
    config: Config

    @property
    def tokens(self) -> dict[str, float]:
        """By stage: the last one learns from those of the stages that are left out too."""
        found = {stage: TOKENS * SHARES[stage] for stage in self.stages}
        return found | {self.stages[-1]: TOKENS - sum(list(found.values())[:-1])}


ALL = ("alignment", "half_duplex", "full_duplex")
HEARD = Variant("full recipe, and writes what it hears", ALL, Config(heard_chunk=3))
CURRICULUM = (
    Variant("straight to three streams", ALL[2:], Config()),
    Variant("without half duplex", (ALL[0], ALL[2]), Config()),
    Variant("full recipe", ALL, Config()),
    Variant("full recipe, two streams", ALL, Config(text_chunk=0)),
    HEARD,
)
CHUNKS = (
    *(Variant(f"the same, chunks of {chunk[0]}", ALL, Config(*chunk)) for chunk in ((2, 1, 1), (5, 1, 2))),
    HEARD,
    Variant("the same, chunks of 20", ALL, Config(20, 4, 6)),
)
"""Of tokens of speech, text and what is heard; those of 10 are the variant that writes what it hears."""


@dataclass(frozen=True)
class Figures:
    """Of one variant and seed: held-out loss, nats; words heard wrong, answers and turns in percent; times in ms of the
    stream."""

    loss: float
    misheard: float | None
    answers: float | None
    takes_5: float | None
    takes_10: float | None
    takes_ms: float | None
    yields_10: float | None
    yields_25: float | None
    yields_ms: float | None


def main() -> None:
    options = parsed()
    torch.set_num_threads(options.threads)
    tried = [*(CURRICULUM if "curriculum" in options.study else ()), *(CHUNKS if "chunks" in options.study else ())]
    bench = Bench(options)
    results: dict[str, list[Figures]] = {}
    for variant in tried:
        results[variant.name] = [bench.figures(variant, seed) for seed in options.seeds]
    Console(highlight=False, width=160).print(table(results))


def parsed() -> argparse.Namespace:
    parser = omni_flatten_data.parser(__doc__)
    parser.add_argument("--study", nargs="+", default=["curriculum", "chunks"], choices=["curriculum", "chunks"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--tokens", type=float, default=TOKENS, help="that each variant learns from")
    parser.add_argument("--users", type=int, default=160, help="recorded test users: questions, and dialogues")
    return parser.parse_args()


class Bench:
    """The data that all variants share, and where their results go."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options, self._folder = options, options.folder / "ablation"
        self._codec_path, self._rows = codec_in(options.folder), made(options)
        self._codec = nano_codec.load(self._codec_path)
        noises = noises_in(options.recordings)
        test = Plan(options.users, split="test", timing="prompt", noises=noises, seed=5)
        self._asked = recorded(self._folder / "questions", replace(test, exchanges=(1, 1)))
        self._talked = recorded(self._folder / "dialogues", replace(test, exchanges=(1, 3)))

    def figures(self, variant: Variant, seed: int) -> Figures:
        folder = self._folder / f"{variant.name} {seed}".replace(" ", "_").replace(",", "")
        asked = {"tokens": round(self._options.tokens), "users": self._options.users}
        if found := kept_figures(folder / "figures.json", asked):
            return found
        found = self._tried(variant, seed, folder)
        lines = json.dumps(asdict(found) | asked, indent=1).encode()
        whole_file(folder / "figures.json", lambda file: file.write(lines))
        return found

    def _tried(self, variant: Variant, seed: int, folder: Path) -> Figures:
        model = untrained(self._options.folder / "text" / "model", self._codec_path, variant.config, seed)
        loss = 0.0
        for stage, tokens in variant.tokens.items():
            loss = self._learn(model, stage, round(tokens * self._options.tokens / TOKENS), folder / stage, seed)
        return self._measured(model, loss)

    def _learn(self, model: OmniFlatten, name: str, tokens: int, folder: Path, seed: int) -> float:
        dialogues = [row for corpus in DIALOGUES for row in self._rows[corpus]]
        learnt, held_out = examples(model, name, dialogues, ROW_TOKENS)
        stage = Stage(
            name,
            learning_rate=3e-3,
            batch_tokens=BATCH_TOKENS,
            row_tokens=ROW_TOKENS,
            steps=max(2, tokens // BATCH_TOKENS),
            warmup_steps=20,
            final_rate=0.05,
            mean_over="streams",
            muon=MATRICES,
            seed=seed,
        )
        run = Run(folder, bf16=True, validate_every_steps=10_000, save_every_steps=200)
        trained = train(Causal(model.lm), stage, run, learnt, held_out, NextToken(STREAMS))
        return trained.best_loss or float("nan")

    def _measured(self, model: OmniFlatten, loss: float) -> Figures:
        talking = model.talking(self._codec)
        rows, users = self._asked
        heard = list(tracks(talking, users))
        answers = score([answered(talking, row, track, ()) for row, track in zip(rows, heard, strict=True)])
        rows, users = self._talked
        found = turns(rows, list(tracks(talking, users)), talking.codec.unit_hz)
        return Figures(
            loss,
            answers.hearing.words if answers.hearing else None,
            answers.text if model.config.text_chunk else None,
            found.takes.within[5],
            found.takes.within[10],
            found.takes.mean_response_ms,
            found.yields.within[10],
            found.yields.within[25],
            found.yields.mean_response_ms,
        )


def kept_figures(path: Path, asked: dict[str, int]) -> Figures | None:
    """Those of an earlier run, where there are any. Raises ValueError where it asked for other tokens or users."""
    if not path.exists():
        return None
    found = json.loads(path.read_text())
    of = {name: found.pop(name) for name in asked if name in found}
    if not of:
        print(f"{path}: kept without its tokens and users, taken as it is", flush=True)
    elif of != asked:
        raise ValueError(f"{path} is of {of}, asked for is {asked}: move {path.parent} away, or ask for the same")
    return Figures(**found)


def table(results: dict[str, list[Figures]]) -> Table:
    """Mean ± standard deviation over the seeds."""
    shown = Table(box=None, header_style="dim")
    names = list(Figures.__dataclass_fields__)
    for name in ("", *names):
        shown.add_column(name, justify="right" if name else "left")
    for variant, figures in results.items():
        shown.add_row(variant, *(over([getattr(each, name) for each in figures]) for name in names))
    return shown


def over(values: Sequence[float | None]) -> str:
    """Mean and standard deviation of those that are known."""
    known = [value for value in values if value is not None]
    if not known:
        return "–"
    return f"{mean(known):.2f}" + (f" ± {stdev(known):.2f}" if len(known) > 1 else "")


if __name__ == "__main__":
    main()
