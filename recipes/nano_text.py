"""The nano text language model from nothing: it answers the desk's questions in writing, tool calls included.

    python recipes/nano_text.py --folder runs/nano_text

Run it again to go on where it was stopped. It leaves a model of transformers in the folder's `model`, and prints how
many held-out questions it answers right.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from duologue.data.tensors import Example
from duologue.desk import Desk, Question, check, questions, statements
from duologue.dialogue import ToolCall
from duologue.model.backbone import backbone, nano
from duologue.model.calls import parted, spelt
from duologue.model.words import ASSISTANT, END, USER, words_of, words_tokenizer
from duologue.train import Causal, Run, Stage, train
from duologue.whole import whole_folder

MATRICES = ("*.layers.*",)
"""Trained by Muon: with so few steps it learns several times faster than AdamW."""
STAGE = Stage(
    "text",
    learning_rate=4e-3,
    batch_tokens=4_096,
    row_tokens=256,
    epochs=2,
    warmup_steps=50,
    final_rate=0.02,
    muon=MATRICES,
)
QUESTIONS = 160_000
SLOW = ("sums", "times", "clock", "units", "comparing", "ordering", "spelling", "timers")
"""Topics that take the longest to learn: of all questions, every second one is of these alone."""
READINGS = 30
"""How often each statement of what the desk knows is read: facts that are asked for in tests alone are known so."""


REHEARSALS = 10
"""The same in a later stage of another model."""
SAVED = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
"""What lies in the folder of a model that was saved whole."""


def main() -> None:
    options = parsed()
    torch.set_num_threads(options.threads)
    held_out = list(islice(questions(2, "test", "en"), options.clips))
    lm, tokenizer = make(
        options.folder, held_out, options.questions, options.epochs, options.width, options.layers, options.seed
    )
    print(*table(lm, tokenizer, held_out), sep="\n")


def make(
    folder: Path,
    held_out: Sequence[Question],
    count: int = QUESTIONS,
    epochs: int | None = STAGE.epochs,
    width: int = 256,
    layers: int = 6,
    seed: int = 0,
) -> tuple[Any, Any]:
    """Train the model, from where `folder` was left; it and its tokenizer, also in the folder's `model`."""
    learnt = drawn(1, count)
    tokenizer = words_tokenizer(vocabulary(learnt) | {word for text in statements("en") for word in words_of(text)})
    model = Causal(backbone(nano(len(tokenizer), width, layers), seed=seed))
    stage = replace(STAGE, epochs=epochs, seed=seed)
    run = Run(folder, microbatch_tokens=8_192, bf16=True, validate_every_steps=500, save_every_steps=500)
    train(model, stage, run, examples(tokenizer, learnt) + readings(tokenizer), examples(tokenizer, held_out))
    whole_folder(folder / "model", lambda place: save(model.lm, tokenizer, place))
    return model.lm.eval(), tokenizer


def save(lm: Any, tokenizer: Any, folder: Path) -> None:
    lm.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def saved(folder: Path) -> bool:
    """Whether a model lies there, with all its files."""
    return all((folder / name).is_file() for name in SAVED)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("runs/nano_text"), help="where everything is kept")
    parser.add_argument("--questions", type=int, default=QUESTIONS, help="how many to learn from")
    parser.add_argument("--epochs", type=int, default=STAGE.epochs)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clips", type=int, default=480, help="held-out questions to ask at the end")
    return parser.parse_args()


# ---------------------------------------------------------------- what is learnt


def drawn(seed: int, count: int) -> list[Question]:
    """So many questions to learn from."""
    slow = islice(questions(1000 + seed, "train", "en", SLOW), count // 2)
    return [*islice(questions(seed, "train", "en"), count - count // 2), *slow]


def vocabulary(asked: Sequence[Question]) -> set[str]:
    """Every word and mark of the questions, of their answers and of the tools' calls; figures are spelt."""
    words = {word for question in asked for text in texts(question) for word in words_of(text)}
    return {word for word in words if not word.isdigit()}


def texts(question: Question) -> list[str]:
    """What user and assistant write by turns; a call stands behind the answer that goes with it."""
    turns, call = list[str](), None
    for message in question.history:
        if message.tool_calls:
            call = message.tool_calls[0]
        elif message.role == "assistant":
            turns.append(with_call(message.text, call))
            call = None
        elif message.role == "user":
            turns.append(message.text)
    return [*turns, question.text, with_call(question.answer, question.tool_call)]


def with_call(text: str, call: ToolCall | None) -> str:
    return f"{text} {spelt(call)}" if call else text


def examples(tokenizer: Any, asked: Sequence[Question]) -> list[Example]:
    return [example(tokenizer, question) for question in asked]


def example(tokenizer: Any, question: Question) -> Example:
    """All turns; the assistant's are learnt, and, as any text, the user's."""
    tokens = [token for turn, text in enumerate(texts(question)) for token in ids_of(tokenizer, turn, text)]
    return {"tokens": np.array(tokens), "said": np.ones(len(tokens), bool)}


def readings(tokenizer: Any, times: int = READINGS) -> list[Example]:
    """Sentences that nobody asked for, all that the desk knows, so many times."""
    ids = [np.array(ids_of(tokenizer, 1, text)) for text in statements("en")]
    read: list[Example] = [{"tokens": tokens, "said": np.ones(len(tokens), bool)} for tokens in ids]
    return read * times


def rehearsed(tokenizer: Any, count: int) -> list[Example]:
    """What other models that begin as this one go on to answer and to read in writing, so that they do not forget it:
    so many questions, and all that the desk knows."""
    return examples(tokenizer, drawn(3, count)) + readings(tokenizer, REHEARSALS)


def ids_of(tokenizer: Any, turn: int, text: str) -> list[int]:
    opens = tokenizer.convert_tokens_to_ids(ASSISTANT if turn % 2 else USER)
    return [opens, *tokenizer(text).input_ids, tokenizer.convert_tokens_to_ids(END)]


# ---------------------------------------------------------------- what came of it


def table(lm: Any, tokenizer: Any, asked: Sequence[Question]) -> Iterator[str]:
    """Answers that the desk's program finds right, by topic, and calls that are the right ones."""
    right, calls, all_of = Counter[str](), Counter[bool](), Counter[str]()
    for question in asked:
        said, called = parted(reply(lm, tokenizer, question), Desk().tools)
        all_of[question.topic] += 1
        right[question.topic] += check(question, said)
        if wanted := question.tool_call:
            calls[[(c.name, c.parsed()) for c in called] == [(wanted.name, wanted.parsed())]] += 1
    for topic in sorted(all_of):
        yield f"{topic:12}  {right[topic]:4} of {all_of[topic]:4}"
    yield f"{'all':12}  {sum(right.values()):4} of {len(asked):4}   {sum(right.values()) / len(asked):.1%}"
    yield f"{'tool calls':12}  {calls[True]:4} of {calls.total():4}   {calls[True] / max(1, calls.total()):.1%}"


@torch.inference_mode()
def reply(lm: Any, tokenizer: Any, question: Question) -> str:
    *before, _ = texts(question)
    tokens = [token for turn, text in enumerate(before) for token in ids_of(tokenizer, turn, text)]
    prompt = torch.tensor([[*tokens, tokenizer.convert_tokens_to_ids(ASSISTANT)]])
    end = tokenizer.convert_tokens_to_ids(END)
    ids = lm.generate(prompt, max_new_tokens=80, do_sample=False, eos_token_id=end, pad_token_id=end)
    return str(tokenizer.decode(ids[0, prompt.shape[1] :])).replace(END, "").strip()


if __name__ == "__main__":
    main()
