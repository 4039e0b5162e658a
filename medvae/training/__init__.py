"""Training: the classes that bundle configs name by ``_target_``, and ``train`` to start a run."""

from __future__ import annotations

from medvae.training._checkpoints import Checkpoints
from medvae.training._engine import AutocastInferer, TrainingView
from medvae.training._finish import finish
from medvae.training._handlers import (
    CollapseWatch,
    EarlyStop,
    EpochSeed,
    GradientClip,
    History,
    ListedOutput,
    NanGuard,
    Progress,
    SharedBuffers,
)
from medvae.training._pictures import TrainingPictures
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
    "train",
]
