"""What a user can choose for an augmentation, checked as far as no file is needed."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from medvae.errors import UsageProblem
from medvae.labels import written_formats
from medvae.render import check_balance
from medvae.writers import WRITERS

__all__ = ["Settings"]


@dataclass(frozen=True)
class Settings:
    """The choices that decide, together with model and studies, what is written.

    Attributes:
        copies: synthetic slices of each source slice; with ``per`` study, synthetic series of each
            source series, or of each lesion that is transplanted.
        ratio: synthetic slices for each real one, instead of ``copies``.
        sampler: how new latents are drawn, as in ``make_sampler``.
        strength: how far they are from the source's, and how much a lesion is varied: 0 is not
            at all, None what the render is meant for.
        render: a chain such as ``warp+residual`` or ``transplant``; ``auto`` chooses.
        per: ``slice`` draws each slice alone, ``study`` whole series, or whole lesions.
        balance: How draws are spread where lesions are transplanted: ``patients`` gives each donor
            patient the same number, ``slices`` each slice with a finding (of whole lesions, each
            lesion), so that patients with many of them dominate.
        only_positive: leave out source slices without a finding.
        formats: of the pictures.
        label_formats: of the labels.
        merge: write the labelled real slices as well, and labels of both.
        seed: of every draw.

    Raises:
        UsageProblem: a choice cannot be right.
    """

    copies: int = 1
    ratio: float | None = None
    sampler: str = "gaussian"
    strength: float | None = None
    render: str = "auto"
    per: str = "slice"
    balance: str = "patients"
    only_positive: bool = False
    formats: tuple[str, ...] = ("png",)
    label_formats: tuple[str, ...] = ("coco",)
    merge: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.copies < 1:
            raise UsageProblem(f"copies must be 1 or more, but is {self.copies}")
        if self.ratio is not None and not (self.ratio > 0 and math.isfinite(self.ratio)):
            raise UsageProblem(f"ratio must be above 0, but is {self.ratio}")
        if self.strength is not None and not (self.strength >= 0 and math.isfinite(self.strength)):
            raise UsageProblem(f"strength must be 0 or more, but is {self.strength}")
        if self.per not in ("slice", "study"):
            raise UsageProblem(f"per must be slice or study, but is {self.per!r}")
        check_balance(self.balance)
        _check_names("format", self.formats, WRITERS)
        written = written_formats(self.label_formats)
        if self.merge and "dicom" in self.formats:
            raise UsageProblem(
                "merge: real slices are not written as DICOM, whose headers would call them "
                "synthetic: give --format png or nifti"
            )
        if self.per == "study" and self.formats[0] == "nifti":
            for one in written:
                if one.file_per_image:
                    raise UsageProblem(
                        f"label format {one.option}: has a file for each picture, but with --per "
                        "study a whole series is one NIfTI file: give png as the first format"
                    )

    def record(self) -> dict[str, Any]:
        """Return the choices as plain JSON."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
        }


def _check_names(what: str, names: Iterable[str], known: Iterable[str]) -> None:
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        found = ", ".join(unknown) or "nothing"
        raise UsageProblem(f"{what} {found}: there is none; give any of {', '.join(known)}")
