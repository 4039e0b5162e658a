"""Bundles by name, and trained models opened without running any code from their files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from medvae.errors import ReadError, UsageProblem
from medvae.intensity import intensity_rule
from medvae.latent import LatentStatistics
from medvae.networks import Codec, SliceVAE, active_units, load_model
from medvae.notices import notice
from medvae.records import Pixels, Slice
from medvae.render import Scene
from medvae.schema import Fields, read_object

__all__ = ["COLLAPSED", "TrainedModel", "find_bundle", "open_model"]

COLLAPSED = (
    "no latent unit tells slices apart; train it again for more epochs, with a smaller kl_weight, "
    "or after checking the intensity map"
)
"""Message that says what a collapsed latent space is and what to do about it."""

_IN_WHEEL = Path(__file__).parent / "bundles"
_IN_CHECKOUT = Path(__file__).parents[1] / "bundles"


@dataclass(frozen=True, eq=False)
class TrainedModel:
    """A trained bundle, opened for use.

    Attributes:
        folder: Folder of the bundle.
        network: The network, in eval mode and on the CPU.
        intensity: Spec of the intensity map used in training, as in ``intensity_rule``; None if
            each modality has its own rule.
        modalities: Modalities of the training slices; empty if their files did not say.
        digest: Hash that identifies the model, as 20 hexadecimal digits.
    """

    folder: Path
    network: SliceVAE
    intensity: str | None
    modalities: tuple[str, ...]
    digest: str

    def codec(
        self,
        device: str | torch.device | None = None,
        dtype: torch.dtype | None = None,
        at_once: int | None = None,
    ) -> Codec:
        """Return a fast copy of the network that encodes and decodes, as in `Codec`."""
        return Codec(self.network, device, dtype, at_once)

    def scene(self, native: Slice, pixels: Pixels) -> Scene:
        """Return a decoded slice on the canvas of the model."""
        return Scene.of(native, pixels, self.network.image_size, self.intensity)

    def statistics(self) -> LatentStatistics:
        """Read the latents of the training slices.

        Raises:
            ReadError: If they are missing or damaged.
        """
        return LatentStatistics.load(self.folder / "models")

    def check_modalities(self, slices: Iterable[Slice]) -> None:
        """Check that no slice is known to have a modality that the model was not trained on.

        Raises:
            UsageProblem: If there are such slices.
        """
        found = {native.modality for native in slices if native.modality is not None}
        foreign = sorted(found.difference(self.modalities))
        if self.modalities and foreign:
            raise UsageProblem(
                f"{self.folder}: the model was trained on {', '.join(self.modalities)}, not on "
                f"{', '.join(foreign)}: leave these studies out, or train one on them"
            )


def find_bundle(name: str | Path) -> Path:
    """Return the folder of a bundle, given by its path or by the name of a shipped bundle.

    Raises:
        UsageProblem: If there is no such bundle.
    """
    shipped = _IN_WHEEL if _IN_WHEEL.is_dir() else _IN_CHECKOUT
    for folder in (Path(name), shipped / name):
        if folder.is_dir():
            if (folder / "configs" / "metadata.json").is_file():
                return folder
            raise UsageProblem(f"{folder}: is not a MONAI bundle: it has no configs/metadata.json")
    names = ", ".join(sorted(path.parents[1].name for path in shipped.glob("*/configs/train.json")))
    raise UsageProblem(f"{name}: there is no such bundle; give a folder, or one of {names}")


def open_model(name: str | Path) -> TrainedModel:
    """Open a trained bundle from plain JSON and safetensors; no expression in it is evaluated.

    Raises:
        UsageProblem: If there is no such bundle.
        ReadError: If it holds no trained model, or a damaged one.
    """
    folder = find_bundle(name)
    model = load_model(folder / "models")
    metadata = read_object(folder / "configs" / "metadata.json")
    fields = metadata.object("medvae") if "medvae" in metadata else Fields(metadata.where, {})
    modalities = fields.texts("modalities") if "modalities" in fields else ()
    intensity = None if fields.is_null("intensity") else fields.text("intensity")
    try:
        if intensity is not None:
            intensity_rule(intensity)
    except UsageProblem as error:
        raise ReadError(f"{fields.where}: {error}") from error
    if _has_collapsed(folder, metadata.content.get("eval_metrics")):
        notice(f"{folder}: the latent space of this model has collapsed: {COLLAPSED}")
    return TrainedModel(folder, model, intensity, modalities, _digest(folder / "models"))


def _has_collapsed(folder: Path, figures: Any) -> bool:
    """Return whether no latent unit differs between slices, as far as the bundle's files tell.

    The held-out slices may be too few or too similar to differ in any unit, and old bundles have
    no figures; in these cases the training slices decide.
    """
    figure = figures.get("active_units") if isinstance(figures, dict) else None
    if isinstance(figure, int | float) and figure > 0:
        return False
    try:
        statistics = LatentStatistics.load(folder / "models")
    except ReadError:
        return figure == 0  # code that needs the statistics will report what is wrong
    return not active_units(statistics.mu)


def _digest(models: Path) -> str:
    whole = hashlib.blake2b(digest_size=10)
    for name in ("model.json", "model.safetensors"):
        with (models / name).open("rb") as file:
            hashlib.file_digest(file, lambda: whole)
    return whole.hexdigest()
