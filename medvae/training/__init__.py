"""Training: the classes that bundle configs name by ``_target_``, and ``train`` to start a run."""

from __future__ import annotations

from medvae.training._batch import step_memory
from medvae.training._config import prepare_run
from medvae.training._finish import finish
from medvae.training._handlers import (
    AutocastInferer,
    Checkpoints,
    EpochSeed,
    GradientClip,
    ListedOutput,
    NanGuard,
    SharedBuffers,
    TrainingView,
)
from medvae.training._history import CollapseWatch, History, TrainingPictures
from medvae.training._slices import CanvasSlices, SliceDataset, TrainingSlices
from medvae.training._train import train

__all__ = [
    "AutocastInferer",
    "CanvasSlices",
    "Checkpoints",
    "CollapseWatch",
    "EpochSeed",
    "GradientClip",
    "History",
    "ListedOutput",
    "NanGuard",
    "SharedBuffers",
    "SliceDataset",
    "TrainingPictures",
    "TrainingSlices",
    "TrainingView",
    "finish",
    "prepare_run",
    "step_memory",
    "train",
]
