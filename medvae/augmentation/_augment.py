"""Augmentation from end to end: check the arguments, read, and run the stages."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from monai.utils.misc import ensure_tuple

from medvae.augmentation._engine import open_engine
from medvae.augmentation._run import Augmentation, Augmented
from medvae.augmentation._settings import Settings
from medvae.augmentation._shards import Shard
from medvae.errors import UsageProblem
from medvae.files import Paths, as_paths
from medvae.folders import check_outside, output
from medvae.manifest import claim, disclaim, remove_unfinished
from medvae.models import open_model
from medvae.progress import Progress, ignore_progress
from medvae.sources import find_sources


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

    def prepared() -> Augmentation:
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
        return Augmentation(opened, settings, sources, out, device, report, own_shard)

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
            with own_shard.exclusive(out):
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
