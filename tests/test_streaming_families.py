"""Models of families whose caches, rotations or logits differ from Qwen's: streamed is whole, or refused at once."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    CohereConfig,
    DeepseekV3Config,
    FalconConfig,
    FalconH1Config,
    Gemma2Config,
    GPT2Config,
    GPTJConfig,
    GPTNeoXConfig,
    GraniteConfig,
    OPTConfig,
    PhiConfig,
    PreTrainedConfig,
    StableLmConfig,
)

from duologue.model.logits import logit_scale, logits
from duologue.streaming import Memory, start, step
from duologue.train import Causal
from small_models import SIZES, close, ids, whole

TALL = {name: size for name, size in SIZES.items() if name != "num_key_value_heads"}
SMALL = {"vocab_size": 50, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256}
FALCON = {"vocab_size": 50, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
OPT = {**FALCON, "ffn_dim": 48, "max_position_embeddings": 256, "word_embed_proj_dim": 32}
Make = Callable[[], PreTrainedConfig]
ROTARY: dict[str, Make] = {
    "gpt_neox": lambda: GPTNeoXConfig(**TALL),
    "phi": lambda: PhiConfig(**TALL),
    "stablelm": lambda: StableLmConfig(**SIZES),
    "falcon, one head of keys": lambda: FalconConfig(**FALCON),
    "falcon, all heads of keys": lambda: FalconConfig(**FALCON, multi_query=False),
    "falcon, new": lambda: FalconConfig(**FALCON, new_decoder_architecture=True, num_kv_heads=2),
    "cohere": lambda: CohereConfig(**SIZES, pad_token_id=0),
}
ABSOLUTE: dict[str, Make] = {
    "gpt2": lambda: GPT2Config(**SMALL, bos_token_id=None, eos_token_id=None),
    "gptj": lambda: GPTJConfig(**SMALL, rotary_dim=8, bos_token_id=None, eos_token_id=None),
    "opt": lambda: OPTConfig(**OPT),
}
SCALED: dict[str, Make] = {
    "granite": lambda: GraniteConfig(**SIZES, logits_scaling=8.0),
    "cohere": lambda: CohereConfig(**SIZES, logit_scale=0.25, pad_token_id=0),
    "gemma2": lambda: Gemma2Config(**SIZES, head_dim=8, final_logit_softcapping=0.5),
    "gpt2": ABSOLUTE["gpt2"],
}
every_family = pytest.mark.parametrize("name", [*ROTARY, *ABSOLUTE])


@cache
def model_of(name: str, layers: int = 2) -> Any:
    torch.manual_seed(3)
    config = (ROTARY | ABSOLUTE)[name]()
    config.num_hidden_layers, config.initializer_range = layers, 0.2
    return AutoModelForCausalLM.from_config(config).eval()


@every_family
def test_streamed_is_whole(name: str) -> None:
    model, tokens = model_of(name), ids(2, 40)
    state = start(model, 2, Memory(256))
    streamed = [
        step(model, state, tokens[:, :7]),
        step(model, state, tokens[:, 7:8]),
        step(model, state, tokens[:, 8:]),
    ]
    assert close(torch.cat(streamed, 1), whole(model, tokens))


@every_family
def test_a_row_beside_a_longer_one_is_as_if_alone(name: str) -> None:
    model, tokens = model_of(name), ids(2, 12)
    state = start(model, 2, Memory(256))
    first = step(model, state, tokens, counts=[12, 5])
    assert close(first[1:, :5], whole(model, tokens[1:, :5]))
    assert close(step(model, state, tokens[1:, 5:], rows=[1]), whole(model, tokens[1:])[:, 5:])


@pytest.mark.parametrize("name", ROTARY)
def test_forgetting_turns_what_the_model_turns(name: str) -> None:
    """With one layer, keys know nothing of their context: a state is what its remembered tokens make afresh."""
    model, tokens = model_of(name, layers=1), ids(1, 40)
    state, remembered = start(model, 1, Memory(16, sink=3, spare=5)), list[int]()
    for token in tokens[0].tolist():
        hidden = step(model, state, torch.tensor([[token]]))
        remembered.append(token)
        del remembered[3 : 3 + len(remembered) - int(state.lengths[0])]
        assert close(hidden, whole(model, torch.tensor([remembered]))[:, -1:])
    assert int(state.dropped[0]) > 0


def refused(config: PreTrainedConfig, memory: Memory, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        start(AutoModelForCausalLM.from_config(config), 1, memory)


def test_families_that_cannot_be_streamed_are_refused_by_name() -> None:
    refused(BloomConfig(vocab_size=50, hidden_size=32, n_layer=1, n_head=4), Memory(16), "bloom")
    refused(FalconConfig(**FALCON, alibi=True), Memory(16), "falcon")
    latent = {"kv_lora_rank": 16, "q_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8}
    refused(DeepseekV3Config(**SIZES, **latent, first_k_dense_replace=2), Memory(16), "deepseek_v3")
    refused(ABSOLUTE["gpt2"](), Memory(16, sink=2, spare=4), "rotary")


@pytest.mark.parametrize("name", SCALED)
def test_logits_are_the_models_own(name: str) -> None:
    torch.manual_seed(3)
    config = SCALED[name]()
    config.initializer_range = 0.2
    model, tokens = AutoModelForCausalLM.from_config(config).eval(), ids(2, 20)
    with torch.no_grad():
        own = model(tokens).logits
        assert close(logits(model, whole(model, tokens)), own)
        batch = {"tokens": tokens, "said": torch.ones_like(tokens, dtype=torch.bool)}
        assert close(Causal(model)(batch), own[:, :-1].flatten(0, 1))


def test_a_scale_that_is_not_known_is_refused() -> None:
    with pytest.raises(ValueError, match="falcon_h1 model scales its logits by lm_head_multiplier"):
        logit_scale(FalconH1Config(lm_head_multiplier=0.5))
