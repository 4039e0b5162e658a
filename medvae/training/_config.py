"""The folder and the config of a run: those of its bundle, with variants and settings."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from pydoc import ErrorDuringImport, locate
from typing import Any

import torch
from monai.bundle import ConfigComponent, ConfigParser

from medvae.atomic import write_bytes, write_json
from medvae.errors import UsageProblem
from medvae.folders import clear, contents
from medvae.models import find_bundle
from medvae.networks import device_named, parts_for
from medvae.notices import notice
from medvae.schema import read_object
from medvae.training._batch import fit_batch

DATA = "dataset_dir"
STAND_INS: Mapping[str, Any] = {
    DATA: "./data",
    "labels": None,
    "outlines": None,
    "split": "$@output_dir + '/split.json'",
}
"""Values that replace file names in the config of a run, because runs are shared with others."""

_COPIED = (
    "configs/metadata.json",
    "configs/logging.conf",
    "configs/multi_gpu_train.json",
    "configs/evaluate.json",
    "configs/inference.json",
    "docs",
    "LICENSE",
)

_EITHER = inspect.Parameter.POSITIONAL_OR_KEYWORD

_MAIN = {"train", "evaluate", "inference", "metadata", "multi_gpu_train"}
"""Files in a bundle's ``configs`` that are not variants."""


def prepare_run(
    bundle: str | Path,
    out: str | Path,
    *,
    variant: str | Sequence[str] | None = None,
    settings: Mapping[str, Any] | None = None,
) -> None:
    """Make the folder of a run: the bundle with its variants and the settings written into it.

    The folder contains no names of input files; set ``dataset_dir`` when running its configs.

    Args:
        bundle: Path of a bundle, or the name of one that ships with the package.
        out: Folder of the run.
        variant: Name of a variant of the bundle, or several names, as in :func:`train`.
        settings: Values of the config by key, as in :func:`train`.

    Raises:
        UsageProblem: The bundle, a variant, a setting or the folder is invalid.
        WriteError: The file system refuses; nothing is left in the folder.
    """
    out = Path(out)
    if out.exists() and contents(out):
        raise UsageProblem(
            "is not empty; choose another folder, or resume the run in it",
            where=out,
            parameter="out",
        )
    source = find_bundle(bundle)
    settings = normal_settings(settings)
    parser, _ = run_config(source, variant_names(variant), settings)
    device = check_device(parser)
    if device is not None:
        fit_batch(parser, device, settings)
    try:
        _copy(source, out)
        _agree(out, parser)
        # This file identifies a run and is written last, so that only complete runs are resumed.
        write_json(out / "configs" / "train.json", parser.get(), indent=4)
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


def _agree(out: Path, parser: ConfigParser) -> None:
    """Make the separate inference config and metadata describe the same network."""
    inference = out / "configs" / "inference.json"
    if inference.is_file():
        same = {key: parser[key] for key in ("image_size", "intensity", "network_def")}
        write_json(inference, {**read_object(inference).content, **same}, indent=4)
    path = out / "configs" / "metadata.json"
    metadata = dict(read_object(path).content)
    formats = metadata["network_data_format"]
    for tensors in formats.values():
        for tensor in tensors.values():
            tensor["spatial_shape"] = [parser["image_size"]] * 2
    if "network_def::out_channels" in parser:
        channels = int(parser["network_def::out_channels"])
        for tensor in formats["outputs"].values():
            tensor["num_channels"] = channels
            tensor["channel_def"] = {str(i): "reconstruction" for i in range(channels)}
    write_json(path, metadata, indent=4)


def run_config(
    bundle: Path, variants: Sequence[str], settings: Mapping[str, Any]
) -> tuple[ConfigParser, dict[str, Any]]:
    """Return the config of a run without file names, and the files that it was given, by key.

    The variants are merged in their order, and the keys of the settings are as `normal_settings`
    returns them. The config lists the variants under ``variants`` and the keys of the files under
    ``files``.
    """
    parser = _with_variants(bundle, variants)
    for key, value in settings.items():
        _check_key(parser, key)
        parser[key] = value
    for key in settings:
        _check_objects(parser, key)
    files = {key: value for key, value in _walk(parser.get()) if _names_file(key, value)}
    for key in files:
        parser[key] = STAND_INS.get(key, False)
    parser[DATA] = STAND_INS[DATA]
    parser["variants"] = list(variants)
    parser["files"] = sorted(files)
    return parser, files


def normal_settings(settings: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return settings by keys that are separated as in MONAI, by ``::`` and not by ``#``."""
    return {key.replace("#", "::"): value for key, value in (settings or {}).items()}


def variant_names(variant: str | Sequence[str] | None) -> tuple[str, ...]:
    """Return the names of variants, which may be given as none, one or several."""
    return (variant,) if isinstance(variant, str) else tuple(variant or ())


def check_device(parser: ConfigParser) -> torch.device | None:
    """Refuse an unavailable device, and replace a device name in the config by the device."""
    value = parser.get("device")
    if value is None:
        return None
    if isinstance(value, str) and not value.startswith("$"):
        device = device_named(value)
        parser["device"] = f"$torch.device({str(device)!r})"
        return device
    try:
        found = parser.get_parsed_content("device")
    except Exception as error:
        raise UsageProblem(
            f"cannot evaluate {value!r}; choose cpu or cuda", parameter="device"
        ) from error
    return device_named(found)


def _with_variants(bundle: Path, variants: Sequence[str]) -> ConfigParser:
    """Return the config of a bundle with its variants, and report values that do not last."""
    main = bundle / "configs" / "train.json"
    if not main.is_file():
        raise UsageProblem(
            "has no configs/train.json, so it cannot be trained; choose another",
            where=bundle,
            parameter="bundle",
        )
    names = sorted(path.stem for path in main.parent.glob("*.json") if path.stem not in _MAIN)
    for variant in variants:
        if variant not in names:
            known = f"choose from {', '.join(names)}" if names else "the bundle has none"
            raise UsageProblem(f"there is no {variant!r} in {bundle}; {known}", parameter="variant")
    parser = ConfigParser()
    files = [main, *(main.with_name(f"{variant}.json") for variant in variants)]
    parser.read_config([str(path) for path in files])
    overlays = [normal_settings(ConfigParser.load_config_file(str(path))) for path in files[1:]]
    for place, (variant, overlay) in enumerate(zip(variants, overlays, strict=True), 1):
        later = [other for overlay in overlays[place:] for other in overlay]
        for key, value in overlay.items():
            replaced = any(key == other or key.startswith(f"{other}::") for other in later)
            if replaced and parser.get(key) != value:
                notice(f"variant {variant!r}: {key} is replaced by a variant that comes later")
    return parser


def _check_key(parser: ConfigParser, key: str) -> None:
    """Refuse a setting that is neither in the config nor a parameter of an object in it."""
    if key in parser:
        return
    above, _, name = key.rpartition("::")
    holder = parser.get(above) if above else None
    if isinstance(holder, dict) and "_target_" in holder:
        _check_parameter(parser, above, holder, name)
        return
    advice = _nearest(key, dict(_walk(parser.get())))
    raise UsageProblem(f"the config has no such key; {advice}", where=key, parameter="settings")


def _check_objects(parser: ConfigParser, key: str) -> None:
    """Check each object that a setting has put into the config, or given another class."""
    above, _, name = key.rpartition("::")
    place = above if name == "_target_" else key
    for where, holder in _walk(parser.get(place), place):
        if ConfigComponent.is_instantiable(holder):
            _check_target(parser, where, holder)
            for argument in holder:
                _check_parameter(parser, where, holder, argument)


def _check_target(parser: ConfigParser, where: str, holder: Mapping[str, Any]) -> None:
    target = holder["_target_"]
    if _is_plain_name(target) and _located(parser, holder) is None:
        parts = parts_for(where.rpartition("::")[2])
        choices = [f"{part.__module__.partition('._')[0]}.{name}" for name, part in parts.items()]
        advice = f"choose from {', '.join(choices)}" if choices else "check its full name"
        raise UsageProblem(
            f"there is no class {target!r}; {advice}", where=where, parameter="settings"
        )


def _check_parameter(
    parser: ConfigParser, where: str, holder: Mapping[str, Any], name: str
) -> None:
    """Refuse an argument that the class of an object in the config does not take."""
    if name in ConfigComponent.non_arg_keys:
        return
    names = _parameters(_located(parser, holder))
    if names is not None and name not in names:
        target = holder["_target_"]
        advice = _nearest(name, names) if names else "it takes none"
        raise UsageProblem(
            f"{target} has no such parameter; {advice}",
            where=f"{where}::{name}",
            parameter="settings",
        )


def _located(parser: ConfigParser, holder: Mapping[str, Any]) -> object | None:
    """Return the class or function of an object in the config, or None if it is not known yet."""
    if not _is_plain_name(holder["_target_"]):
        return None
    name = ConfigComponent(dict(holder), locator=parser.locator).resolve_module_name()
    try:
        return locate(name)
    except ErrorDuringImport:
        return None


def _is_plain_name(target: object) -> bool:
    return isinstance(target, str) and target[:1] not in ("$", "@", "%")


def _parameters(called: object | None) -> set[str] | None:
    """Return the names of the parameters of a class or function; None if it takes any, or unknown.

    A class that passes its keyword arguments on also has the parameters of its base classes.
    """
    if not callable(called):
        return None
    bases = called.__mro__[:-1] if isinstance(called, type) else ()
    names: set[str] = set()
    for call in [vars(base)["__init__"] for base in bases if "__init__" in vars(base)] or [called]:
        try:
            parameters = inspect.signature(call).parameters.values()
        except (TypeError, ValueError):
            return None
        names |= {one.name for one in parameters if one.kind in (one.KEYWORD_ONLY, _EITHER)}
        if not any(one.kind is one.VAR_KEYWORD for one in parameters):
            return names - {"self"}
    return None


def _nearest(name: str, names: Iterable[str]) -> str:
    (near,) = difflib.get_close_matches(name, sorted(names), n=1, cutoff=0)
    return f"did you mean {near!r}?"


def _names_file(key: str, value: object) -> bool:
    """Return whether a value of the config is the name of a file that the run was given."""
    if key == DATA or not isinstance(value, str) or not _is_plain_name(value):
        return False
    known = key in STAND_INS or key.endswith("pretrained")
    return known or Path(value).is_absolute() or ("/" in value and Path(value).exists())


def _walk(config: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Yield a part of the config after its key, and then each part of it."""
    if key:
        yield key, config
    if isinstance(config, dict | list):
        for name, value in config.items() if isinstance(config, dict) else enumerate(config):
            yield from _walk(value, f"{key}::{name}" if key else str(name))
