"""What `import medvae` offers, and at what cost."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import medvae

VERBS = ("audit", "augment", "denoise", "inspect_studies", "latent_view", "train")
NAMES = """
Audit Augmented Box Category DecodeError Denoised Finding Geometry Inspection LabelError
LabelledImage Labels LatentReport Manifest ManifestLine Mask MedvaeError Pixels ReadError Scan
Series Slice Study TrainedModel TrainingError UsageProblem WriteError attach_labels audit
augment denoise inspect_studies latent_view open_model open_studies read_pixels train
verify_pixels write_coco write_datalist write_yolo
""".split()


def test_names_are_these() -> None:
    assert sorted(medvae.__all__) == NAMES
    assert set(NAMES) <= set(dir(medvae))


@pytest.mark.parametrize("name", NAMES)
def test_each_is_documented_and_no_module(name: str) -> None:
    found = getattr(medvae, name)
    assert callable(found)
    assert found.__doc__


def test_a_name_that_does_not_exist() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        medvae.nothing  # noqa: B018


@pytest.mark.parametrize("name", VERBS)
def test_verbs_have_explicit_arguments(name: str) -> None:
    parameters = inspect.signature(getattr(medvae, name)).parameters
    assert all(one.kind is not one.VAR_KEYWORD for one in parameters.values())
    assert "progress" in parameters or name == "train"


def test_a_wrong_argument_is_a_value_error_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="copies: must be 1 or more, but is 0") as caught:
        medvae.augment([tmp_path], "cardiac_mr_vae", tmp_path / "out", copies=0)
    assert isinstance(caught.value, medvae.UsageProblem)
    assert caught.value.parameter == "copies"


def test_nothing_heavy_is_imported_before_it_is_used() -> None:
    code = (
        "import sys, medvae, medvae_cli.main\n"
        "heavy = {'torch', 'monai', 'jinja2', 'numpy', 'pydicom'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "assert medvae.Box(0, 0, 2, 3).area == 6\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_single_path_may_be_given_alone(studies: Path) -> None:
    alone, listed = medvae.inspect_studies(studies), medvae.inspect_studies([str(studies)])
    assert alone == listed
