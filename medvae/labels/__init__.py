"""Read and write labels, boxes and masks for each slice, in common formats."""

from medvae.labels._attach import (
    LABEL_FORMATS,
    Labelled,
    Outlines,
    attach_labels,
    check_outlines,
    label_format,
    written_formats,
)
from medvae.labels._coco import write_coco
from medvae.labels._datalist import write_datalist
from medvae.labels._findings import finding_from_record, finding_record
from medvae.labels._format import LabelFormat, LabelledImage, LabelSource
from medvae.labels._ledger import Ledger, Problem, Record, folded
from medvae.labels._yolo import write_yolo

__all__ = [
    "LABEL_FORMATS",
    "LabelFormat",
    "LabelSource",
    "Labelled",
    "LabelledImage",
    "Ledger",
    "Outlines",
    "Problem",
    "Record",
    "attach_labels",
    "check_outlines",
    "finding_from_record",
    "finding_record",
    "folded",
    "label_format",
    "write_coco",
    "write_datalist",
    "write_yolo",
    "written_formats",
]
