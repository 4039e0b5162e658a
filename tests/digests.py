"""Digests of what `medvae augment` makes: pixels and labels, whatever the manifest calls them.

Before a change that must not alter a slice, and after it:

    python tests/digests.py OUT.json [--lesions FOLDER --model RUN]

FOLDER has ``images``, ``masks`` and ``coco.json``, and lesions that can be transplanted; RUN is a
model of them. The machine must be the same: other processors round differently.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import nibabel
import numpy as np
import pydicom
from PIL import Image

_ROOT = Path(__file__).parent.parent
_SAMPLE = _ROOT / "medvae" / "sample"
_HEAD = _ROOT / "medvae" / "sample_head"
_MODEL = _ROOT / "bundles" / "cardiac_mr_vae"

_CASES: Mapping[str, tuple[str, ...]] = {
    **{
        f"render {name}": ("--render", name)
        for name in ("warp", "residual", "decode", "warp+residual")
    },
    **{
        f"sampler {name}": ("--render", "warp", "--sampler", name)
        for name in ("prior", "posterior", "gaussian", "interpolate", "direction:1,3")
    },
    "sampler align": (
        *("--render", "warp", "--sampler", "align"),
        *("--align-to", str(_SAMPLE / "SC-N-07")),
    ),
    **{f"format {name}": ("--format", name) for name in ("nifti", "png")},
    "per study": ("--per", "study", "--format", "nifti"),
    "merge": ("--merge", "--copies", "2"),
    "labels": ("--labels-format", "coco,monai,yolo", "--seed", "3", "--strength", "0.8"),
}
_DICOM = ("--render", "warp", "--strength", "0.2", "--per", "study", "--format", "dicom")
_LESIONS: Mapping[str, tuple[str, ...]] = {
    "transplant": ("--render", "transplant", "--ratio", "0.5"),
    "transplant+warp": ("--render", "transplant+warp", "--ratio", "0.2"),
}
_PER_STUDY = ("--render", "transplant", "--per", "study", "--format", "nifti")


def main() -> None:
    """Write the digests of all cases."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--lesions", type=Path)
    parser.add_argument("--model", type=Path)
    options = parser.parse_args()
    labels = ("--labels", str(_SAMPLE / "coco.json"))
    found: dict[str, dict[str, str]] = {}

    def add(name: str, studies: Sequence[Path], model: Path, *given: str) -> None:
        found[name] = _made(studies, model, *given)
        options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")

    for name, case in _CASES.items():
        add(name, [_SAMPLE], _MODEL, *labels, *case)
    # The positions of the slices of the sample are unknown, which DICOM output does not permit.
    add("format dicom", [_HEAD], _MODEL, *_DICOM)
    if options.lesions:
        folder = options.lesions
        studies = sorted(path for path in (folder / "images").iterdir() if path.is_dir())[:8]
        labels = ("--labels", str(folder / "coco.json"), "--outlines", str(folder / "masks"))
        for name, case in _LESIONS.items():
            add(name, studies, options.model, *labels, *case)
        with tempfile.TemporaryDirectory() as scratch:
            donors, hosts = studies[:3], studies[3:]
            labels = ("--labels", str(_of_studies(folder / "coco.json", donors, Path(scratch))))
            given = [argument for host in hosts for argument in ("--hosts", str(host))]
            add("transplant per study", donors, options.model, *labels, *given, *_PER_STUDY)


def _of_studies(labels: Path, studies: Sequence[Path], folder: Path) -> Path:
    """Write the labels of some studies, so that the others can be hosts."""
    coco = json.loads(labels.read_text(encoding="utf-8"))
    names = {study.name for study in studies}
    images = [image for image in coco["images"] if names & set(Path(image["file_name"]).parts)]
    kept = {image["id"] for image in images}
    findings = [finding for finding in coco["annotations"] if finding["image_id"] in kept]
    chosen = folder / "coco.json"
    chosen.write_text(json.dumps({**coco, "images": images, "annotations": findings}))
    return chosen


def _made(studies: Sequence[Path], model: Path, *options: str) -> dict[str, str]:
    """Augment, and return a digest of the pixels and of the labels."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        medvae = Path(sys.executable).with_name("medvae")
        given = [*map(str, studies), "--model", str(model), "--out", str(out), *options]
        subprocess.run([str(medvae), "augment", *given], check=True, stdout=subprocess.DEVNULL)
        return {"pixels": _pixels(out), "labels": _labels(out)}


def _pixels(out: Path) -> str:
    whole = hashlib.blake2b(digest_size=12)
    for path in sorted(out.rglob("*")):
        if path.suffix == ".png" and path.parent != out:
            values = np.asarray(Image.open(path))
        elif path.name.endswith((".nii", ".nii.gz")):
            values = np.asarray(nibabel.load(path).dataobj)
        elif path.suffix == ".dcm":
            values = pydicom.dcmread(path).pixel_array
        else:
            continue
        whole.update(repr((values.shape, str(values.dtype))).encode())
        whole.update(np.ascontiguousarray(values).tobytes())
    return whole.hexdigest()


def _labels(out: Path) -> str:
    """Digest boxes and outlines of COCO, and whole files of the formats without fields of ours."""
    whole = hashlib.blake2b(digest_size=12)
    for path in sorted(out.rglob("coco.json")):
        coco = json.loads(path.read_text(encoding="utf-8"))
        kinds = {kind["id"]: kind["name"] for kind in coco["categories"]}
        names = {image["id"]: image["file_name"] for image in coco["images"]}
        entries = [
            (names[a["image_id"]], kinds[a["category_id"]], a["bbox"], a.get("segmentation"))
            for a in coco["annotations"]
        ]
        whole.update(repr(sorted(names.values())).encode())
        whole.update(repr(sorted(entries, key=repr)).encode())
    for path in sorted((*out.rglob("datalist.json"), *out.glob("yolo/**/*.txt"))):
        whole.update(path.relative_to(out).as_posix().encode())
        whole.update(path.read_bytes())
    return whole.hexdigest()


if __name__ == "__main__":
    main()
