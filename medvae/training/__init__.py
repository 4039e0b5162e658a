"""Training: the classes that bundle configs name by ``_target_``, and ``train`` to start a run."""

from __future__ import annotations

from medvae.training._batch import step_memory
from medvae.training._finish import finish
from medvae.training._handlers import (
    AutocastInferer,
    Checkpoints,
    EarlyStop,
    EpochSeed,
    GradientClip,
    ListedOutput,
    NanGuard,
    SharedBuffers,
    TrainingView,
)
from medvae.training._history import CollapseWatch, History, Progress, TrainingPictures
from medvae.training._slices import CanvasSlices, SliceDataset, TrainingSlices
from medvae.training._train import prepare_run, train

__all__ = [
    "AutocastInferer",
    "CanvasSlices",
    "Checkpoints",
    "CollapseWatch",
    "EarlyStop",
    "EpochSeed",
    "GradientClip",
    "History",
    "ListedOutput",
    "NanGuard",
    "Progress",
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
