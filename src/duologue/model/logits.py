"""The logits of a causal language model as its own `forward` gives them: some families scale what their head says."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

OTHER_SCALES = ("logit_scale", "logits_scaling", "lm_head_multiplier", "output_multiplier")


def logits(lm: Any, hidden: Tensor) -> Tensor:
    """Of states after the final norm: [..., D] → [..., V]. Raises ValueError where it is not known how the model scales
    them."""
    config = lm.config.get_text_config(decoder=True)
    found: Tensor = lm.get_output_embeddings()(hidden)
    if (scale := logit_scale(config)) != 1:
        found = found * scale
    if most := getattr(config, "final_logit_softcapping", None):
        found = most * torch.tanh(found / most)
    return found


def logit_scale(config: Any) -> float:
    """What the head's output is multiplied by. Raises ValueError where that is not known."""
    kind = config.model_type
    if kind.startswith("cohere"):
        return float(config.logit_scale or 1)
    if kind.startswith("granite"):
        return 1 / float(config.logits_scaling or 1)
    for name in OTHER_SCALES:
        if getattr(config, name, None) not in (None, 1):
            raise ValueError(f"a {kind} model scales its logits by {name}, which is not known here: take another model")
    return 1.0
