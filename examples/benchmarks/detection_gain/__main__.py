"""Command that fills a table of what synthetic slices are worth to a detector.

python -m examples.benchmarks.detection_gain --data DIR --labels coco.json --out OUT
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from medvae.errors import MedvaeError, ReadError, UsageProblem

from . import __doc__ as about
from .arms import ARMS, parse_arm
from .bench import Bench, Grid
from .cells import Cell, open_folder, read_records
from .centres import Centres
from .claims import claim
from .detector import FEWEST_STEPS, MULTIPLE
from .folds import Fold, make_folds
from .pages import write_plot, write_results
from .results import choose
from .retinanet import RetinaNet
from .slices import DataSet, read
from .synthetic import Factory
from .vae import Trainer

__all__ = ["main"]

_DETECTORS = {"centres": Centres, "retinanet": RetinaNet}


def main(arguments: list[str] | None = None) -> None:
    """Measure the missing cells."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        _run(options)
    except UsageProblem as error:
        parser.error(str(error))
    except MedvaeError as error:
        sys.exit(f"error: {error}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="detection_gain", description=about)
    data = parser.add_argument_group("data")
    data.add_argument("--data", nargs="+", type=Path, required=True, help="files and folders")
    data.add_argument("--labels", type=Path, required=True, help="COCO, MONAI datalist, ...")
    data.add_argument(
        "--outlines", type=Path, help="masks of the findings that labels have boxes of"
    )
    data.add_argument("--modality", help="of files that do not say")
    data.add_argument(
        "--intensity", help="such as window:127.5,255; that of the modality by default"
    )
    data.add_argument("--size", type=int, default=128, help="of the canvas")
    folds = parser.add_argument_group("patients")
    folds.add_argument("--folds", type=int, default=6, help="that patients are divided into")
    folds.add_argument("--report", type=int, default=2, help="of these are reported, not chosen on")
    folds.add_argument("--stage", nargs="+", choices=["dev", "report"], default=["dev", "report"])
    folds.add_argument("--only", nargs="+", type=int, help="folds to fill now; all by default")
    folds.add_argument("--patients", nargs="+", type=int, default=[6, 12, 24])
    folds.add_argument("--repeats", type=int, default=5)
    folds.add_argument("--least-findings", type=int, default=6, help="of a labelled patient")
    folds.add_argument("--seed", type=int, default=0)
    arms = parser.add_argument_group("arms")
    arms.add_argument("--arms", nargs="+", default=list(ARMS))
    arms.add_argument("--gain-of", default="transplant", help="arm whose gain is told")
    arms.add_argument("--share", type=float, default=0.25, help="of a batch for each ingredient")
    arms.add_argument("--draws", type=int, default=600, help="of each synthetic ingredient")
    arms.add_argument("--keep-pictures", action="store_true", help="that were augmented")
    training = parser.add_argument_group("training")
    training.add_argument("--detector", choices=_DETECTORS, default="centres")
    training.add_argument("--steps", nargs="+", type=int, default=[1400], help="of detectors")
    training.add_argument("--classic", nargs="+", type=float, default=[1.0], help="strengths of it")
    training.add_argument("--variant", help="of the bundle of the autoencoder")
    training.add_argument("--epochs", type=int, default=12, help="of the autoencoder")
    training.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="of its config")
    training.add_argument("--device", help="cpu or cuda; a GPU where there is one by default")
    parser.add_argument("--out", type=Path, required=True, help="folder of the table")
    return parser


def _run(options: argparse.Namespace) -> None:
    if options.size < MULTIPLE or options.size % MULTIPLE:
        raise UsageProblem(f"--size {options.size}: must be a multiple of {MULTIPLE}")
    if min(options.steps) < FEWEST_STEPS:
        raise UsageProblem(f"--steps {min(options.steps)}: must be {FEWEST_STEPS} or more")
    arms = tuple(parse_arm(name, options.share, options.draws) for name in options.arms)
    grid = Grid(
        arms,
        tuple(options.patients),
        options.repeats,
        tuple(options.steps),
        tuple(options.classic),
    )
    data = read(
        options.data,
        options.labels,
        size=options.size,
        outlines=options.outlines,
        intensity=options.intensity,
        modality=options.modality,
    )
    folds = make_folds(data.findings, options.folds, options.report, options.seed)
    setting = _setting(options, data)
    open_folder(options.out, setting)
    bench = _bench(options, data)
    folds = [fold for fold in folds if options.only is None or fold.number in options.only]
    by_number = {fold.number: fold for fold in folds}
    by_name = {arm.name: arm for arm in arms}

    def measure(cell: Cell) -> None:
        measured = bench.measure(cell, by_number[cell.fold], by_name[cell.arm])
        cell.write(options.out, measured)
        _tell(cell, measured)
        write_results(options.out, setting, options.gain_of)

    failed = sum(_fill(options.out, cells, measure) for cells in _stages(options, grid, folds))
    results = write_results(options.out, setting, options.gain_of)
    write_plot(options.out, results)
    if failed:
        sys.exit(f"error: {failed} cells could not be measured")


def _stages(options: argparse.Namespace, grid: Grid, folds: list[Fold]) -> Iterator[list[Cell]]:
    """Yield the cells of each stage; dev cells must be measured before report cells are chosen."""
    if "dev" in options.stage:
        yield list(grid.dev([fold for fold in folds if fold.stage == "dev"]))
    if "report" in options.stage:
        choices = choose(read_records(options.out))
        yield list(grid.report([fold for fold in folds if fold.stage == "report"], choices))


def _fill(out: Path, cells: list[Cell], measure: Callable[[Cell], None]) -> int:
    """Measure the missing cells, and return how many cannot be measured.

    Cells that other processes are measuring are skipped at first, and waited for at the end.
    """
    failed: set[Cell] = set()
    for wait in (False, True):
        for cell in cells:
            path = cell.path(out)
            if path.is_file() or cell in failed:
                continue
            with claim(path, wait=wait) as free:
                if not free or path.is_file():
                    continue
                try:
                    measure(cell)
                except ReadError as error:
                    # A table takes days, so an arm that fails must not prevent the others.
                    print(f"{cell.name}: cannot be measured: {error}", file=sys.stderr)
                    failed.add(cell)
    return len(failed)


def _vae_settings(options: argparse.Namespace) -> dict[str, Any]:
    settings: dict[str, Any] = {"image_size": options.size, "epochs": options.epochs}
    settings |= {
        name: value
        for name in ("intensity", "modality")
        if (value := getattr(options, name)) is not None
    }
    if options.device:
        settings["device"] = f"$torch.device({options.device!r})"
    for text in options.set:
        key, equals, value = text.partition("=")
        if not equals:
            raise UsageProblem(f"--set {text}: must be KEY=VALUE")
        try:
            settings[key.replace("#", "::")] = json.loads(value)
        except ValueError:
            settings[key.replace("#", "::")] = value
    return settings


def _setting(options: argparse.Namespace, data: DataSet) -> dict[str, Any]:
    """Return the settings that all cells of a table share, without paths and devices."""
    names = "size intensity folds report least_findings seed share draws detector".split()
    autoencoder = {k: v for k, v in _vae_settings(options).items() if k != "device"}
    return {
        "data": data.digest(),
        "outlines": options.outlines is not None,
        **{name: getattr(options, name) for name in names},
        "autoencoder": {"variant": options.variant, **autoencoder},
    }


def _bench(options: argparse.Namespace, data: DataSet) -> Bench:
    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    out = options.out.resolve()
    trainer = Trainer(
        [path.resolve() for path in options.data],
        options.labels.resolve(),
        data.slices,
        options.variant,
        _vae_settings(options),
        out / "vae",
    )
    factory = Factory(
        data,
        options.size,
        options.intensity,
        out / "synthetic",
        options.device,
        options.keep_pictures,
    )
    return Bench(
        data,
        trainer,
        factory,
        _DETECTORS[options.detector],
        torch.device(device),
        options.least_findings,
        options.seed,
    )


def _tell(cell: Cell, measured: dict[str, Any]) -> None:
    scores, seconds = measured["scores"], measured["seconds"]
    print(
        f"{cell.name}: AP30 {scores['ap30']:.3f}, AP50 {scores['ap50']:.3f}, "
        f"{seconds['detector']:.0f} s",
        flush=True,
    )


if __name__ == "__main__":
    main()
