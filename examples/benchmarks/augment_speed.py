"""Measure how fast studies are augmented on two cores, from DICOM to DICOM and COCO.

    python examples/benchmarks/augment_speed.py

Without DATA, studies are generated; without --model, `slice_vae` gets random weights.
Each round runs in turn the augmentation on both cores, each of its stages alone on the same slices
in one thread, and MONAI's `AutoencoderKL` at the size used for latent diffusion. A stage does the
work of one synthetic slice: it reads the source twice (for its latent and for its draw), encodes
two pictures (source and result), and decodes two latents (old and new). Ratios are medians over the
rounds. Exit code 1 means that a target was missed: the augmentation at least 0.8 times as fast as
its slowest stage alone, `warp` not the slowest stage, and encoding, sampling and decoding a slice
at least 30 times as fast as with `AutoencoderKL`, both in one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from monai.networks.nets import AutoencoderKL
from torch import Tensor

import medvae
from drawn_studies import save_run, save_studies
from medvae.gates import Calibration, Draft
from medvae.labels import LabelledImage, attach_labels, write_coco
from medvae.latent import Latents, LatentStatistics, make_sampler
from medvae.models import TrainedModel, open_model
from medvae.networks import (
    Codec,
    ConvDecoder,
    EfficientNet,
    GrayToColor,
    SliceVAE,
    VectorLatent,
    fastest_dtype,
    inference_copy,
)
from medvae.randomness import generator
from medvae.records import Pixels, Series, Slice
from medvae.render import Rendered, Scene, make_render
from medvae.writers import NewPixels, Synthesis, write_series

WHOLE_AIM, NETWORK_AIM = 0.8, 30
CORES = 2
BATCH = 16
STRENGTH = 1.0
READING, NETWORK, WARP = "reading", "encoding, drawing and decoding", "warp"
GATES, WRITING = "gates", "writing"
STAGES = (READING, NETWORK, WARP, GATES, WRITING)

_Item = TypeVar("_Item")


def main() -> None:
    """Run the benchmark and print the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="*", type=Path, help="DICOM; drawn studies by default")
    parser.add_argument("--model", type=Path, help="a trained bundle; random weights by default")
    parser.add_argument("--labels", type=Path, help="boxes or masks of DATA")
    parser.add_argument("--slices", type=int, default=512, help="at most")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        data, labels = arguments.data, arguments.labels
        if not data:
            data = [scratch / "studies"]
            labels = save_studies(data[0], -(-arguments.slices // 16), 16, 256)
        run = open_model(arguments.model or random_run(scratch / "run", data[0]))
        job = Job(run, chosen(data, labels, arguments.slices), labels)
        rounds = [one_round(job, scratch / str(number)) for number in range(arguments.rounds)]
    figures = {
        "slices": len(job.slices),
        "size": run.network.image_size,
        "weights": "trained" if arguments.model else "random",
        "precision": str(job.precision).removeprefix("torch."),
        **figures_of(rounds),
    }
    print(json.dumps(figures, indent=2))
    met = (
        figures["augmentation / slowest stage alone"] >= WHOLE_AIM
        and figures["slowest stage"] != WARP
        and figures["encode, draw, decode / AutoencoderKL"] >= NETWORK_AIM
    )
    sys.exit(0 if met else 1)


def random_run(folder: Path, studies: Path) -> Path:
    """Write an untrained model of full size."""
    network = SliceVAE(GrayToColor(), EfficientNet("b1"), VectorLatent(), ConvDecoder())
    return save_run(folder, network, studies)


def chosen(data: Sequence[Path], labels: Path | None, count: int) -> list[Slice]:
    """Return at most `count` slices, each the only one in its file, with their labels."""
    studies = medvae.open_studies(data).studies
    if labels is not None:
        studies = attach_labels(studies, labels).studies
    slices = [native for study in studies for native in study.slices]
    alone = [native for native in slices if native.source.format == "dicom"]
    return alone[:count]


@dataclass(frozen=True, eq=False)
class Job:
    """The model and the slices of the benchmark.

    Attributes:
        run: The model.
        slices: Source slices, each of which gives one synthetic slice.
        labels: File with their labels.
    """

    run: TrainedModel
    slices: Sequence[Slice]
    labels: Path | None

    @cached_property
    def precision(self) -> torch.dtype:
        """The precision in which the networks compute."""
        return fastest_dtype(torch.device("cpu"))

    @cached_property
    def network(self) -> SliceVAE:
        """The fast copy of the model."""
        return inference_copy(self.run.network, self.precision)

    @cached_property
    def codec(self) -> Codec:
        """The model, ready for use."""
        return self.run.codec("cpu")

    @cached_property
    def reference(self) -> AutoencoderKL:
        """The network of MONAI, with 52 million weights.

        Attention in its middle layers needs another package, and would only make it slower.
        """
        network = AutoencoderKL(
            spatial_dims=2,
            channels=(128, 256, 512, 512),
            latent_channels=4,
            attention_levels=(False,) * 4,
            with_encoder_nonlocal_attn=False,
            with_decoder_nonlocal_attn=False,
        )
        network.requires_grad_(False).eval().to(self.precision)
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return network

    @cached_property
    def statistics(self) -> LatentStatistics:
        """The statistics of the latents that the model was trained on."""
        return self.run.statistics()


def one_round(job: Job, folder: Path) -> dict[str, float]:
    """Return the seconds per synthetic slice of each part, and the number of slices kept."""
    seconds, kept = augmentation(job, folder / "out")
    stages = Stages(job, folder / "stages")
    spent = {name: stages.seconds(name) / len(job.slices) for name in STAGES}
    images = torch.from_numpy(np.stack(stages.images))[:, None]
    return spent | {
        "augmentation": seconds / max(1, kept),
        "kept": kept / len(job.slices),
        "network": ours(job, images[:BATCH]),
        "AutoencoderKL": theirs(job, images[: BATCH // 4]),
    }


def figures_of(rounds: Sequence[dict[str, float]]) -> dict[str, Any]:
    """Return medians over the rounds, and ratios."""

    def median(of: Callable[[dict[str, float]], float]) -> float:
        return statistics.median(map(of, rounds))

    middle = {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}
    total = sum(middle[name] for name in STAGES)
    slowest = max(STAGES, key=lambda name: middle[name])
    reference = "AutoencoderKL"
    return {
        "synthetic slices a second": round(1 / middle["augmentation"], 2),
        "share of draws that are kept": round(middle["kept"], 3),
        "augmentation / slowest stage alone": round(
            median(lambda one: max(one[name] for name in STAGES) / one["augmentation"]), 2
        ),
        "augmentation / all stages on two cores at best": round(
            median(lambda one: sum(one[name] for name in STAGES) / CORES / one["augmentation"]), 2
        ),
        "slowest stage": slowest,
        "ms a slice in one thread": {name: round(1000 * middle[name], 2) for name in STAGES},
        "share of the work": {name: round(middle[name] / total, 3) for name in STAGES},
        "warp, slices a second in one thread": round(1 / middle[WARP], 1),
        "encode, draw, decode / AutoencoderKL": round(
            median(lambda one: one[reference] / one["network"]), 1
        ),
        "whole augmentation / AutoencoderKL": round(
            median(lambda one: one[reference] / one["augmentation"]), 1
        ),
        "AutoencoderKL, slices a second": round(1 / middle[reference], 2),
    }


def augmentation(job: Job, out: Path) -> tuple[float, int]:
    """Run the augmentation; return its duration and the number of slices kept."""
    start = time.perf_counter()
    made = medvae.augment(
        [native.source.path for native in job.slices],
        job.run.folder,
        out,
        labels=job.labels,
        render=WARP,
        strength=STRENGTH,
        formats=("dicom",),
        device="cpu",
        workers=CORES,
    )
    return time.perf_counter() - start, made.kept


class Stages:
    """The stages of the augmentation in sequence, each using the output of the previous one.

    Args:
        job: The model and the slices.
        out: Output folder.
    """

    def __init__(self, job: Job, out: Path) -> None:
        self._job = job
        self._out = out
        self._render = make_render(WARP)
        self._sampler = make_sampler("gaussian", job.statistics)
        self.images: list[np.ndarray] = []
        self._pixels: list[Pixels] = []
        self._scenes: list[Scene] = []
        self._rendered: list[Rendered] = []

    @torch.inference_mode()
    def seconds(self, name: str) -> float:
        """Run a stage for all slices in one thread and return its duration."""
        stage = {
            READING: self._read,
            NETWORK: self._network,
            WARP: self._warp,
            GATES: self._judge,
            WRITING: self._write,
        }[name]
        torch.set_num_threads(1)
        start = time.perf_counter()
        stage()
        return time.perf_counter() - start

    def _read(self) -> None:
        slices = self._job.slices
        medvae.open_studies([native.source.path for native in slices])
        for _ in ("for the latent", "for the draw"):
            self._pixels = [native.pixels() for native in slices]

    def _network(self) -> None:
        self._encode()
        self._decode()

    def _encode(self) -> None:
        run = self._job.run
        for native, pixels in zip(self._job.slices, self._pixels, strict=True):
            scene = run.scene(native, pixels)
            self.images.append(scene.picture())
            self._scenes.append(scene)
        for _ in ("of the slice", "of what becomes of it"):
            self._mu, self._logvar = self._job.codec.encode(self.images)

    def _decode(self) -> None:
        slices = self._job.slices
        latents = Latents.of(
            [native.key for native in slices],
            [native.group for native in slices],
            [frozenset()] * len(slices),
            self._mu,
            self._logvar,
        )
        randoms = [generator(0, native.key) for native in slices]
        drawn = self._sampler.sample(latents, [STRENGTH] * len(slices), randoms)
        self._before, self._after = (self._job.codec.decode(z) for z in (self._mu, drawn.z))

    def _warp(self) -> None:
        places = range(0, len(self._scenes), BATCH)
        for part in (slice(start, start + BATCH) for start in places):
            self._rendered += self._render.render(
                self._scenes[part], self._before[part], self._after[part]
            )

    def _judge(self) -> None:
        calibration = Calibration()
        for native, scene, image in zip(self._job.slices, self._scenes, self.images, strict=True):
            calibration.add(native.group, scene, image)
        gates = calibration.gates(self._job.statistics)
        for scene, rendered, mu in zip(self._scenes, self._rendered, self._mu, strict=True):
            gates.judge(Draft(scene, rendered, mu=mu))

    def _write(self) -> None:
        about = Synthesis(run="0", model="0", render=WARP)
        images = []
        for native, pixels, rendered in zip(
            self._job.slices, self._pixels, self._rendered, strict=True
        ):
            new = NewPixels.of(pixels, rendered.values, about)
            (path,) = write_series("dicom", self._out, Series(native.key, (native,)), [new], 1)
            images.append(
                LabelledImage(path.name, native.shape, rendered.labels, native.group, native.key)
            )
        write_coco(self._out / "coco.json", images)


def ours(job: Job, images: Tensor) -> float:
    """Encode, sample and decode slices; return the seconds per slice."""

    def restore(batch: Tensor) -> None:
        mu, logvar = job.network.encode(batch)
        job.network.decode(mu + (logvar / 2).exp() * torch.randn_like(mu))

    return seconds_a_slice(restore, images)


def theirs(job: Job, images: Tensor) -> float:
    """Do the same with the reference network."""

    def restore(batch: Tensor) -> None:
        network = job.reference
        network.decode(network.sampling(*network.encode(batch.to(job.precision))))

    return seconds_a_slice(restore, images)


@torch.inference_mode()
def seconds_a_slice(restore: Callable[[Tensor], None], images: Tensor) -> float:
    """Return the time per slice in one thread, excluding the first call, which sets up plans."""
    torch.set_num_threads(1)
    batch = images.contiguous(memory_format=torch.channels_last)
    restore(batch[:1])
    start = time.perf_counter()
    restore(batch)
    return (time.perf_counter() - start) / len(batch)


if __name__ == "__main__":
    main()
