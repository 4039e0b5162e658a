"""The whole audit: read, decode and measure the sets, judge them, and write the report."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from medvae.atomic import write_text
from medvae.auditing._augmented import read_augmented, was_augmented
from medvae.auditing._decoded import DecodedSet, decode
from medvae.auditing._extractors import PIXELS, encoder, extract, from_files
from medvae.auditing._registry import STATISTICS, broken_bounds, parse_bounds
from medvae.auditing._report import as_page, as_report
from medvae.auditing._sets import (
    SliceSet,
    check_comparable,
    read_studies,
    with_one_modality,
)
from medvae.auditing._statistic import AuditSettings, ComparedSets
from medvae.auditing._verdict import AuditVerdict
from medvae.errors import UsageProblem
from medvae.folders import output
from medvae.labels import Outlines
from medvae.models import TrainedModel, open_model
from medvae.networks import device_named
from medvae.progress import Progress, ignore_progress

__all__ = ["SIZES", "Audit", "audit"]

SIZES = (224, 128, 64, 32)
"""Sizes of the pictures on which the published network is trained."""


@dataclass(frozen=True, eq=False)
class Audit:
    """The result of an audit.

    Attributes:
        report: The report, as in ``report.json``.
        verdict: The verdict on the synthetic set.
        broken: Requested bounds that the report breaks, one line each.
        problems: Files and labels that could not be used, one line each.
        page: Path of the HTML report.
        outlines: Result of attaching the outlines of the real slices, if any were given.
    """

    report: Mapping[str, Any]
    verdict: AuditVerdict
    broken: tuple[str, ...]
    problems: tuple[str, ...]
    page: Path
    outlines: Outlines | None = None


def audit(
    real: Iterable[str | Path],
    synthetic: str | Path,
    out: str | Path,
    *,
    labels: str | Path | None = None,
    outlines: str | Path | None = None,
    synthetic_labels: str | Path | None = None,
    model: str | Path | None = None,
    holdout: Iterable[str | Path] = (),
    extractors: Iterable[str] = (),
    fail_if: Iterable[str] = (),
    modality: str | None = None,
    sizes: Sequence[int] = SIZES,
    epochs: int = 10,
    seed: int = 0,
    device: str | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Audit:
    """Compare a synthetic set with the real one, and write a report.

    The same arguments give the same report, byte for byte.

    Args:
        real: Files and folders with real slices.
        synthetic: Output folder of ``medvae augment``, or a file or folder with other slices.
        out: Folder for the report, which must be empty or not exist yet.
        labels: Labels of the real slices, which may also cover the held-out ones.
        outlines: Masks for the boxes of these labels, as in ``attach_labels``.
        synthetic_labels: Labels of synthetic slices that ``medvae augment`` did not write.
        model: Trained bundle; without it, the latent space is not compared.
        holdout: Files and folders with real slices of other patients, for the baselines; without
            them, the baselines come from splits of the real slices by patient.
        extractors: Weights of further networks whose features are compared, as ``NAME=FILE``.
        fail_if: Bounds that must not be met, such as ``auc>0.8``.
        modality: Modality of files that do not state one.
        sizes: Sizes of the pictures on which the published network is trained; sizes larger than
            the model's canvas are left out.
        epochs: Number of epochs for which the published network is trained.
        seed: Random seed for all draws.
        device: Device to compute on; by default, a GPU if there is one.
        workers: Number of reading processes; by default, those already running.
        progress: Called with (stage, done, total, note) as work proceeds.

    Raises:
        UsageProblem: If an argument is invalid, or the sets cannot be compared.
        ReadError: If a set is empty or cannot be read, or the model is damaged.
        WriteError: If the output cannot be written.
    """
    bounds = parse_bounds(fail_if)
    folder, real, holdout = Path(out), list(real), list(holdout)
    with output(folder, [*real, labels, outlines, synthetic, synthetic_labels, *holdout]):
        trained = None if model is None else open_model(model)
        settings = _settings(trained, sizes, epochs, extractors, seed, device, progress)
        slice_sets = _read_sets(
            real,
            Path(synthetic),
            holdout,
            labels=None if labels is None else Path(labels),
            outlines=None if outlines is None else Path(outlines),
            synthetic_labels=None if synthetic_labels is None else Path(synthetic_labels),
            modality=modality,
            workers=workers,
            progress=settings.progress,
        )
        if trained is not None:
            trained.check_modalities(s.native for one in slice_sets for s in one.slices)
        check_comparable(*slice_sets)
        sets = ComparedSets(*(_decoded(one, settings, folder, workers) for one in slice_sets))
        results = {name: one.measure(sets, settings) for name, one in STATISTICS.items()}
        report, verdict = as_report(sets, results, settings)
        page = folder / "report.html"
        write_text(folder / "report.json", json.dumps(report, indent=2) + "\n")
        write_text(page, as_page(report, results, sets))
        decoded = [one for one in (sets.real, sets.synthetic, sets.held_out) if one is not None]
        problems = tuple(problem for one in decoded for problem in one.set.problems)
        broken = broken_bounds(bounds, report)
        return Audit(report, verdict, broken, problems, page, sets.real.set.outlines)


def _settings(
    model: TrainedModel | None,
    sizes: Sequence[int],
    epochs: int,
    weights: Iterable[str],
    seed: int,
    device: str | None,
    progress: Progress | None,
) -> AuditSettings:
    chosen = device_named(device)
    given = from_files(weights, chosen)
    own = () if model is None else (encoder(model.network, chosen),)
    canvas = max(sizes) if model is None else model.network.image_size
    return AuditSettings(
        sizes=tuple(sorted({canvas, *(size for size in sizes if size < canvas)}, reverse=True)),
        epochs=epochs,
        extractors=(*own, *given, PIXELS),
        model=model,
        seed=seed,
        device=chosen,
        progress=progress or ignore_progress,
    )


def _read_sets(
    real: Sequence[str | Path],
    synthetic: Path,
    holdout: Sequence[str | Path],
    *,
    labels: Path | None,
    outlines: Path | None,
    synthetic_labels: Path | None,
    modality: str | None,
    workers: int | None,
    progress: Progress,
) -> list[SliceSet]:
    """Read the headers and labels of the real, the synthetic and, if given, the held-out set."""
    how: Any = {"modality": modality, "workers": workers, "progress": progress}
    sets = [read_studies("real", real, labels, outlines=outlines, **how)]
    if not was_augmented(synthetic):
        sets.append(read_studies("synthetic", [synthetic], synthetic_labels, **how))
    elif synthetic_labels is not None:
        raise UsageProblem(
            f"{synthetic} has its labels in its manifest; leave these out",
            parameter="synthetic_labels",
        )
    else:
        sets.append(read_augmented(synthetic, sets[0], workers=workers, progress=progress))
    if holdout:
        more: Any = {"outlines": outlines, "may_lack_labels": True, **how}
        sets.append(read_studies("held-out", holdout, labels, **more))
    return with_one_modality(sets)


def _decoded(
    slices: SliceSet, settings: AuditSettings, folder: Path, workers: int | None
) -> DecodedSet:
    """Decode a set, and extract its features."""
    intensity = None if settings.model is None else settings.model.intensity
    progress = settings.progress
    found = decode(
        slices, max(settings.sizes), intensity, folder, workers=workers, progress=progress
    )
    features = {
        one.name: extract(one, found.pool, progress=progress) for one in settings.extractors
    }
    return replace(found, features=features)
