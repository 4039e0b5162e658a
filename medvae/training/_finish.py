"""The last step of a training: the best weights become a usable bundle."""

from __future__ import annotations

import io
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from medvae.atomic import write_bytes, write_json
from medvae.latent import LatentStatistics
from medvae.metrics import held_out_figures
from medvae.models import COLLAPSED
from medvae.networks import Codec, SliceVAE, active_units, save_model
from medvae.notices import notice
from medvae.schema import read_object
from medvae.training._slices import CanvasSlices, TrainingSlices

_BATCH = 32


def finish(
    network: SliceVAE,
    slices: TrainingSlices,
    folder: str | Path,
    *,
    intensity: str | None = None,
    amp: bool = True,
    rank: int = 0,
) -> dict[str, float]:
    """Write the model, the statistics of its latents, and its figures on held-out patients.

    Args:
        network: Network, into which the weights of the best checkpoint are loaded.
        slices: Slices that the network was trained and validated on.
        folder: Folder of the bundle in which the training ran.
        intensity: Spec of the map from native to model values; if None, that of ``slices``.
        amp: Whether to encode in bfloat16.
        rank: Rank of this process; only rank 0 writes.

    Returns:
        The figures, as written to ``metadata.json``.
    """
    if rank:
        return {}
    folder = Path(folder)
    best = torch.load(folder / "checkpoints" / "best.pt", map_location="cpu", weights_only=True)
    network.load_state_dict(best["network"])
    network.eval()
    save_model(network, folder / "models")
    buffer = io.BytesIO()
    torch.save(network.state_dict(), buffer)
    write_bytes(folder / "models" / "model.pt", buffer.getvalue())
    device = next(network.parameters()).device
    codec = Codec(network, device, torch.bfloat16 if amp else torch.float32)
    statistics = _statistics(codec, slices.training)
    statistics.save(folder / "models")
    figures = held_out_figures(network, slices.validation.images.float())
    figures = {name: round(float(value), 4) for name, value in figures.items()}
    intensity = slices.intensity if intensity is None else intensity
    _describe(folder / "configs" / "metadata.json", slices, intensity, figures)
    _keep_intensity(folder / "configs" / "inference.json", intensity)
    if not figures["active_units"] and not active_units(statistics.mu):
        notice(f"the latent space has collapsed: {COLLAPSED}")
    elif figures["variance_explained"] <= 0:
        notice(
            "reconstructions of held-out slices are no better than an even grey "
            f"(variance_explained {figures['variance_explained']}); train for more epochs, or "
            "check the intensity map"
        )
    return figures


def _statistics(codec: Codec, slices: CanvasSlices) -> LatentStatistics:
    """Encode slices a batch at a time, as they are stored in half precision."""
    found = [codec.encode(batch[:, 0].float().numpy()) for batch in slices.images.split(_BATCH)]
    mu, logvar = (torch.cat(parts) for parts in zip(*found, strict=True))
    return LatentStatistics.of(slices.keys, slices.groups, mu, logvar)


def _describe(
    path: Path, slices: TrainingSlices, intensity: str | None, figures: dict[str, float]
) -> None:
    """Write the training data, the software versions and the figures to the bundle's metadata."""
    metadata: dict[str, Any] = dict(read_object(path).content)
    metadata["eval_metrics"] = figures
    metadata["medvae"] = {
        "version": version("monai-medvae"),
        "intensity": intensity,
        "modalities": slices.modalities,
        "patients": {
            "training": len(set(slices.training.groups)),
            "validation": len(set(slices.validation.groups)),
        },
        "slices": {
            "training": len(slices.training.keys),
            "validation": len(slices.validation.keys),
        },
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    write_json(path, metadata, indent=4)


def _keep_intensity(path: Path, intensity: str | None) -> None:
    """Make inference map slices as in training, whatever their files state."""
    if not path.is_file():
        return
    config = read_object(path).content
    if config.get("intensity") != intensity:
        write_json(path, {**config, "intensity": intensity}, indent=4)
