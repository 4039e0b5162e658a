"""The whole audit: read, decode and measure the sets, judge them, and write the report."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from medvae.atomic import write_text
from medvae.auditing._augmented import read_augmented, was_augmented
from medvae.auditing._decoded import DecodedSet, decode
from medvae.auditing._features import (
    Extract,
    encoder_features,
    extract,
    network_features,
    pixel_features,
)
from medvae.auditing._registry import STATISTICS
from medvae.auditing._report import as_page, as_report
from medvae.auditing._sets import (
    SliceSet,
    check_comparable,
    read_studies,
    with_one_modality,
)
from medvae.auditing._statistic import AuditSettings, ComparedSets
from medvae.auditing._verdict import AuditVerdict, broken_bounds, parse_bounds
from medvae.errors import UsageProblem
from medvae.files import Paths, as_paths
from medvae.folders import output
from medvae.labels import Outlines
from medvae.models import open_model
from medvae.networks import device_named
from medvae.progress import Progress, ignore_progress


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
    real: Paths,
    synthetic: str | Path,
    out: str | Path,
    *,
    labels: str | Path | None = None,
    outlines: str | Path | None = None,
    synthetic_labels: str | Path | None = None,
    model: str | Path | None = None,
    holdout: Paths = (),
    extractors: Iterable[str] = (),
    fail_if: Iterable[str] = (),
    modality: str | None = None,
    image_size: int = 224,
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
        image_size: Side of the canvas on which slices are compared; a model has its own.
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
    folder, synthetic = Path(out), Path(synthetic)
    real, holdout = as_paths(real), as_paths(holdout)
    with output(folder, [*real, labels, outlines, synthetic, synthetic_labels, *holdout]):
        trained = None if model is None else open_model(model)
        settings = AuditSettings(
            device=device_named(device),
            image_size=image_size if trained is None else trained.network.image_size,
            epochs=epochs,
            model=trained,
            seed=seed,
            progress=progress or ignore_progress,
        )
        networks = network_features(extractors, settings.device)
        how: Any = {"workers": workers, "progress": settings.progress}
        slice_sets = [read_studies("real", real, labels, outlines, modality=modality, **how)]
        if not was_augmented(synthetic):
            made = read_studies(
                "synthetic", [synthetic], synthetic_labels, modality=modality, **how
            )
        elif synthetic_labels is None:
            made = read_augmented(synthetic, slice_sets[0], **how)
        else:
            raise UsageProblem(
                f"{synthetic} has its labels in its manifest; leave these out",
                parameter="synthetic_labels",
            )
        slice_sets.append(made)
        if holdout:
            how |= {"modality": modality, "may_lack_labels": True}
            slice_sets.append(read_studies("held-out", holdout, labels, outlines, **how))
        slice_sets = with_one_modality(slice_sets)
        if trained is not None:
            trained.check_modalities(s.native for one in slice_sets for s in one.slices)
        check_comparable(slice_sets)
        decoded = [_decoded(one, settings, networks, folder, workers) for one in slice_sets]
        sets = ComparedSets(*decoded)
        results = {name: one.measure(sets, settings) for name, one in STATISTICS.items()}
        report, verdict = as_report(sets, results, settings)
        page = folder / "report.html"
        write_text(folder / "report.json", json.dumps(report, indent=2) + "\n")
        write_text(page, as_page(report, results, sets))
        problems = tuple(problem for one in decoded for problem in one.set.problems)
        broken = broken_bounds(bounds, report)
        return Audit(report, verdict, broken, problems, page, sets.real.set.outlines)


def _decoded(
    slices: SliceSet,
    settings: AuditSettings,
    networks: Mapping[str, Extract],
    folder: Path,
    workers: int | None,
) -> DecodedSet:
    """Decode a set, and compute its features."""
    model, progress = settings.model, settings.progress
    intensity = None if model is None else model.intensity
    size = settings.image_size
    found = decode(slices, size, intensity, folder, workers=workers, progress=progress)
    extractors: dict[str, Extract] = {}
    if model is not None:
        extractors["encoder"] = encoder_features(model.network, settings.device)
    extractors |= {**networks, "pixels": pixel_features}
    features = {
        name: extract(one, found.pool, name, progress=progress) for name, one in extractors.items()
    }
    return replace(found, features=features)
