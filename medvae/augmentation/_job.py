"""Augmentation from end to end: read, encode, plan, generate, write and summarise."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from medvae.atomic import write_text
from medvae.augmentation._donors import Donors
from medvae.augmentation._encoding import encode, in_order
from medvae.augmentation._files import Files
from medvae.augmentation._judge import Judge, Witness
from medvae.augmentation._plan import Batch, Draw, plan
from medvae.augmentation._preview import Preview
from medvae.augmentation._real import RealSlices
from medvae.augmentation._recipe import Recipe
from medvae.augmentation._scenes import Hosts, Seen
from medvae.augmentation._settings import Settings
from medvae.augmentation._sources import Fingerprints, Located, Sources, find_sources
from medvae.augmentation._space import Space
from medvae.augmentation._staged import Planter
from medvae.augmentation._studio import Studio
from medvae.augmentation._training_set import write_labels
from medvae.augmentation._whole_lesions import WholeLesions
from medvae.errors import ReadError, UsageProblem
from medvae.folders import check_outside, output
from medvae.labels import LabelledImage, Outlines, finding_record
from medvae.latent import AlignSampler, LatentStatistics, make_sampler
from medvae.manifest import Manifest, claim, disclaim
from medvae.models import TrainedModel, open_model
from medvae.writers import Synthesis

__all__ = ["Augmented", "Progress", "augment"]

Progress = Callable[[str, int, int, str], None]
"""Called with (stage, done, total, note) as work proceeds."""


@dataclass(frozen=True)
class Augmented:
    """Result of a run.

    Attributes:
        out: Folder of the run.
        render: Render that was used, and the reason where it was chosen automatically.
        draws, kept: Number of lines in the manifest, and how many of them are of slices that were
            written.
        rejected: Number of rejections for each reason.
        planned: Number of draws in the plan, whether carried out or not.
        real: Number of real slices written beside the synthetic ones.
        problems: Files and labels that could not be used, one line each.
        preview: Path of the preview page; None after a dry run.
        outlines: Result of matching the outlines, if there were any.
    """

    out: Path
    render: str
    draws: int
    kept: int
    rejected: tuple[tuple[str, int], ...]
    planned: int
    real: int
    problems: tuple[str, ...]
    preview: Path | None
    outlines: Outlines | None = None


def augment(
    paths: Iterable[str | Path],
    model: str | Path,
    out: str | Path,
    *,
    labels: str | Path | None = None,
    outlines: str | Path | None = None,
    hosts: Iterable[str | Path] = (),
    split: str | Path | None = None,
    align_to: Iterable[str | Path] = (),
    modality: str | None = None,
    allow_burned_in: bool = False,
    device: str | None = None,
    workers: int | None = None,
    resume: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
    **choices: Any,
) -> Augmented:
    """Write synthetic slices of studies, with matching labels.

    The same arguments give the same bytes, regardless of the number of workers and of how often
    the run is resumed.

    Args:
        paths: Files and folders with the slices to augment.
        model: A trained bundle.
        out: A folder that is empty or does not exist yet.
        labels: Labels of the slices; required where lesions are transplanted.
        outlines: Masks for the boxes of the labels, as in ``attach_labels``.
        hosts: Files and folders with scans that are known to be free of findings.
        split: A JSON file that lists held-out patients, none of whom may be used.
        align_to: Files and folders with the slices to whose mean the latents are shifted.
        modality: Modality assumed for files that do not state one.
        allow_burned_in: Whether to use images whose headers report text burned into the pixels.
        device: Device to compute on; by default a GPU if there is one.
        workers: Number of generating threads, and of reading processes; by default one per
            processor.
        resume: Whether to continue a run that was stopped.
        dry_run: Whether to read, encode and plan only, and write nothing.
        progress: Called with (stage, done, total, note) as work proceeds.
        choices: Settings, as in ``Settings``.

    Raises:
        UsageProblem: If an argument is invalid.
        ReadError: If a path does not exist, or the model is damaged.
        WriteError: If the file system refuses; what was written stays, and ``resume`` continues.
        Stopped: If the run is interrupted; batches in progress are finished, and ``resume``
            continues.
    """
    settings = Settings(**choices)
    if settings.merge and labels is None:
        raise UsageProblem("merge: real slices to train with must be labelled: give --labels")
    paths, hosts, align_to, out = list(paths), list(hosts), list(align_to), Path(out)
    told = progress or _silent

    def prepared() -> _Job:
        run = open_model(model)
        sources = find_sources(
            paths,
            run,
            labels=None if labels is None else Path(labels),
            outlines=None if outlines is None else Path(outlines),
            hosts=hosts,
            align_to=align_to,
            split=None if split is None else Path(split),
            modality=modality,
            allow_burned_in=allow_burned_in,
            workers=workers,
            progress=lambda done, total: told("Reading headers", done, total, ""),
        )
        return _Job(run, settings, sources, out, device, workers, told)

    inputs = [*paths, labels, outlines, *hosts, *align_to]
    if dry_run:
        check_outside(out, inputs)
        with prepared() as job:
            return job.run(dry_run)
    with output(out, inputs, fresh=False, resumable=True) as folder:
        job = prepared()
        claim(out, job.order, resume)
        try:
            with job:
                return job.run(dry_run)
        finally:
            folder.finished = job.finished
            disclaim(out)


def _silent(what: str, done: int, total: int, beside: str) -> None:
    """Ignore progress."""


class _Job:
    """One run.

    Args:
        run: The model.
        settings: The settings.
        sources: The slices to start from.
        out: The folder of the run.
        device: Device to compute on.
        workers: Number of threads and of processes.
        progress: Called with (stage, done, total, note) as work proceeds.

    Attributes:
        out: The folder of the run.
        order: Everything that determines the output, as plain JSON.
    """

    def __init__(
        self,
        run: TrainedModel,
        settings: Settings,
        sources: Sources,
        out: Path,
        device: str | None,
        workers: int | None,
        progress: Progress,
    ) -> None:
        self.out = out
        self._model = run
        self._sources = sources
        self._workers = workers
        self._noted = Fingerprints([*sources.sources, *sources.hosts, *sources.targets])
        self._manifest: Manifest | None = None
        self._planned = 0
        self._progress = progress
        self._recipe = Recipe.of(settings, sources)
        self._settings = replace(settings, strength=self._recipe.strength)
        self.order = self._order()
        self._codec = run.codec(device)
        count = workers or os.cpu_count() or 1
        self._ahead = 2 * count
        # Each thread computes alone: a product split over several would be rounded differently.
        self._threads = ThreadPoolExecutor(
            count,
            thread_name_prefix="medvae-maker",
            initializer=torch.set_num_threads,
            initargs=(1,),
        )

    def __enter__(self) -> _Job:
        return self

    def __exit__(self, *_: object) -> None:
        # Finish the batches in progress: nothing may be written after the folder is released.
        while True:
            try:
                self._threads.shutdown(cancel_futures=True)
                return
            except KeyboardInterrupt:
                continue

    @property
    def finished(self) -> str:
        """The number of finished draws, in words."""
        done = 0 if self._manifest is None else len(self._manifest.lines)
        return f"{done} of {self._planned} draws are finished"

    def _order(self) -> dict[str, Any]:
        """Return everything that determines the output, without identifying anyone."""
        return {
            "medvae": version("monai-medvae"),
            "model": self._model.digest,
            "sources": _digest(self._sources.sources),
            "hosts": _digest(self._sources.hosts),
            "align_to": _digest(self._sources.targets),
            **self._settings.record(),
        }

    def run(self, dry_run: bool) -> Augmented:
        """Run the augmentation."""
        recipe, sources = self._recipe, self._sources
        statistics = self._model.statistics()
        witness = Witness()
        space, problems = self._encoded((*sources.sources, *sources.hosts), witness)
        readable = [item for item in sources.sources if item in space.rows]
        if not readable:
            raise ReadError("none of the slices can be decoded: see what 'medvae inspect' says")
        batches = plan(readable, self._settings, recipe.transplants)
        same = recipe.strength == 0 and not recipe.transplants
        judge = witness.judge(statistics, self._codec, copies_pass=same)
        studio = self._studio(space, statistics, batches, judge)
        problems = [*sources.problems, *problems]
        draws = self._planned = sum(len(batch.draws) for batch in batches)
        if dry_run:
            said, joined = tuple(problems), sources.outlines
            return Augmented(self.out, recipe.said, 0, 0, (), draws, 0, said, None, joined)
        self._noted.check(self.out)
        write_text(self.out / "gates.json", json.dumps(asdict(judge.limits), indent=2) + "\n")
        manifest, preview = self._made(batches, studio)
        real = self._real(readable, problems) if self._settings.merge else []
        write_labels(self.out, manifest.lines, real, self._settings.label_formats)
        return Augmented(
            self.out,
            recipe.said,
            len(manifest.lines),
            manifest.kept,
            tuple(manifest.rejected.most_common()),
            draws,
            len(real),
            tuple(problems),
            preview.write(manifest, "Synthetic slices"),
            sources.outlines,
        )

    def _encoded(
        self, items: Sequence[Located], witness: Witness | None
    ) -> tuple[Space, list[str]]:
        def watch(item: Located, seen: Seen, picture: NDArray[np.float32]) -> None:
            self._noted.note(item, seen.pixels)
            if witness is not None:
                witness.see(item, seen, picture)

        return encode(
            items,
            self._codec,
            self._model.intensity,
            self._threads,
            readers=self._workers,
            watch=watch,
            progress=lambda done, total: self._progress("Encoding slices", done, total, ""),
        )

    def _studio(
        self, space: Space, statistics: LatentStatistics, batches: Sequence[Batch], judge: Judge
    ) -> Studio:
        recipe, settings = self._recipe, self._settings
        draws, planter = [draw for batch in batches for draw in batch.draws], None
        moved = list(dict.fromkeys(draw.source for draw in draws))
        if recipe.transplants:
            moved = [item for item in recipe.hosts if item in space.rows]
            planter = self._planter(draws, moved, space)
        own, shift, target = space.of(moved), None, None
        if self._sources.targets:
            target = self._encoded(self._sources.targets, None)[0].latents
            shift = AlignSampler(own, target)
        sampler = make_sampler(settings.sampler, statistics, own, target)
        return Studio(
            self._codec,
            self._model.intensity,
            space,
            sampler,
            None if settings.sampler == "align" else shift,
            recipe.render,
            planter,
            judge,
            recipe.strength,
        )

    def _planter(self, draws: Sequence[Draw], hosts: Sequence[Located], space: Space) -> Planter:
        ready = Hosts(self._codec.size, self._model.intensity)
        lesions = dict.fromkeys(draw.lesion for draw in draws if draw.lesion is not None)
        if lesions:
            return WholeLesions(list(lesions), hosts, space, ready)
        return Donors(list(dict.fromkeys(draw.source for draw in draws)), hosts, space, ready)

    def _made(self, batches: Sequence[Batch], studio: Studio) -> tuple[Manifest, Preview]:
        """Generate and write the batches that are not finished yet."""
        manifest = self._manifest = Manifest(self.out)
        done = manifest.keep_whole(batch.key for batch in batches)
        preview = Preview(self.out, (draw.key for batch in batches for draw in batch.draws))
        files = Files(self.out, self._settings, self._about())

        def work(place: int) -> None:
            made = studio.make(batches[place])
            lines = files.write(batches[place], made)
            preview.collect(made)
            # An interrupt reaches only the main thread, so it can neither truncate nor lose a line.
            manifest.finish(place, lines)

        counts = list(accumulate(len(batch.draws) for batch in batches))
        results = in_order(work, range(done, len(batches)), self._threads, self._ahead)
        for count, _ in zip(counts[done:], results, strict=True):
            beside = f"{manifest.kept} kept, {manifest.rejected.total()} rejected"
            self._progress("Making slices", count, counts[-1], beside)
        return manifest, preview

    def _real(self, items: Sequence[Located], problems: list[str]) -> list[LabelledImage]:
        """Write the labelled real slices, and add to ``problems`` those that cannot be written."""
        real, images = RealSlices(items, self._settings), []
        for problem, written in real.write(self.out, self._threads):
            images += written
            problems += filter(None, [problem])
            self._progress("Writing real slices", len(images), real.count, "")
        return images

    def _about(self) -> Synthesis:
        recipe = self._recipe
        text = json.dumps(self.order, sort_keys=True)
        return Synthesis(
            run=hashlib.blake2b(text.encode(), digest_size=10).hexdigest(),
            model=self._model.digest,
            render=recipe.spec,
            sampler=self._settings.sampler if recipe.render is not None else None,
            allow_burned_in=any(
                item.native.burned_in for item in (*self._sources.sources, *self._sources.hosts)
            ),
            preserves_locations=recipe.render is None or recipe.render.preserves_locations,
        )


def _digest(items: Sequence[Located]) -> str:
    """Return a digest of the slices and their labels that identifies none of them."""
    whole = hashlib.blake2b(digest_size=10)
    for item in items:
        known = item.native.labels
        findings = (
            None
            if known is None
            else [finding_record(finding, item.native.shape) for finding in known]
        )
        whole.update(json.dumps([item.order, item.native.group, findings]).encode())
    return whole.hexdigest()
