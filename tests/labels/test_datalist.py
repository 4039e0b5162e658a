import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_studies import (
    LESION,
    ORGAN,
    a_slice,
    a_study,
    all_labels,
    axial,
    boxed,
    labels_of,
    pictures,
    said,
)
from PIL import Image

from medvae.errors import LabelError
from medvae.geometry import Geometry
from medvae.labels import Labelled, LabelledImage, attach_labels, write_datalist
from medvae.records import Category, Labels, Study, pseudonym


def attached(folder: Path, study: Study, *items: dict[str, Any], **fields: object) -> Labelled:
    path = folder / "datalist.json"
    path.write_text(json.dumps({"training": items, **fields}))
    return attach_labels([study], path)


def test_boxes_on_pictures(tmp_path: Path) -> None:
    labelled = attached(
        tmp_path,
        pictures(tmp_path, ["a.png", "b.png", "c.png"]),
        {"image": "a.png", "box": [[1, 2, 3, 4.5], [5, 6, 7, 8]], "label": [0, "cyst"]},
        {"image": "b.png", "box": [], "label": [], "patient": "p1"},
        labels={"0": "glioma"},
        supercategories={"0": "lesion"},
    )
    assert labels_of(labelled) == {
        "a.png": Labels((boxed((1, 2, 3, 4.5)), boxed((5, 6, 7, 8), Category("cyst")))),
        "b.png": Labels(),
        "c.png": None,
    }
    assert labelled.problems == ()
    assert labelled.studies[0].group == pseudonym("patient", "p1")


def test_a_label_without_a_name_is_numbered(tmp_path: Path) -> None:
    labelled = attached(
        tmp_path,
        pictures(tmp_path, ["a.png"]),
        {"image": "a.png", "box": [[1, 2, 3, 4]], "label": [3]},
    )
    assert labels_of(labelled)["a.png"] == Labels((boxed((1, 2, 3, 4), Category("label_3")),))


def axial_volume(path: Path) -> Study:
    return a_study(*(axial(path, 3.0 * n, format="nifti", frame=n) for n in range(5)))


@pytest.mark.parametrize(
    ("box", "fields"),
    [
        # The centre and the extents, and two corners, of the same box.
        ([0.0, -10.0, 6.0, 8.0, 4.0, 7.0], {}),
        ([-4.0, -12.0, 2.5, 4.0, -8.0, 9.5], {"box_mode": "xyzxyz"}),
    ],
)
def test_a_box_in_space_lands_on_each_slice_that_it_cuts(
    tmp_path: Path, box: list[float], fields: dict[str, str]
) -> None:
    labelled = attached(
        tmp_path,
        axial_volume(tmp_path / "v.nii.gz"),
        {"image": "v.nii.gz", "box": [box], "label": [0]},
        **fields,
    )
    # The first pixel's centre is at (-10, -20): x = (-4 + 10) / 1 + 0.5, y = (-12 + 20) / 2 + 0.5.
    on_slice = Labels((boxed((6.5, 4.5, 14.5, 6.5), Category("label_0")),))
    assert all_labels(labelled) == [Labels(), on_slice, on_slice, on_slice, Labels()]
    assert labelled.problems == ()


def test_a_box_in_space_is_right_on_an_oblique_slice(tmp_path: Path) -> None:
    half = 0.5**0.5
    geometry = Geometry((1.0, 1.0), (-20.0, -20.0, 0.0), (1.0, 0.0, 0.0), (0.0, half, half))
    slice_ = a_slice(tmp_path / "v.nrrd", (60, 60), format="itk", geometry=geometry)
    labelled = attached(
        tmp_path,
        a_study(slice_),
        {"image": "v.nrrd", "box": [[0, 0, 20, 4, 100, 2]], "label": [0]},
    )
    ((finding,),) = all_labels(labelled)
    # The plane rises with y: it is in the box from z = 19 to z = 21, rows of 1 mm along it.
    assert finding.box == pytest.approx((18.5, 19 / half + 0.5, 22.5, 21 / half + 0.5))


def test_flat_boxes_on_one_slice_of_a_volume(tmp_path: Path) -> None:
    labelled = attached(
        tmp_path,
        axial_volume(tmp_path / "v.nii"),
        {"image": "v.nii", "frame": 3, "box": [[1, 2, 3, 4]], "label": ["cyst"]},
    )
    assert [None if found is None else len(found) for found in all_labels(labelled)] == [
        *(None, None, None),
        1,
        None,
    ]


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"image": "z.png"}, "training 0: 'z.png' matches no slice; ignored"),
        ({"image": ["a.png"]}, "training 0: `image` must be text but is ['a.png']; ignored"),
        ({"box": None}, "training 0: `box` is not a list; ignored"),
        (
            {"label": []},
            "training 0: has 1 boxes, but `label` does not have as many entries; ignored",
        ),
        (
            {"label": 0},
            "training 0: has 1 boxes, but `label` does not have as many entries; ignored",
        ),
        (
            {"label": [None]},
            "training 0, box 0: its label None is neither a number nor a name; ignored",
        ),
        ({"box": [[1, 2]]}, "training 0, box 0: `box` must be 4 or 6 numbers but is [1, 2]"),
        ({"box": [[1, 2, 1, 4]]}, "training 0, box 0: its box has no area; ignored"),
        (
            {"box": [[1, 2, 3, 4, 5, 6]]},
            "training 0, box 0: the slice's position in the patient is unknown; ignored",
        ),
        ({"box": [[1, 2, 3, 4, 5, -6]]}, "training 0, box 0: its box has no volume; ignored"),
        (
            {"box": [[1e300, 2, 3, 4, 5, 6]]},
            "training 0, box 0: its box has no volume; ignored",
        ),
        (
            {"box": [[1e7, 2, 3, 4, 5, 6]]},
            "training 0, box 0: lies too far away to be in a patient; ignored",
        ),
        (
            {"image": "v.nii", "box": [[1, 2, 3, 4]]},
            "training 0, box 0: is a 2D box on a volume of 5 slices; ignored",
        ),
        (
            {"image": "v.nii", "box": [[0, 0, 99, 4, 4, 4]]},
            "training 0, box 0: intersects no slice of its series; ignored",
        ),
    ],
)
def test_what_cannot_be_used_is_said_and_makes_no_negative(
    tmp_path: Path, fields: dict[str, object], problem: str
) -> None:
    volume = axial_volume(tmp_path / "v.nii")
    study = a_study(a_slice(tmp_path / "a.png"), *volume.slices)
    item = {"image": "a.png", "box": [[1, 2, 3, 4]], "label": [0], **fields}
    labelled = attached(tmp_path, study, item)
    (found,) = said(labelled)
    assert found.startswith(f"datalist.json, {problem}")
    assert set(all_labels(labelled)) == {None}


@pytest.mark.parametrize("fields", [{"image": "a.png"}, {"image": "p2/a.png", "label": []}])
def test_an_item_that_cannot_be_used_leaves_no_slice_of_its_known_to_be_empty(
    tmp_path: Path, fields: dict[str, object]
) -> None:
    labelled = attached(
        tmp_path,
        pictures(tmp_path, ["p1/a.png", "p2/a.png", "b.png"]),
        {"image": "p2/a.png", "box": [], "label": []},
        {"image": "b.png", "box": [], "label": []},
        {"box": [[1, 2, 3, 4]], "label": [0], **fields},
    )
    assert len(labelled.problems) == 1
    assert all_labels(labelled) == [None, None, Labels()]


def test_a_box_mode_that_is_not_known_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match="`box_mode` must be 'cccwhd' or 'xyzxyz' but is 'xxyy'"):
        attached(tmp_path, pictures(tmp_path, ["a.png"]), {"image": "a.png"}, box_mode="xxyy")


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:NvImgCodec:UserWarning")
def test_monai_finds_the_bright_pixels_in_the_boxes_that_were_written(tmp_path: Path) -> None:
    transforms = pytest.importorskip("monai.transforms")
    detection = pytest.importorskip("monai.apps.detection.transforms.dictionary")
    from monai.data import load_decathlon_datalist

    pixels = np.zeros((10, 20), dtype=np.uint8)
    pixels[2:5, 11:18] = 255
    (tmp_path / "images").mkdir()
    Image.fromarray(pixels).save(tmp_path / "images" / "a.png")
    Image.fromarray(pixels * 0).save(tmp_path / "images" / "b.png")
    images = [
        LabelledImage(
            "images/a.png",
            (10, 20),
            Labels((boxed((11, 2, 18, 5), LESION), boxed((0, 0, 1, 1), ORGAN))),
            "group",
            "key",
        ),
        LabelledImage("images/b.png", (10, 20), Labels()),
    ]
    write_datalist(tmp_path / "datalist.json", images)
    one, none = load_decathlon_datalist(str(tmp_path / "datalist.json"), is_segmentation=False)
    assert (none["box"], none["label"]) == ([], [])
    assert one["label"] == [0, 1]

    load = transforms.Compose(
        [
            transforms.LoadImaged(keys="image"),
            transforms.EnsureChannelFirstd(keys="image"),
            transforms.EnsureTyped(keys=["image", "box"]),
            detection.StandardizeEmptyBoxd(box_keys="box", box_ref_image_keys="image"),
            detection.ConvertBoxModed(box_keys="box", src_mode="xyxy", dst_mode="xyxy"),
        ]
    )
    turned = transforms.Compose(
        [
            load,
            detection.FlipBoxd(
                image_keys="image", box_keys="box", box_ref_image_keys="image", spatial_axis=0
            ),
            detection.RotateBox90d(image_keys="image", box_keys="box", box_ref_image_keys="image"),
        ]
    )
    for transform in (load, turned):
        item = transform(one)
        x0, y0, x1, y1 = (int(edge) for edge in item["box"][0])
        image = item["image"][0].numpy()
        assert (image[x0:x1, y0:y1] == 255).all()
        assert (image == 255).sum() == (x1 - x0) * (y1 - y0)
    assert load(none)["box"].shape == (0, 4)
