"""Checkpoints of a training: the last one, from which it resumes, and the best one."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from ignite.engine import Engine, Events

from medvae.atomic import write_bytes
from medvae.errors import ReadError
from medvae.training._handlers import History

__all__ = ["Checkpoints"]


class _Stateful(Protocol):
    def state_dict(self) -> Any: ...

    def load_state_dict(self, state: Any) -> Any: ...


class Checkpoints:
    """Handler that writes ``last.pt`` after each epoch, and ``best.pt`` if that is the best so far.

    A checkpoint replaces the previous one only after it is written completely: a full disk or a
    kill leaves the old one.

    Args:
        folder: Folder to which checkpoints are written.
        parts: Objects whose state is saved, by name, including the network.
        history: History that decides which epoch is the best.
        metric: Name of the metric in the history; higher is better.
        resume: Whether to load the last checkpoint if there is one.
        rank: Rank of this process; only rank 0 writes.
    """

    def __init__(
        self,
        folder: str | Path,
        parts: Mapping[str, _Stateful],
        history: History,
        metric: str = "validation_psnr",
        resume: bool = False,
        rank: int = 0,
    ) -> None:
        self.folder = Path(folder)
        self.parts = {**parts, "history": history}
        self.history = history
        self.metric = metric
        self.resume = resume
        self.rank = rank

    def attach(self, engine: Engine) -> None:
        """Register with the trainer, after all other handlers that change state in an epoch."""
        engine.add_event_handler(Events.STARTED, self._load)
        if self.rank == 0:
            engine.add_event_handler(Events.EPOCH_COMPLETED, self._save)

    def _load(self, engine: Engine) -> None:
        path = self.folder / "last.pt"
        if not self.resume or not path.is_file():
            return
        try:
            saved = torch.load(path, map_location="cpu", weights_only=True)
            for name, part in self.parts.items():
                part.load_state_dict(saved[name])
        except (OSError, RuntimeError, LookupError, ValueError) as error:
            raise ReadError(
                f"{path}: cannot be taken up: {' '.join(str(error).split())[:200]}"
            ) from error
        engine.state.epoch = saved["epoch"]
        engine.state.iteration = saved["iteration"]

    def _save(self, engine: Engine) -> None:
        state = {name: part.state_dict() for name, part in self.parts.items()}
        state |= {"epoch": engine.state.epoch, "iteration": engine.state.iteration}
        buffer = io.BytesIO()
        torch.save(state, buffer)
        write_bytes(self.folder / "last.pt", buffer.getvalue())
        values = [epoch.get(self.metric, -math.inf) for epoch in self.history.epochs]
        if values[-1] == max(values):
            write_bytes(self.folder / "best.pt", buffer.getvalue())
