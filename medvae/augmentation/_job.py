"""Augmentation from end to end: read, encode, plan, make and join."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from itertools import accumulate
from pathlib import Path
from typing import Any

from monai.utils.misc import ensure_tuple

from medvae.atomic import write_text
from medvae.augmentation._encode import Encoded, encode
from medvae.augmentation._engine import Engine
from medvae.augmentation._inserters import HostCache, Inserter, SliceInserter
from medvae.augmentation._make import MakeStage, Method
from medvae.augmentation._plan import Batch, Plan, plan
from medvae.augmentation._preview import Preview
from medvae.augmentation._ray_engine import open_engine
from medvae.augmentation._settings import Recipe, Settings
from medvae.augmentation._shards import Shard
from medvae.augmentation._whole_lesions import LesionInserter
from medvae.augmentation._write import DraftWriter, RealWriter, write_labels
from medvae.errors import ReadError, UsageProblem
from medvae.files import Paths, as_paths
from medvae.folders import check_outside, output
from medvae.gates import Gates
from medvae.labels import LabelledImage, Outlines, finding_record
from medvae.latent import AlignSampler, LatentStatistics, make_sampler
from medvae.manifest import Manifest, ManifestLine, claim, disclaim, remove_unfinished
from medvae.models import TrainedModel, open_model
from medvae.progress import Progress, ignore_progress
from medvae.records import Slice
from medvae.sources import Sources, find_sources
from medvae.writers import Synthesis

_MADE = "made"
"""Name under which a shard states that it has made its share."""


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
        waiting_for: Shards that have not finished, so that the labels are not written yet.
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
    waiting_for: tuple[int, ...] = ()


def augment(
    studies: Paths,
    model: str | Path,
    out: str | Path,
    *,
    labels: str | Path | None = None,
    outlines: str | Path | None = None,
    hosts: Paths = (),
    split: str | Path | None = None,
    align_to: Paths = (),
    modality: str | None = None,
    allow_burned_in: bool = False,
    copies: int = 1,
    ratio: float | None = None,
    sampler: str = "gaussian",
    strength: float | None = None,
    render: str = "auto",
    per: str = "slice",
    balance: str = "patients",
    only_positive: bool = False,
    formats: str | Sequence[str] = ("png",),
    label_formats: str | Sequence[str] = ("coco",),
    merge: bool = False,
    seed: int = 0,
    device: str | None = None,
    workers: int | None = None,
    engine: str = "local",
    address: str | None = None,
    gpus_per_worker: float = 0.0,
    shard: str | None = None,
    shard_timeout: float = 86400.0,
    resume: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> Augmented:
    """Write synthetic slices of studies, with matching labels.

    The same arguments give the same bytes, regardless of the number of workers and of how often
    the run is resumed.

    Args:
        studies: Files and folders with the slices to augment.
        model: A trained bundle.
        out: A folder that is empty or does not exist yet.
        labels: Labels of the slices; required where lesions are transplanted.
        outlines: Masks for the boxes of the labels, as in ``attach_labels``.
        hosts: Files and folders with scans that are known to be free of findings.
        split: A JSON file that lists held-out patients, none of whom may be used.
        align_to: Files and folders with the slices to whose mean the latents are shifted.
        modality: Modality assumed for files that do not state one.
        allow_burned_in: Whether to use images whose headers report text burned into the pixels.
        copies: Number of synthetic slices per source slice; with ``per="study"``, of synthetic
            series per source series, or per transplanted lesion.
        ratio: Number of synthetic slices per real slice, instead of ``copies``.
        sampler: Sampler that draws new latents, as in ``make_sampler``.
        strength: Distance of new latents from that of the source, and amount by which a lesion is
            varied: 0 for none, None for the default of the render.
        render: Chain of renders such as ``warp+residual`` or ``transplant``; ``auto`` chooses one.
        per: ``slice`` draws each slice alone, ``study`` draws whole series or whole lesions.
        balance: How draws are spread where lesions are transplanted: ``patients`` gives each donor
            patient the same number, ``slices`` each slice with a finding (or each whole lesion),
            so that patients with many of them dominate.
        only_positive: Whether to leave out source slices without a finding.
        formats: Image formats.
        label_formats: Label formats.
        merge: Whether to write the labelled real slices as well, and labels for both.
        seed: Random seed for all draws.
        device: Device to compute on; by default a GPU if there is one.
        workers: Number of generating threads or actors, and of processes that read headers; by
            default one per processor.
        engine: ``local`` uses threads of this process, ``ray`` actors of Ray on one machine or
            many, which share the file system; the bytes are the same.
        address: Address of a running Ray cluster, such as ``auto``; by default Ray is started on
            this machine.
        gpus_per_worker: Number of GPUs that an actor of Ray uses, or the fraction of one.
        shard: Share of the run that this process does, such as ``3/8``; every shard has the same
            other arguments, and the last one to finish writes the labels. To continue a shard that
            was stopped, run it again.
        shard_timeout: Seconds to wait for what other shards have encoded.
        resume: Whether to continue a run that was stopped.
        dry_run: Whether to read, encode and plan only, and write nothing.
        progress: Called with (stage, done, total, note) as work proceeds.

    Raises:
        UsageProblem: If an argument is invalid.
        ReadError: If a path does not exist, or the model is damaged.
        WriteError: If the file system refuses; what was written stays, and ``resume`` continues.
        Stopped: If the run is interrupted; batches in progress are finished, and ``resume``
            continues.
    """
    settings = Settings(
        copies,
        ratio,
        sampler,
        strength,
        render,
        per,
        balance,
        only_positive,
        ensure_tuple(formats),
        ensure_tuple(label_formats),
        merge,
        seed,
    )
    if merge and labels is None:
        raise UsageProblem(
            "real slices to train with must be labelled; give their labels", parameter="merge"
        )
    out, studies, hosts, align_to = Path(out), *map(as_paths, (studies, hosts, align_to))
    report = progress or ignore_progress

    def prepared() -> _Augmentation:
        opened = open_model(model)
        sources = find_sources(
            studies,
            opened,
            labels=None if labels is None else Path(labels),
            outlines=None if outlines is None else Path(outlines),
            hosts=hosts,
            align_to=align_to,
            split=None if split is None else Path(split),
            modality=modality,
            allow_burned_in=allow_burned_in,
            workers=workers,
            progress=report,
        )
        return _Augmentation(opened, settings, sources, out, device, report, own_shard)

    own_shard = None if shard is None else Shard.of(shard, out, shard_timeout)
    if own_shard and dry_run:
        raise UsageProblem("a dry run has no shards", parameter="shard")
    inputs = [*studies, labels, outlines, *hosts, *align_to]
    opened_engine = partial(open_engine, engine, workers, address, gpus_per_worker)
    if dry_run:
        check_outside(out, inputs)
        job = prepared()
        with opened_engine() as running:
            return job.run(running, dry_run)
    if own_shard:
        check_outside(out, inputs)
        with output(own_shard.own, inputs, fresh=False, resumable=True) as folder:
            job = prepared()
            with own_shard.turn(out):
                own_shard.join_run()
                claim(out, job.order, resume=True)
            try:
                with opened_engine() as running:
                    return job.run(running, dry_run)
            finally:
                folder.finished = job.finished
    with output(out, inputs, fresh=False, resumable=True) as folder:
        job = prepared()
        claim(out, job.order, resume)
        remove_unfinished(out)
        try:
            with opened_engine() as running:
                return job.run(running, dry_run)
        finally:
            folder.finished = job.finished
            disclaim(out)


class _Augmentation:
    """One augmentation.

    Args:
        model: The model.
        settings: The settings.
        sources: The slices to start from.
        out: The folder of the run.
        device: Device to compute on.
        progress: Called with (stage, done, total, note) as work proceeds.
        shard: The share of the run to do; None for all of it.

    Attributes:
        order: Everything that determines the output, as plain JSON, without identifying anyone.
    """

    def __init__(
        self,
        model: TrainedModel,
        settings: Settings,
        sources: Sources,
        out: Path,
        device: str | None,
        progress: Progress,
        shard: Shard | None,
    ) -> None:
        self._shard = shard
        self._model, self._sources, self._out = model, sources, out
        self._codec, self._progress = model.codec(device), progress
        self._recipe = Recipe.of(settings, sources)
        self._settings = replace(settings, strength=self._recipe.strength)
        self._manifest: Manifest | None = None
        self._planned = 0
        self.order: dict[str, Any] = {
            "medvae": version("monai-medvae"),
            "model": model.digest,
            "sources": _digest(sources.slices),
            "hosts": _digest(sources.hosts),
            "align_to": _digest(sources.targets),
            **self._settings.record(),
        }

    @property
    def finished(self) -> str:
        """The number of finished draws, in words."""
        done = 0 if self._manifest is None else len(self._manifest.lines)
        return f"{done} of {self._planned} draws are finished"

    def run(self, engine: Engine, dry_run: bool) -> Augmented:
        """Run the stages."""
        sources, recipe = self._sources, self._recipe
        encoded = self._encoded((*sources.slices, *sources.hosts), engine, "slices")
        targets = self._encoded(sources.targets, engine, "targets") if sources.targets else None
        readable = [native for native in sources.slices if native in encoded]
        if not readable:
            raise ReadError("none of the slices can be decoded: see what 'medvae inspect' says")
        planned = plan(readable, self._settings, recipe.transplants)
        self._planned = len(planned.draws)
        statistics = self._model.statistics()
        method = self._method(planned, encoded, targets, statistics)
        same = recipe.strength == 0 and not recipe.transplants
        gates = encoded.calibration.gates(statistics, but=("copy",) if same else ())
        problems = [*sources.problems, *encoded.problems]
        if dry_run:
            return self._result(problems)
        if targets is not None:
            encoded.fingerprints |= targets.fingerprints
        every = (*sources.slices, *sources.hosts, *sources.targets)
        encoded.check_unchanged(every, self._out)
        write_text(self._out / "gates.json", json.dumps(gates.limits.record(), indent=2) + "\n")
        preview = Preview(self._out, (draw.key for draw in planned.draws))
        stage = self._stage(encoded, method, gates, preview)
        if self._shard is None:
            manifest = self._made(planned.batches, Manifest(self._out), stage, engine)
            return self._joined(manifest, readable, problems, preview, engine)
        own, self._manifest = self._shard.turns(planned.batches), Manifest(self._shard.own)
        if not self._shard.path(_MADE, self._shard.number).is_file():
            self._made(own, self._manifest, stage, engine)
            self._shard.finish(_MADE)
        if self._shard.missing(_MADE):
            return self._result(problems)
        with self._shard.turn(self._out):
            if self._shard.joined.is_file():  # another shard finished at the same time
                self._manifest = Manifest(self._out)
                return self._result(problems, preview=preview.path)
            remove_unfinished(self._out)
            manifest = self._manifest = self._together(self._shard, planned)
            result = self._joined(manifest, readable, problems, preview, engine)
            write_text(self._shard.joined, "")
            return result

    def _together(self, shard: Shard, planned: Plan) -> Manifest:
        """Return the manifest of the whole run, joined from those of the shards."""
        lines: dict[str, list[ManifestLine]] = {}
        for number in range(1, shard.count + 1):
            for line in Manifest(shard.folder / str(number)).lines:
                lines.setdefault(line.batch, []).append(line)
        manifest = Manifest(self._out)
        manifest.replace([line for batch in planned.batches for line in lines[batch.key]])
        return manifest

    def _joined(
        self,
        manifest: Manifest,
        readable: Sequence[Slice],
        problems: list[str],
        preview: Preview,
        engine: Engine,
    ) -> Augmented:
        """Write what describes the whole run."""
        real = self._real(readable, problems, engine) if self._settings.merge else []
        write_labels(self._out, manifest.lines, real, self._settings.label_formats)
        return self._result(problems, len(real), preview.write(manifest, "Synthetic slices"))

    def _result(
        self, problems: Sequence[str], real: int = 0, preview: Path | None = None
    ) -> Augmented:
        manifest = self._manifest
        return Augmented(
            self._out,
            self._recipe.description,
            0 if manifest is None else len(manifest.lines),
            0 if manifest is None else manifest.kept,
            () if manifest is None else tuple(manifest.rejected.most_common()),
            self._planned,
            real,
            tuple(problems),
            preview,
            self._sources.outlines,
            () if self._shard is None else tuple(self._shard.missing(_MADE)),
        )

    def _encoded(self, slices: Sequence[Slice], engine: Engine, what: str) -> Encoded:
        model, codec, shard = self._model, self._codec, self._shard
        if shard is None:
            return encode(slices, model, codec, engine, self._progress)
        name = f"{what}.npz"
        if not shard.path(name, shard.number).is_file():
            part = encode(slices, model, codec, engine, self._progress, shard.block)
            part.save(shard.path(name, shard.number))
        shard.wait(name, f"encoded {what}", self._progress)
        whole, named = Encoded(math.prod(codec.latent_shape)), {one.name: one for one in slices}
        for number in range(1, shard.count + 1):
            whole.merge(Encoded.load(shard.path(name, number), named))
        return whole

    def _method(
        self,
        planned: Plan,
        encoded: Encoded,
        targets: Encoded | None,
        statistics: LatentStatistics,
    ) -> Method:
        """Return how drafts are made."""
        recipe, settings, inserter = self._recipe, self._settings, None
        named = self._sources.by_name
        varied = [named[name] for name in dict.fromkeys(draw.source for draw in planned.draws)]
        if recipe.transplants:
            hosts = [native for native in recipe.hosts if native in encoded]
            inserter = self._inserter(planned, varied, hosts, encoded)
            varied = hosts
        own, target = encoded.of(varied), None if targets is None else targets.all
        sampler = make_sampler(settings.sampler, statistics, own, target)
        shifted = target is not None and settings.sampler != "align"
        shift = AlignSampler(own, target) if shifted and target is not None else None
        return Method(sampler, shift, recipe.render, inserter, recipe.strength)

    def _inserter(
        self, planned: Plan, donors: Sequence[Slice], hosts: Sequence[Slice], encoded: Encoded
    ) -> Inserter:
        cache = HostCache(self._model)
        if self._settings.per == "study":
            return LesionInserter(planned.draws, self._sources, hosts, encoded, cache)
        return SliceInserter(donors, hosts, encoded, cache)

    def _stage(self, encoded: Encoded, method: Method, gates: Gates, preview: Preview) -> MakeStage:
        slices = self._sources.by_name
        writer = DraftWriter(self._out, self._settings, self._about(), slices)
        return MakeStage(self._model, self._codec, slices, encoded, method, gates, writer, preview)

    def _made(
        self, batches: Sequence[Batch], manifest: Manifest, stage: MakeStage, engine: Engine
    ) -> Manifest:
        """Make and write the batches that are not finished yet."""
        self._manifest = manifest
        done = manifest.keep_whole(batch.key for batch in batches)

        def finish(index: int, lines: Sequence[ManifestLine]) -> None:
            manifest.finish(done + index, lines)

        counts = list(accumulate(len(batch.draws) for batch in batches))
        for index in engine.run(stage, batches[done:], finish):
            note = f"{manifest.kept} kept, {manifest.rejected.total()} rejected"
            self._progress("Making slices", counts[done + index], counts[-1], note)
        return manifest

    def _real(
        self, slices: Sequence[Slice], problems: list[str], engine: Engine
    ) -> list[LabelledImage]:
        """Write the labelled real slices, and add to ``problems`` those that cannot be written."""
        stage = RealWriter(self._out, self._settings)
        parts = stage.parts(slices)
        total = sum(map(len, parts))
        results: dict[int, list[LabelledImage] | str] = {}
        images: list[LabelledImage] = []
        for index in engine.run(stage, parts, results.__setitem__):
            written = results.pop(index)
            if isinstance(written, str):
                problems.append(written)
            else:
                images += written
            self._progress("Writing real slices", len(images), total, "")
        return images

    def _about(self) -> Synthesis:
        recipe, sources = self._recipe, self._sources
        text = json.dumps(self.order, sort_keys=True)
        return Synthesis(
            run=hashlib.blake2b(text.encode(), digest_size=10).hexdigest(),
            model=self._model.digest,
            render=recipe.spec,
            sampler=self._settings.sampler if recipe.render is not None else None,
            allow_burned_in=any(one.burned_in for one in (*sources.slices, *sources.hosts)),
            preserves_locations=recipe.render is None or recipe.render.preserves_locations,
        )


def _digest(slices: Sequence[Slice]) -> str:
    """Return a digest of slices and their labels that identifies none of them."""
    whole = hashlib.blake2b(digest_size=10)
    for native in slices:
        labels = native.labels
        findings = None if labels is None else [finding_record(one, native.shape) for one in labels]
        whole.update(json.dumps([native.order, native.group, findings]).encode())
    return whole.hexdigest()
