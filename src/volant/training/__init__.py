"""Training. Here, for programs that run in a step: their checkpoints and preemptions."""

from volant.training.preemption import (
    checkpoint,
    checkpoint_dir,
    leave,
    on_preempt,
    preempted,
)

__all__ = ["checkpoint", "checkpoint_dir", "leave", "on_preempt", "preempted"]
