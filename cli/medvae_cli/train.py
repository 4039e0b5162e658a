"""``medvae train``: train a bundle on your own slices."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import click

from medvae_cli.options import EXISTING, MODALITY, OUTLINES

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
            settings[key] = json.loads(text)
        except json.JSONDecodeError:
            settings[key] = text
    return settings


@click.command()
@click.argument("data", nargs=-1, required=True, metavar="DATA...", type=EXISTING)
@click.option(
    "--bundle", default="slice_vae", show_default=True, help="Name or folder of a bundle."
)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder of the run.")
@click.option(
    "--variant",
    multiple=True,
    help="Variant of the bundle, such as spatial. Can be repeated: variants are merged in order, "
    "and where two set the same key, the later one wins.",
)
@click.option("--labels", type=EXISTING, help="Label file that names the patient of each slice.")
@OUTLINES
@click.option(
    "--split",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="JSON file with the patients for training and validation.  [default: drawn by the seed]",
)
@click.option("--epochs", type=click.IntRange(1), help="Number of epochs.")
@click.option("--batch-size", type=click.IntRange(1), help="Number of slices in a batch.")
@click.option(
    "--device", help="Device, such as cpu or cuda:0.  [default: a GPU if there is one, else cpu]"
)
@click.option(
    "--amp/--no-amp",
    default=None,
    help="Compute in bfloat16.  [default: if the device supports it in hardware]",
)
@click.option("--seed", type=click.IntRange(0), help="Random seed.")
@MODALITY
@click.option(
    "--set",
    "settings",
    multiple=True,
    callback=_settings,
    metavar="KEY=VALUE",
    help="Any other value of the bundle's config, or any parameter of an object in it, such as "
    "optimizer#betas=[0.9,0.99]. Can be repeated.",
)
@click.option(
    "--resume",
    is_flag=True,
    help="Continue from the last checkpoint in --out. Give the same data and labels again.",
)
@click.option(
    "--tracking",
    type=click.Choice(["mlflow"]),
    help="Log with MLflow as well, to mlruns.db in --out or to MLFLOW_TRACKING_URI.",
)
def train(data: tuple[Path, ...], out: Path, **options: Any) -> None:
    """Train a bundle on the slices in files and folders.

    These are the slices that 'medvae inspect' lists. The finished run is itself a bundle: it holds
    the model, the statistics of its latents, and the figures that it reaches on held-out patients.
    Options that are not given keep the values of the bundle's config. Under torchrun, several
    processes train together.

    The configs of a bundle are code: train only bundles that you trust.

    \b
    Examples:
      medvae train studies/ --out run
      medvae train studies/ --out run --variant spatial --epochs 60 --set patience=10
      medvae train studies/ --out run --variant residual --variant unit_variance
      medvae train studies/ --out run --set loss#free_bits=0.1 --set network_def#out_channels=3
      medvae train studies/ --out run --resume
    """
    # MONAI imports MLflow wherever it is installed, and MLflow reports usage to its developers.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from medvae.training import train as run_training

    figures = run_training(data, out=out, **options)
    for name, value in figures.items():
        click.echo(f"{name}: {value}")
    doubt = "" if figures.get("active_units", 1) else " (see the warning above)"
    click.echo(f"the run is a bundle: {out}{doubt}")
