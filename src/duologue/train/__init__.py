"""Training: a stage says what is learnt, a run says where, and one loop does it for every system.

stage = Stage("alignment", learning_rate=1e-3, batch_tokens=8_000, epochs=5, warmup_steps=50)
train(model, stage, Run(Path("runs/alignment")), examples, validation)
"""

from duologue.train.causal import Causal
from duologue.train.checkpoint import CheckpointError, load_weights
from duologue.train.learner import DivergedError
from duologue.train.loop import Trained, train
from duologue.train.loss import NextToken, Objective, OwnLoss
from duologue.train.merge import blend, fold_lora
from duologue.train.stage import Lora, Run, Stage

__all__ = [
    "Causal",
    "CheckpointError",
    "DivergedError",
    "Lora",
    "NextToken",
    "Objective",
    "OwnLoss",
    "Run",
    "Stage",
    "Trained",
    "blend",
    "fold_lora",
    "load_weights",
    "train",
]
