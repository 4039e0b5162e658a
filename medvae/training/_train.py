"""Training a bundle: makes the folder of a run from the bundle, and trains in it."""

from __future__ import annotations

import difflib
import errno
import json
import logging
import os
import sqlite3
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from importlib.util import find_spec
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Literal

import torch
from monai.bundle import ConfigParser, ConfigWorkflow

from medvae.atomic import write_bytes, write_text
from medvae.errors import MedvaeError, UsageProblem, WriteError
from medvae.folders import OutputFolder, clear, contents, output
from medvae.models import find_bundle
from medvae.networks import device_named
from medvae.schema import read_object
from medvae.split import read_held_out
from medvae.training._batch import fit_batch

__all__ = ["prepare_run", "train"]

_MAIN = {
    "train.json",
    "evaluate.json",
    "inference.json",
    "metadata.json",
    "multi_gpu_train.json",
}
"""Files in a bundle's ``configs`` that are not variants."""

_COPIED = (
    "configs/metadata.json",
    "configs/logging.conf",
    "configs/multi_gpu_train.json",
    "configs/evaluate.json",
    "configs/inference.json",
    "docs",
    "LICENSE",
)

_DATA = "dataset_dir"
_STAND_INS: Mapping[str, Any] = {
    _DATA: "./data",
    "labels": None,
    "outlines": None,
    "split": "$@output_dir + '/split.json'",
}
"""Values that replace file names in the config of a run, because runs are shared with others."""

_NO_ROOM = {errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ENOSPC, errno.EROFS}
"""Error numbers of the system when nothing more can be written."""

_TRACKING_PACKAGES = ("mlflow", "sqlalchemy", "alembic")
"""Packages that the extra ``mlflow`` installs. MLflow's slim package lacks the database."""


def train(
    data: Sequence[str | Path],
    bundle: str | Path,
    out: str | Path,
    *,
    variant: str | None = None,
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
        variant: Name of one of the bundle's overlays.
        settings: Values of the config by key, such as ``{"epochs": 5}``.
        resume: Whether to continue from the last checkpoint in ``out``. A run stores no file
            names: give ``data`` again, as well as ``labels`` and ``outlines`` in ``settings``.
        tracking: Log with MONAI's handlers for MLflow, to ``mlruns.db`` in ``out`` or to the
            address in the environment variable ``MLFLOW_TRACKING_URI``.

    Returns:
        The figures of the model on held-out patients.

    Raises:
        UsageProblem: The bundle, the variant, a setting or the folder is invalid, or MLflow is
            not installed.
        MedvaeError: The data cannot be used, or the training itself fails.
        Stopped: The training was interrupted; ``resume`` continues from its last complete epoch.
    """
    out = Path(os.path.abspath(out))  # noqa: PTH100  # links are not resolved
    if tracking is not None and not all(map(find_spec, _TRACKING_PACKAGES)):
        raise UsageProblem("MLflow is not installed: pip install 'monai-medvae[mlflow]'")
    together = int(os.environ.get("WORLD_SIZE", "1")) > 1
    if together:
        backend = "nccl" if torch.cuda.is_available() else "gloo"
        torch.distributed.init_process_group(backend)
    settings = settings or {}
    # The first process holds the folder for all processes that train together.
    first = not together or torch.distributed.get_rank() == 0
    place: AbstractContextManager[OutputFolder] = nullcontext(OutputFolder(out))
    if first:
        place = output(
            out,
            [*data, settings.get("labels"), settings.get("outlines")],
            fresh=False,
            resumable=True,
        )
    with place as folder:
        given = _given(data, bundle, out, variant, settings, resume)
        if first and not resume:
            prepare_run(bundle, out, variant=variant, settings=settings)
        if together:
            torch.distributed.barrier()
        workflow = _workflow(out, together, resume, tracking, given)
        try:
            workflow.initialize()
            workflow.run()
            figures: dict[str, float] = workflow.finalize()[0]
        except BaseException as error:
            if sys.stderr.isatty():
                print(file=sys.stderr)  # a progress bar leaves its line open
            if first and not resume and not (out / "checkpoints").exists():
                # It holds nothing of value yet; the same command must be able to start again.
                clear(out)
            folder.finished = _finished(out)
            told = _told(error, out) if isinstance(error, Exception) else None
            if told is None:
                raise
            raise told from error
        if first and (out / "mlruns.db").is_file():
            _forget_places(out / "mlruns.db")
    return figures


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


def _workflow(
    out: Path,
    together: bool,
    resume: bool,
    tracking: Literal["mlflow"] | None,
    given: Mapping[str, Any],
) -> ConfigWorkflow:
    """Return the workflow of a prepared run, with the files that this command gives."""
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
        resume=resume,
        tracking=tracking,
        save_execute_config=False,  # for tracking; the run has its configs anyway
        **given,
    )


def prepare_run(
    bundle: str | Path, out: Path, *, variant: str | None, settings: Mapping[str, Any]
) -> None:
    """Make the folder of a run: the bundle with its variant and the settings written into it.

    The folder contains no names of input files; set ``dataset_dir`` when running its configs.

    Raises:
        UsageProblem: The bundle, the variant, a setting or the folder is invalid.
        WriteError: The file system refuses; nothing is left in the folder.
    """
    if out.exists() and contents(out):
        raise UsageProblem(f"{out}: is not empty: name another folder, or go on with --resume")
    source = find_bundle(bundle)
    parser, _ = _configured(source, variant, settings)
    device = _check_device(parser)
    if device is not None:
        fit_batch(parser, device, settings)
    try:
        _copy(source, out)
        _agree(out, parser)
        # This file identifies a run and is written last, so that only complete runs are resumed.
        _write_json(out / "configs" / "train.json", parser.get())
    except BaseException:
        if out.exists():
            clear(out)
        raise


def _copy(bundle: Path, out: Path) -> None:
    """Copy the files that a run takes from its bundle unchanged."""
    for name in _COPIED:
        for path in (bundle / name, *sorted((bundle / name).rglob("*"))):
            if path.is_file():
                write_bytes(out / path.relative_to(bundle), path.read_bytes())


def _given(
    data: Sequence[str | Path],
    bundle: str | Path,
    out: Path,
    variant: str | None,
    settings: Mapping[str, Any],
    resume: bool,
) -> dict[str, Any]:
    """Return the files that a command gives, by key in the config.

    Raises:
        UsageProblem: A run cannot be resumed with the given arguments.
    """
    if resume:
        files = _given_again(out, variant, settings)
    else:
        _, files = _configured(find_bundle(bundle), variant, settings)
    return {**files, _DATA: [str(Path(path).resolve()) for path in data]}


def _given_again(out: Path, variant: str | None, settings: Mapping[str, Any]) -> dict[str, Any]:
    path = out / "configs" / "train.json"
    if not path.is_file():
        raise UsageProblem(f"{out}: holds no run to go on with")
    config = read_object(path)
    named = config.texts("files") if "files" in config else ()
    if variant or settings.keys() - {*_STAND_INS, *named}:
        raise UsageProblem(
            "a run goes on with its own settings: give it the same data and labels, and no others"
        )
    parser = ConfigParser()
    parser.read_config(str(path))
    _check_device(parser)
    split = out / "split.json"
    if split.is_file():
        read_held_out(split)  # raises if its patients were named with another secret
    begun = (out / "checkpoints" / "last.pt").is_file()
    for key in named:
        if key not in settings and (key in ("labels", "outlines") or not begun):
            raise UsageProblem(
                f"{key}: the run in {out} was begun with a file for it, and keeps no names of "
                "files: give it again"
            )
    return dict(settings)


def _configured(
    bundle: Path, variant: str | None, settings: Mapping[str, Any]
) -> tuple[ConfigParser, dict[str, Any]]:
    """Return the config of a run, without names of files, and the files that it was given.

    The config lists the keys of these files under ``files``.
    """
    parser = ConfigParser()
    parser.read_config([str(path) for path in _config_files(bundle, variant)])
    _check_keys(parser, settings)
    for key, value in settings.items():
        parser[key] = value
    found = {key: parser.get(key) for key in _all_keys(parser.get())}
    files = {key: value for key, value in found.items() if _names_file(key, value)}
    for key in files:
        parser[key] = _STAND_INS.get(key, False)
    parser[_DATA] = _STAND_INS[_DATA]
    parser["files"] = sorted(files)
    return parser, files


def _names_file(key: str, value: object) -> bool:
    """Return whether a value of the config is the name of a file that the run was given."""
    if key == _DATA or not isinstance(value, str) or value[:1] in ("$", "@", "%"):
        return False
    known = key in _STAND_INS or key.endswith("pretrained")
    return known or Path(value).is_absolute() or ("/" in value and Path(value).exists())


def _agree(out: Path, parser: ConfigParser) -> None:
    """Make the separate inference config and metadata describe the same network."""
    inference = out / "configs" / "inference.json"
    if inference.is_file():
        same = {key: parser[key] for key in ("image_size", "intensity", "network_def")}
        _write_json(inference, {**read_object(inference).content, **same})
    path = out / "configs" / "metadata.json"
    metadata = dict(read_object(path).content)
    for tensors in metadata["network_data_format"].values():
        for tensor in tensors.values():
            tensor["spatial_shape"] = [parser["image_size"]] * 2
    _write_json(path, metadata)


def _config_files(bundle: Path, variant: str | None) -> list[Path]:
    files = [bundle / "configs" / "train.json"]
    if not files[0].is_file():
        raise UsageProblem(f"{bundle}: has no configs/train.json: it cannot be trained")
    if variant is not None:
        overlay = bundle / "configs" / f"{variant}.json"
        names = sorted(
            path.stem for path in overlay.parent.glob("*.json") if path.name not in _MAIN
        )
        if variant not in names:
            raise UsageProblem(
                f"variant {variant!r}: there is none in {bundle}; it has {', '.join(names)}"
            )
        files.append(overlay)
    return files


def _check_device(parser: ConfigParser) -> torch.device | None:
    """Refuse an unavailable device, and replace a device name in the config by the device."""
    said = parser.get("device")
    if said is None:
        return None
    if isinstance(said, str) and not said.startswith("$"):
        device = device_named(said)
        parser["device"] = f"$torch.device({str(device)!r})"
        return device
    try:
        found = parser.get_parsed_content("device")
    except Exception as error:
        raise UsageProblem(f"device {said!r}: cannot be evaluated; give cpu or cuda") from error
    return device_named(found)


def _check_keys(parser: ConfigParser, keys: Iterable[str]) -> None:
    """Refuse a key that the config does not have, and suggest the one that was probably meant."""
    for key in keys:
        if key not in parser:
            near = difflib.get_close_matches(key, _all_keys(parser.get()), n=1, cutoff=0)
            raise UsageProblem(f"setting {key!r}: the config has no such key; is it {near[0]!r}?")


def _all_keys(config: Any, above: str = "") -> list[str]:
    keys: list[str] = []
    items = config.items() if isinstance(config, dict) else enumerate(config)
    for name, value in items:
        keys.append(f"{above}{name}")
        if isinstance(value, dict | list):
            keys += _all_keys(value, f"{above}{name}::")
    return keys


def _told(error: BaseException, out: Path) -> MedvaeError | None:
    """Return the error raised by this package, which MONAI wraps in errors about the config.

    Logs are written by other libraries, whose errors on a full disk differ.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, MedvaeError):
            return cause
        if isinstance(cause, OSError) and cause.errno in _NO_ROOM:
            return WriteError(f"{out}: cannot be written: {cause.strerror}")
        cause = cause.__cause__ or cause.__context__
    return None


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    write_text(path, json.dumps(content, indent=4) + "\n")
