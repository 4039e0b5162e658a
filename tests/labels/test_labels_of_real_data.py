import json
from collections import Counter
from pathlib import Path

import pytest
from made_studies import all_labels, pictures

from medvae.labels import Labelled, attach_labels
from medvae.records import Study, pseudonym

LGG = Path(__file__).resolve().parents[3] / "shared" / "data" / "lgg_flair"

pytestmark = pytest.mark.skipif(not LGG.is_dir(), reason="needs the shared data")


@pytest.fixture(scope="module")
def study() -> Study:
    document = json.loads((LGG / "coco.json").read_bytes())
    return pictures(LGG, (image["file_name"] for image in document["images"]), (256, 256))


@pytest.fixture(scope="module")
def coco(study: Study) -> Labelled:
    return attach_labels([study], LGG / "coco.json")


def boxes(labelled: Labelled) -> dict[Path, list[list[float]]]:
    return {
        s.source.path: sorted(s.labels.boxes.tolist())
        for study in labelled.studies
        for s in study.slices
        if s.labels
    }


def test_coco_has_all_boxes_and_patients(coco: Labelled) -> None:
    assert coco.problems == ()
    found = all_labels(coco)
    assert sum(len(labels) for labels in found) == 1187
    assert Counter(bool(labels) for labels in found) == {True: 1028, False: 2907 - 1028}
    assert len(coco.studies) == 79
    assert all(
        slice_.group == study.group == pseudonym("patient", slice_.source.path.parent.name)
        for study in coco.studies
        for slice_ in study.slices
    )


@pytest.mark.slow
@pytest.mark.parametrize("source", ["masks", "boxes.csv"])
def test_other_forms_give_the_boxes_of_coco(study: Study, coco: Labelled, source: str) -> None:
    labelled = attach_labels([study], LGG / source)
    assert boxes(labelled) == boxes(coco)
    assert all_labels(labelled).count(None) == 2907 - 1028
