"""``medvae train``: train a bundle on your own slices."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Literal

import click

from medvae_cli.options import MODALITY, OUTLINES

__all__ = ["train"]


def _settings(
    ctx: click.Context, param: click.Parameter, values: tuple[str, ...]
) -> dict[str, Any]:
    """Parse ``key=value`` pairs; a value that is not JSON is taken as text."""
    settings: dict[str, Any] = {}
    for value in values:
        key, equals, text = value.partition("=")
        if not equals or not key:
            raise click.BadParameter(f"{value!r} is not of the form key=value", ctx, param)
        try:
            settings[key.replace("#", "::")] = json.loads(text)
        except json.JSONDecodeError:
            settings[key.replace("#", "::")] = text
    return settings


@click.command()
@click.argument(
    "data", nargs=-1, required=True, metavar="DATA...", type=click.Path(exists=True, path_type=Path)
)
@click.option(
    "--bundle", default="slice_vae", show_default=True, help="Name or folder of a bundle."
)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder of the run.")
@click.option("--variant", help="One of the bundle's variants, such as spatial.")
@click.option(
    "--labels",
    type=click.Path(exists=True, path_type=Path),
    help="Label file that names the patients of pictures.",
)
@OUTLINES
@click.option(
    "--split",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="JSON with the training and validation patients; made from the seed by default.",
)
@click.option("--epochs", type=click.IntRange(1))
@click.option("--batch-size", type=click.IntRange(1))
@click.option("--device", help="Such as cpu or cuda:0.  [default: a GPU where there is one]")
@click.option(
    "--amp/--no-amp", default=None, help="Compute in bfloat16.  [default: where the device does]"
)
@click.option("--seed", type=click.IntRange(0))
@MODALITY
@click.option(
    "--set",
    "settings",
    multiple=True,
    callback=_settings,
    metavar="KEY=VALUE",
    help="Any other value of the bundle's config; may be given several times.",
)
@click.option(
    "--resume",
    is_flag=True,
    help="Go on from the last checkpoint of --out: give the same data and labels again.",
)
@click.option(
    "--tracking",
    type=click.Choice(["mlflow"]),
    help="Log to mlruns.db in --out too, or to where MLFLOW_TRACKING_URI says.",
)
def train(
    data: tuple[Path, ...],
    bundle: str,
    out: Path,
    variant: str | None,
    labels: Path | None,
    outlines: Path | None,
    split: Path | None,
    epochs: int | None,
    batch_size: int | None,
    device: str | None,
    amp: bool | None,
    seed: int | None,
    modality: str | None,
    settings: dict[str, Any],
    resume: bool,
    tracking: Literal["mlflow"] | None,
) -> None:
    """Train a bundle on the slices of files and folders: whatever `medvae inspect` reads.

    The configs of a bundle are code: train only bundles that you trust. The finished run is a
    bundle itself, with the model, the statistics of its latents, and what it reaches on patients
    that it was not trained on. Under torchrun several processes train together.

    \b
    Examples:
      medvae train studies/ --out run
      medvae train studies/ --out run --variant spatial --epochs 60 --set patience=10
      medvae train studies/ --out run --resume
    """
    # MONAI imports MLflow wherever it is installed, and MLflow reports usage to its developers.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from medvae.training import train as run_training

    chosen = {
        "labels": labels and str(labels.resolve()),
        "outlines": outlines and str(outlines.resolve()),
        "split": split and str(split.resolve()),
        "epochs": epochs,
        "batch_size": batch_size,
        "device": device,
        "amp": amp,
        "seed": seed,
        "modality": modality,
    }
    figures = run_training(
        data,
        bundle,
        out,
        variant=variant,
        settings={key: value for key, value in chosen.items() if value is not None} | settings,
        resume=resume,
        tracking=tracking,
    )
    for name, value in figures.items():
        click.echo(f"{name}: {value}")
    doubt = "" if figures.get("active_units", 1) else " (see the warning above)"
    click.echo(f"the run is a bundle: {out}{doubt}")
