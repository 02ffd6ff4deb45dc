"""LLaMA-Omni's evaluation as the paper has it (arXiv 2409.06666 v2, section 4), over recorded questions, for each Ω.

    python recipes/llama_omni_table.py runs/eval --model runs/omni_flatten/llama_omni/model
    python recipes/llama_omni_table.py runs/eval --model … --judge http://localhost:8000/v1/MODEL

The folder is one that `duologue eval --folder` made. Each question is heard and answered once; what Ω changes is timed
for some of them. It prints a table beside the paper's and leaves `llama_omni_table.json` in the folder.

right        answers in text (S2TIF), and in speech as a recogniser hears it (S2SIF), by the desk's program. The paper
             has scores of GPT-4o's instead, 1 to 5
WER, CER     of the speech, as heard, against the answer's own text
first sound  median from the end of the turn, once it is noticed; frames are those of a session
words behind words that are written when the first sound is made, on the average
text, both   decoding of an answer after the question was read: tokens alone, and tokens with units (no vocoder)

Speech that is streamed equals speech made whole, unit for unit and sample for sample, so answers and words are those of
every Ω; that the units are the same is checked on those that are timed.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from itertools import islice
from math import inf
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from duologue.engines.named import recogniser
from duologue.evaluate.answers import Answered, Ears, Wrong, score, shown
from duologue.evaluate.ears import answers_recogniser
from duologue.evaluate.quality import PLAIN
from duologue.evaluate.replies import answered, conversed, turns_of
from duologue.session import HEARD_HZ, Audio
from duologue.sound.wav import read_channels
from duologue.systems.llama_omni_turns import Manner, talker
from duologue.whole import whole_file
from llama_omni_judge import Judgement, judge_at, judgement
from llama_omni_pace import CLOCKS, Pace, paced

NOW = datetime(2026, 1, 5, 9)
"""What the desk's clock says, always the same."""
RESULTS = "llama_omni_table.json"

Row = dict[str, Any]


@dataclass(frozen=True)
class Paper:
    """Of one Ω in the paper: the whole latency, the score of the speech (1 to 5), ASR-WER %."""

    first_sound_ms: float
    score: float
    wer: float


PAPER = {
    10: Paper(236.18, 3.54, 9.84),
    20: Paper(281.41, 3.56, 9.91),
    40: Paper(346.73, 3.52, 10.37),
    60: Paper(412.06, 3.52, 10.47),
    80: Paper(487.44, 3.50, 10.70),
    100: Paper(562.81, 3.49, 10.71),
    inf: Paper(1753.77, 3.47, 10.82),
}
PAPER_TEXT_SCORE, PAPER_DECODING = 3.99, 1.28


@dataclass(frozen=True)
class Quality:
    """Of all answers, in percent; None where nobody listened or judged."""

    questions: int
    text_right: float | None
    speech_right: float | None
    speaking: Wrong | None
    normaliser: str
    text_judged: Judgement | None
    speech_judged: Judgement | None


def main() -> None:
    options = parsed()
    torch.set_num_threads(options.threads)
    judge = judge_at(options.judge) if options.judge else None
    rows, users = recorded(options.folder, options.questions)
    system = talker(options.model, lambda: NOW, Manner(omega=inf))
    ears = None if options.no_speech else answers_recogniser() if options.asr is None else heard_by(options.asr)
    found = [list(conversed(system, *one)) for one in track(list(zip(rows, users, strict=True)), "answers")]
    answers = [answered(row, replies, ears) for row, replies in zip(track(rows, "listening"), found, strict=True)]
    of_all = quality(answers, judge)
    asked = [next(turns_of(*one)) for one in islice(zip(rows, users, strict=True), options.timed)]
    paces = paced(system.talking, asked, tuple(PAPER), system.manner.most, CLOCKS[options.clock])
    keep(options.folder / RESULTS, of_all, paces, answers, options.clock)
    Console(highlight=False).print(table(of_all, paces, options.clock))


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="that of `duologue eval --folder`, or its `questions`")
    parser.add_argument("--model", type=Path, default=None, help="folder of a trained model; default: the shipped one")
    parser.add_argument("--questions", type=int, default=None, help="how many, at most")
    parser.add_argument("--timed", type=int, default=40, help="how many of them are timed, at each Ω")
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: time of computing, on a busy machine")
    parser.add_argument(
        "--asr", help="recogniser of the speech, as `duologue talk --asr` names it; default: the desk's"
    )
    parser.add_argument("--no-speech", action="store_true", help="do not listen to the answers, read them alone")
    parser.add_argument("--judge", help="language model that judges too: URL/MODEL of an endpoint")
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


def recorded(folder: Path, most: int | None = None) -> tuple[list[Row], list[Audio]]:
    """Lines of a manifest, and the user's channel of each, [N] at 16 kHz. Raises FileNotFoundError where none is."""
    places = [folder / "questions", folder]
    place = next((place for place in places if (place / "manifest.jsonl").is_file()), None)
    if place is None:
        raise FileNotFoundError(f"{folder} holds no recorded questions; make some by: duologue eval --folder {folder}")
    rows = [json.loads(line) for line in (place / "manifest.jsonl").read_text().splitlines()][:most]
    return rows, [read_channels(place / row["path"], HEARD_HZ)[:, 0] for row in rows]


def heard_by(name: str) -> Ears:
    engine = recogniser(name)
    return lambda audio: engine.transcribe(audio).text if len(audio) else ""


# ---------------------------------------------------------------- what is said


def quality(answers: Sequence[Answered], judge: Any = None) -> Quality:
    right = score(answers)
    listened = [(a.question, a.spoken) for a in answers if a.spoken is not None]
    return Quality(
        questions=len(answers),
        text_right=right.text,
        speech_right=right.speech,
        speaking=right.speaking,
        normaliser=PLAIN.name,
        text_judged=judgement(judge, [(a.question, a.written) for a in answers]) if judge else None,
        speech_judged=judgement(judge, listened) if judge and listened else None,
    )


# ---------------------------------------------------------------- what came of it


def keep(path: Path, of_all: Quality, paces: Sequence[Pace], answers: Sequence[Answered], clock: str) -> None:
    """As JSON; offline is an Ω of null."""
    found = {
        "made": date.today().isoformat(),
        "clock": clock,
        "quality": asdict(of_all),
        "omega": [asdict(pace) | {"omega": _finite(pace.omega), "ratio": pace.ratio} for pace in paces],
        "paper": [asdict(reported) | {"omega": _finite(omega)} for omega, reported in PAPER.items()],
        "each": [asdict(answer) for answer in answers],
    }
    lines = json.dumps(found, indent=1, ensure_ascii=False).encode()
    whole_file(path, lambda file: file.write(lines))


def _finite(omega: float) -> float | None:
    return None if omega == inf else omega


COLUMNS = ("Ω", "text", "speech", "WER", "CER", "ms", "frames", "behind", "text", "both", "ratio")
PAPERS = ("ms", "score", "WER")


def table(of_all: Quality, paces: Sequence[Pace], clock: str) -> Table:
    """Ours, then the paper's columns."""
    found = Table(
        title=title(of_all, paces, clock), box=None, title_justify="left", header_style="dim", padding=(0, 1, 0, 0)
    )
    for name in COLUMNS:
        found.add_column(name, justify="right")
    for name in PAPERS:
        found.add_column(name, justify="right", style="dim")
    for pace in paces:
        found.add_row(*_ours(of_all, pace), *_papers(PAPER[pace.omega]))
    return found


def title(of_all: Quality, paces: Sequence[Pace], clock: str) -> str:
    judged = [f"{name} {_judged(one)}" for name, one in _judgements(of_all).items()]
    lines = [
        f"{of_all.questions} questions: % right in text, in speech; WER and CER % ({of_all.normaliser})",
        f"{paces[0].answers} timed, {clock} clock: ms to the first sound, words behind, ms of decoding",
        f"the paper, dim: an L40, scores 1 to 5 (text {PAPER_TEXT_SCORE}); ratio {PAPER_DECODING}",
    ]
    return "\n".join([*lines, *judged])


def _judgements(of_all: Quality) -> dict[str, Judgement]:
    both = {"text": of_all.text_judged, "speech": of_all.speech_judged}
    return {name: one for name, one in both.items() if one is not None}


def _judged(one: Judgement) -> str:
    return f"judged {one.n} of {one.asked}: content {shown(one.content)}, style {shown(one.style)}"


def _ours(of_all: Quality, pace: Pace) -> list[str]:
    rates = (None, None) if of_all.speaking is None else (of_all.speaking.words, of_all.speaking.letters)
    qualities = map(shown, (of_all.text_right, of_all.speech_right, *rates))
    name, frames = "∞" if pace.omega == inf else f"{pace.omega:g}", "–" if pace.frames is None else str(pace.frames)
    first_ms = "–" if pace.first_sound_ms is None else f"{pace.first_sound_ms:.0f}"
    times = (first_ms, frames, shown(pace.words_behind), f"{pace.text_ms:.0f}", f"{pace.both_ms:.0f}")
    return [name, *qualities, *times, f"{pace.ratio:.2f}"]


def _papers(reported: Paper) -> list[str]:
    return [f"{reported.first_sound_ms:.0f}", f"{reported.score:.2f}", f"{reported.wer:.2f}"]


if __name__ == "__main__":
    main()
