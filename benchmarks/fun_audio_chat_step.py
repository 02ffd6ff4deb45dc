"""What a step of 200 ms of speech costs Fun-Audio-Chat at a middle size: Qwen3-0.6B's language model and the head of a
quarter of it, random weights.

python benchmarks/fun_audio_chat_step.py [--type bf16|fp32] [--threads 1 2] [--batch 1 8] [--steps 8]

Medians, the best in brackets: the calling thread's time on the processor where there is one thread, else wall time.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from transformers import Qwen3Config

from duologue.model.backbone import backbone
from duologue.model.omni_ears import LiveEars
from duologue.model.picking import Seen
from duologue.model.words import words_tokenizer
from duologue.streaming import Memory
from duologue.systems.fun_audio_chat import Config, nano
from duologue.systems.fun_audio_chat_model import FunAudioChat
from duologue.systems.fun_audio_chat_nano import CausalEars
from duologue.systems.fun_audio_chat_talk import Talk
from duologue.units.nano_ears import EarsConfig, NanoEars, WordEars

CODES, PROMPT_WORDS = 6_561, 60
"""CosyVoice 3's units; a prompt as long as a question of ten seconds."""
Clock = Callable[[], float]


def model_of(dtype: torch.dtype, ears: LiveEars | None = None) -> FunAudioChat:
    words = words_tokenizer(("what", "is"))
    lm = Qwen3Config(
        vocab_size=151_936,
        hidden_size=1024,
        intermediate_size=3072,
        num_hidden_layers=28,
        num_attention_heads=16,
        num_key_value_heads=8,
        head_dim=128,
        tie_word_embeddings=True,
    )
    head = Qwen3Config(
        vocab_size=1,
        hidden_size=512,
        intermediate_size=1536,
        num_hidden_layers=8,
        num_attention_heads=8,
        num_key_value_heads=8,
        head_dim=64,
        max_position_embeddings=10_240,
    )
    sizes = EarsConfig(("what", "is"), 64, 1, front_width=16, front_blocks=1)
    ears = ears or CausalEars(WordEars(NanoEars(sizes), torch.eye(2, 64)).eval())
    config = Config(chat=nano().chat)
    return FunAudioChat.grown(ears, backbone(lm, dtype), words, CODES, config, head).eval()


def step_ms(model: FunAudioChat, batch: int, steps: int, clock: Clock) -> list[float]:
    """Of all rows together, while all of them speak."""
    talk = Talk(model, batch, Memory(PROMPT_WORDS + steps + 20), text=lambda *_: model.marks.silent, speech=never_ends)
    for row in range(batch):
        talk.ask(row, "what " * PROMPT_WORDS)
    taken = []
    for _ in range(steps + 2):
        began = clock()
        talk.step()
        taken.append(1000 * (clock() - began))
    return taken[2:]


def never_ends(logits: torch.Tensor, seen: Seen, draw: torch.Generator) -> int:
    return int(logits[:CODES].argmax())


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--type", choices=("bf16", "fp32"), default="bf16")
    asked.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    asked.add_argument("--batch", type=int, nargs="+", default=[1, 8])
    asked.add_argument("--steps", type=int, default=8)
    given = asked.parse_args()
    model = model_of(torch.bfloat16 if given.type == "bf16" else torch.float32)
    sizes = {name: sum(p.numel() for p in part.parameters()) for name, part in (("LM", model.lm), ("head", model.head))}
    print(f"{given.type}, " + ", ".join(f"{name} {size / 1e6:.0f} M" for name, size in sizes.items()))
    for threads in given.threads:
        torch.set_num_threads(threads)
        clock = time.thread_time if threads == 1 else time.perf_counter
        for batch in given.batch:
            taken = step_ms(model, batch, given.steps, clock)
            each = statistics.median(taken) / batch
            print(
                f"{threads} thread(s), batch {batch}: {statistics.median(taken):7.1f} ms ({min(taken):.1f}) a step of "
                f"200 ms, {each:.1f} for a caller",
                flush=True,
            )


if __name__ == "__main__":
    main()
