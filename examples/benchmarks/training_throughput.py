"""Measure the speed of `medvae train`, compared with a bare loop over data in memory.

    python examples/benchmarks/training_throughput.py DATA

One side is the normal training of the bundle, with augmentation, corruption and handlers. Its speed
is the images per second that it reports, which excludes start-up, validation and what is written
after an epoch. The other side applies the same network, loss and optimizer to prepared batches, in
the same precision. They run in turn, and each is reported by its fastest turn, because other work
on the machine can only slow a turn down. Exit code 1 means that training is slower than 0.9 times
the bare loop.
"""

from __future__ import annotations

import argparse
import copy
import json
import logging
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.bundle import ConfigWorkflow
from torch import Tensor

from medvae.networks import CalibratedLoss, PublishedLoss, SliceVAE
from medvae.training import prepare_run

AIM = 0.9


def main() -> None:
    """Run the benchmark and print the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="+", type=Path)
    parser.add_argument("--labels", type=Path, help="labels, which say who is which patient")
    parser.add_argument("--variant", help="one of the bundle's variants")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--steps", type=int, default=8, help="of a turn")
    parser.add_argument("--rounds", type=int, default=5, help="turns of either side")
    arguments = parser.parse_args()
    settings = {
        "image_size": arguments.image_size,
        "batch_size": arguments.batch_size,
        "epochs": arguments.rounds,
        "val_interval": arguments.rounds + 1,
    }
    given = {
        "dataset_dir": [str(path) for path in arguments.data],
        "labels": arguments.labels and str(arguments.labels.resolve()),
    }
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder, "run")
        prepare_run("slice_vae", run, variant=arguments.variant, settings=settings)
        figures = measure(run, given, arguments.steps)
    print(json.dumps(figures, indent=2))
    sys.exit(0 if figures["ratio"] >= AIM else 1)


def measure(run: Path, given: Mapping[str, Any], steps: int) -> dict[str, float]:
    """Train in epochs of `steps` steps, with the bare loop after each epoch."""
    # MONAI logs to standard output, which is reserved for the results here.
    logging.getLogger("monai.bundle.workflows").setLevel(logging.WARNING)
    workflow = ConfigWorkflow(
        config_file=str(run / "configs" / "train.json"),
        logging_file=str(run / "configs" / "logging.conf"),
        bundle_root=str(run),
        **given,
        **{"train#trainer#epoch_length": f"$min({steps}, len(@train#dataloader))"},
    )
    workflow.initialize()
    content = workflow.parser.get_parsed_content
    trainer = content("train#trainer")
    batch_size = content("batch_size")
    images = content("slices").training.images[: steps * batch_size].float()
    bare = BareLoop(content("network"), content("loss"), content("learning_rate"), content("amp"))
    turns: list[float] = []
    trainer.add_event_handler(
        Events.EPOCH_COMPLETED, lambda: turns.append(bare.turn(images.split(batch_size)))
    )
    waiting = Waiting(trainer)
    workflow.run()
    epochs = content("history").epochs
    training = max(epoch["images_per_second"] for epoch in epochs)
    spent = sum(len(images) / epoch["images_per_second"] for epoch in epochs)
    return {
        "ratio": round(training / max(turns), 3),
        "images a second, medvae train": round(training, 2),
        "images a second, bare loop": round(max(turns), 2),
        "share of the time that training waits for data": round(waiting.seconds / spent, 3),
        "images of a turn": len(images),
        "threads": torch.get_num_threads(),
    }


class BareLoop:
    """A loop that only trains a copy of a network."""

    def __init__(
        self,
        network: SliceVAE,
        loss: PublishedLoss | CalibratedLoss,
        learning_rate: float,
        amp: bool,
    ) -> None:
        self.network = copy.deepcopy(network).train()
        self.loss = copy.deepcopy(loss)
        self.optimizer = torch.optim.Adam(self.network.parameters(), learning_rate)
        self.amp = amp
        self.device = next(network.parameters()).device

    def turn(self, batches: tuple[Tensor, ...]) -> float:
        """Train on batches `[N, 1, H, W]` and return the images per second."""
        start = time.perf_counter()
        for batch in batches:
            pictures = batch.to(self.device, memory_format=torch.channels_last)
            self.optimizer.zero_grad()
            with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.amp):
                reconstruction = self.network.reconstruct(pictures)
            loss = self.loss(reconstruction, pictures)
            loss.backward()
            self.optimizer.step()
        loss.item()  # waits until all work on a GPU is done
        return sum(len(batch) for batch in batches) / (time.perf_counter() - start)


class Waiting:
    """A counter of the time that a trainer waits for its data."""

    def __init__(self, trainer: Engine) -> None:
        self.seconds = 0.0
        self._since = 0.0
        trainer.add_event_handler(Events.GET_BATCH_STARTED, self._start)
        trainer.add_event_handler(Events.GET_BATCH_COMPLETED, self._stop)

    def _start(self) -> None:
        self._since = time.perf_counter()

    def _stop(self) -> None:
        self.seconds += time.perf_counter() - self._since


if __name__ == "__main__":
    main()
