"""Training a bundle in the folder of a run, from the start or from its last checkpoint."""

from __future__ import annotations

import errno
import logging
import os
import sqlite3
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from importlib.util import find_spec
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Literal

import torch
from monai.bundle import ConfigParser, ConfigWorkflow

from medvae.errors import MedvaeError, UsageProblem, WriteError
from medvae.files import Paths, as_paths
from medvae.folders import OutputFolder, clear, output
from medvae.models import find_bundle
from medvae.schema import read_object
from medvae.split import read_held_out
from medvae.training._config import (
    DATA,
    STAND_INS,
    check_device,
    normal_settings,
    prepare_run,
    run_config,
    variant_names,
)

_NO_ROOM = {errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ENOSPC, errno.EROFS}
"""Error numbers of the system when nothing more can be written."""

_TRACKING_PACKAGES = ("mlflow", "sqlalchemy", "alembic")
"""Packages that the extra ``mlflow`` installs. MLflow's slim package lacks the database."""

_NOT_MADE = "Failed to instantiate component '"
"""Beginning of MONAI's message about an object of the config that could not be created."""


def train(
    data: Paths,
    bundle: str | Path,
    out: str | Path,
    *,
    variant: str | Sequence[str] | None = None,
    labels: str | Path | None = None,
    outlines: str | Path | None = None,
    split: str | Path | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    device: str | None = None,
    amp: bool | None = None,
    seed: int | None = None,
    modality: str | None = None,
    settings: Mapping[str, Any] | None = None,
    resume: bool = False,
    tracking: Literal["mlflow"] | None = None,
) -> dict[str, float]:
    """Train a bundle on studies; the folder of the run becomes a bundle itself.

    Under ``torchrun``, each process calls this function, and the processes train together.

    Args:
        data: Files and folders, as ``open_studies`` reads them.
        bundle: Path of a bundle, or the name of one that ships with the package.
        out: Folder of the run.
        variant: Name of a variant of the bundle, or several names. They are merged in order;
            where two of them set the same key, the later one wins, and a notice is logged.
        labels: Label file, used for the patients that it names.
        outlines: Masks for the boxes of the labels; their files are not trained on.
        split: JSON file with the patients for training and validation. If None, patients are
            held out at random.
        epochs: Number of epochs. This and the following arguments default to the bundle's values.
        batch_size: Number of slices in a batch.
        device: Device to train on, such as ``cpu`` or ``cuda:0``.
        amp: Whether to compute in bfloat16.
        seed: Random seed.
        modality: Modality of files that do not state one.
        settings: Further values of the config by key, with ``::`` or ``#`` between the levels,
            such as ``{"patience": 10, "optimizer::betas": [0.9, 0.99]}``. A key can also name a
            parameter of an object that the config does not mention. Settings take precedence over
            the arguments above.
        resume: Whether to continue from the last checkpoint in ``out``. A run stores no file
            names: pass ``data``, ``labels`` and ``outlines`` again.
        tracking: Log with MONAI's handlers for MLflow, to ``mlruns.db`` in ``out`` or to the
            address in the environment variable ``MLFLOW_TRACKING_URI``.

    Returns:
        The figures of the model on held-out patients.

    Raises:
        UsageProblem: The bundle, a variant, a setting or the folder is invalid, or MLflow is
            not installed.
        MedvaeError: The data cannot be used, or the training itself fails.
        Stopped: The training was interrupted; ``resume`` continues from its last complete epoch.
    """
    if tracking is not None and not all(map(find_spec, _TRACKING_PACKAGES)):
        raise UsageProblem(
            "MLflow is not installed: pip install 'monai-medvae[mlflow]'", parameter="tracking"
        )
    files = {"labels": labels, "outlines": outlines, "split": split}
    chosen = {
        **{key: path and str(Path(path).resolve()) for key, path in files.items()},
        "epochs": epochs,
        "batch_size": batch_size,
        "device": device,
        "amp": amp,
        "seed": seed,
        "modality": modality,
    }
    settings = {
        **{key: value for key, value in chosen.items() if value is not None},
        **normal_settings(settings),
    }
    paths = as_paths(data)
    run = Path(os.path.abspath(out))  # noqa: PTH100  # links are not resolved
    return _train(paths, bundle, run, variant_names(variant), settings, resume, tracking)


def _train(
    paths: Sequence[str | Path],
    bundle: str | Path,
    out: Path,
    variants: Sequence[str],
    settings: Mapping[str, Any],
    resume: bool,
    tracking: Literal["mlflow"] | None,
) -> dict[str, float]:
    together = int(os.environ.get("WORLD_SIZE", "1")) > 1
    if together:
        backend = "nccl" if torch.cuda.is_available() else "gloo"
        torch.distributed.init_process_group(backend)
    # The first process holds the folder for all processes that train together.
    first = not together or torch.distributed.get_rank() == 0
    place: AbstractContextManager[OutputFolder] = nullcontext(OutputFolder(out))
    if first:
        inputs = [*paths, settings.get("labels"), settings.get("outlines")]
        place = output(out, inputs, fresh=False, resumable=True)
    with place as folder:
        if resume:
            files = _files_of_resumed(out, variants, settings)
        else:
            _, files = run_config(find_bundle(bundle), variants, settings)
        if first and not resume:
            prepare_run(bundle, out, variant=variants, settings=settings)
        if together:
            torch.distributed.barrier()
        given = {**files, DATA: [str(Path(path).resolve()) for path in paths], "resume": resume}
        workflow = _workflow(out, together, tracking=tracking, **given)
        with _reported(out, folder, new=first and not resume):
            workflow.initialize()
            workflow.run()
            figures: dict[str, float] = workflow.finalize()[0]
        if first and (out / "mlruns.db").is_file():
            _forget_places(out / "mlruns.db")
    return figures


@contextmanager
def _reported(out: Path, folder: OutputFolder, *, new: bool) -> Iterator[None]:
    """Report an error of a training, and what it leaves in a folder, which is cleared if new."""
    try:
        yield
    except BaseException as error:
        if sys.stderr.isatty():
            print(file=sys.stderr)  # a progress bar leaves its line open
        if new and not (out / "checkpoints").exists():
            # It holds nothing of value yet; the same command must be able to start again.
            clear(out)
        folder.finished = _finished(out)
        reported = _to_report(error, out) if isinstance(error, Exception) else None
        if reported is None:
            raise
        raise reported from error


def _files_of_resumed(
    out: Path, variants: Sequence[str], settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the files for a run that continues, by key in its config, or refuse to continue it."""
    path = out / "configs" / "train.json"
    if not path.is_file():
        raise UsageProblem(
            "holds no run to resume; choose another folder", where=out, parameter="out"
        )
    config = read_object(path)
    named = config.texts("files") if "files" in config else ()
    begun_with = config.texts("variants") if "variants" in config else ()
    if variants and tuple(variants) != tuple(begun_with):
        raise UsageProblem(
            f"the run in {out} was started with {', '.join(begun_with) or 'no variant'}; "
            "pass the same or none",
            parameter="variant",
        )
    if others := sorted(settings.keys() - {*STAND_INS, *named}):
        raise UsageProblem(
            "a run resumes with its own settings; pass only the data and labels that it was "
            "started with",
            parameter=others[0],
        )
    check_device(ConfigParser(dict(config.content)))
    if (out / "split.json").is_file():
        read_held_out(out / "split.json")  # raises if its patients were named with another secret
    begun = (out / "checkpoints" / "last.pt").is_file()
    for key in named:
        if key not in settings and (key in ("labels", "outlines") or not begun):
            raise UsageProblem(
                f"the run in {out} was started with a file for it, and stores no file names; "
                "pass it again",
                parameter=key,
            )
    return dict(settings)


def _workflow(out: Path, together: bool, /, **given: Any) -> ConfigWorkflow:
    """Return the workflow of a prepared run, with values that replace those of its config."""
    files = [out / "configs" / "train.json"]
    if together:
        files.append(out / "configs" / "multi_gpu_train.json")
    # MONAI logs its own steps to standard output, which is reserved for the figures here.
    logging.getLogger("monai.bundle.workflows").setLevel(logging.WARNING)
    # An error is reported by the code that catches it, in one line.
    logging.getLogger("ignite.engine.engine").setLevel(logging.CRITICAL)
    # That a training ends early can be seen in its history.
    logging.getLogger("ignite.handlers.early_stopping.EarlyStopping").setLevel(logging.WARNING)
    return ConfigWorkflow(
        config_file=[str(file) for file in files],
        meta_file=str(out / "configs" / "metadata.json"),
        logging_file=str(out / "configs" / "logging.conf"),
        workflow_type="train",
        bundle_root=str(out),
        save_execute_config=False,  # for tracking; the run has its configs anyway
        **given,
    )


def _finished(out: Path) -> str:
    """Return a message on how far a training has come."""
    path = out / "checkpoints" / "last.pt"
    if not path.is_file():
        return "no epoch is finished"
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        return f"{int(saved['epoch'])} epochs are finished"
    except (OSError, RuntimeError, LookupError, TypeError, ValueError, UnpicklingError):
        return "its checkpoint is damaged"


def _to_report(error: BaseException, out: Path) -> MedvaeError | None:
    """Return the error to report for one that MONAI wraps in errors about the config.

    Logs are written by other libraries, whose errors on a full disk differ.
    """
    cause: BaseException | None = error
    refused: UsageProblem | None = None
    while cause is not None:
        if isinstance(cause, MedvaeError):
            return cause
        if isinstance(cause, OSError) and cause.errno in _NO_ROOM:
            return WriteError(f"{out}: cannot be written: {cause.strerror}")
        reason = cause.__cause__
        if str(cause).startswith(_NOT_MADE) and isinstance(reason, TypeError | ValueError):
            name = str(cause).removeprefix(_NOT_MADE).partition("'")[0]
            refused = UsageProblem(f"{name}: {' '.join(str(reason).split())}; check its settings")
        cause = reason or cause.__context__
    return refused


def _forget_places(database: Path) -> None:
    """Remove the absolute paths, at which nothing was stored, from MLflow's database."""
    try:
        with closing(sqlite3.connect(database)) as connection:
            connection.execute("UPDATE experiments SET artifact_location = 'mlruns'")
            connection.execute("UPDATE runs SET artifact_uri = 'mlruns'")
            connection.commit()
            connection.execute("VACUUM")  # otherwise they remain in the file
    except sqlite3.Error as error:
        raise WriteError(f"{database}: cannot be written: {error}") from error
