"""The whole audit: read, decode and measure the sets, judge them, and write the report."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from medvae.atomic import write_text
from medvae.audit._bounds import broken, parse_bounds
from medvae.audit._canvases import decode
from medvae.audit._extractors import PIXELS, encoder, from_files
from medvae.audit._input import Sets, read_sets
from medvae.audit._latents import look
from medvae.audit._lesions import FindingBook
from medvae.audit._measure import Instruments, Side, measure
from medvae.audit._page import page
from medvae.audit._report import NAMES, as_report
from medvae.audit._sections import opening, sections, summary
from medvae.audit._sets import Member, SliceSet
from medvae.audit._verdict import Verdict, judge
from medvae.folders import output
from medvae.labels import Outlines
from medvae.models import TrainedModel, open_model
from medvae.networks import device_named
from medvae.render import Scene

__all__ = ["SIZES", "Audit", "Progress", "audit"]

Progress = Callable[[str, int, int, str], None]
"""Called with the current task, the amount done, the total amount, and a note."""

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
    verdict: Verdict
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
        labels: Labels of the real slices.
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
        progress: Called with (task, done, total, note) as work proceeds.

    Raises:
        UsageProblem: If an argument is invalid, or the sets cannot be compared.
        ReadError: If a set is empty or cannot be read, or the model is damaged.
        WriteError: If the output cannot be written.
    """
    bounds = parse_bounds(fail_if, NAMES)
    folder, told = Path(out), progress or _silent
    real, holdout = list(real), list(holdout)
    with output(folder, [*real, labels, outlines, synthetic, synthetic_labels, *holdout]):
        run = None if model is None else open_model(model)
        place = device_named(device)
        given = from_files(extractors, place)
        sets = read_sets(
            real,
            Path(synthetic),
            labels=None if labels is None else Path(labels),
            outlines=None if outlines is None else Path(outlines),
            synthetic_labels=None if synthetic_labels is None else Path(synthetic_labels),
            holdout=holdout,
            modality=modality,
            run=run,
            workers=workers,
            progress=lambda done, total: told("Reading headers", done, total, ""),
        )
        canvas = max(sizes) if run is None else run.network.image_size
        tools = Instruments(
            sizes=tuple(sorted({canvas, *(size for size in sizes if size < canvas)}, reverse=True)),
            epochs=epochs,
            extractors=(*([] if run is None else [encoder(run.network, place)]), *given, PIXELS),
            seed=seed,
            device=place,
            progress=told,
        )
        made = _made(sets, run, tools, folder, workers)
        write_text(folder / "report.json", json.dumps(made.report, indent=2) + "\n")
        write_text(folder / "report.html", made.html)
        said = broken(bounds, made.report)
        shown = folder / "report.html"
        return Audit(made.report, made.verdict, said, made.problems, shown, sets.real.outlines)


def _silent(what: str, done: int, total: int, beside: str) -> None:
    """Ignore progress."""


class _Made(NamedTuple):
    """A report that has not been written yet."""

    report: dict[str, Any]
    verdict: Verdict
    html: str
    problems: tuple[str, ...]


def _made(
    sets: Sets, run: TrainedModel | None, tools: Instruments, room: Path, workers: int | None
) -> _Made:
    spec = None if run is None else run.intensity

    def decoded(one: SliceSet) -> Side:
        told = tools.told(f"Decoding {one.name} slices")
        return _side(one, max(tools.sizes), spec, room, workers, told)

    real, synthetic = decoded(sets.real), decoded(sets.synthetic)
    held_out = None if sets.held_out is None else decoded(sets.held_out)
    there = Sets(
        real.canvases.set,
        synthetic.canvases.set,
        None if held_out is None else held_out.canvases.set,
    )
    measured = measure(real, synthetic, held_out, tools)
    latent = None
    if run is not None:
        told = tools.told("Looking at latents")
        latent = look(run.network, real.pool, synthetic.pool, tools.seed, tools.device, told)
    about = {
        "canvas": max(tools.sizes),
        "seed": tools.seed,
        "epochs": tools.epochs,
        "model": None if run is None else run.digest,
        "extractors": [one.name for one in tools.extractors],
    }
    report = as_report(there, measured, latent, about)
    verdict = judge(report, sets.synthetic.order)
    report["verdict"] = verdict.as_json()
    parts = list(sections(report, measured, latent, real, synthetic))
    html = page("Synthetic slices beside real ones", summary(report), parts, [opening(report)])
    return _Made(report, verdict, html, there.problems)


def _side(
    one: SliceSet,
    size: int,
    spec: str | None,
    room: Path,
    workers: int | None,
    progress: Callable[[int, int], None],
) -> Side:
    """Decode a set, and record its findings."""
    book = FindingBook()

    def see(member: Member, scene: Scene, picture: NDArray[np.float32]) -> None:
        key, sources = member.native.key, member.sources or ()
        book.add(member.series, key, member.groups, scene, picture, sources)

    found = decode(one, size, spec, room, workers=workers, watch=see, progress=progress)
    return Side(found, found.pool, book)
