"""Settings of an augmentation, checked as far as possible without reading files."""

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
    """Settings that determine, together with the model and the studies, what is written.

    Attributes:
        copies: Number of synthetic slices per source slice; with ``per`` study, of synthetic series
            per source series, or per transplanted lesion.
        ratio: Number of synthetic slices per real slice, instead of ``copies``.
        sampler: Sampler that draws new latents, as in ``make_sampler``.
        strength: Distance of new latents from that of the source, and amount by which a lesion is
            varied: 0 for none, None for the default of the render.
        render: Chain of renders such as ``warp+residual`` or ``transplant``; ``auto`` chooses one.
        per: ``slice`` draws each slice alone, ``study`` draws whole series or whole lesions.
        balance: How draws are spread where lesions are transplanted: ``patients`` gives each donor
            patient the same number, ``slices`` each slice with a finding (or each whole lesion),
            so that patients with many of them dominate.
        only_positive: Whether to leave out source slices without a finding.
        formats: Image formats.
        label_formats: Label formats.
        merge: Whether to write the labelled real slices as well, and labels for both.
        seed: Random seed for all draws.

    Raises:
        UsageProblem: If a setting is invalid.
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
        """Return the settings as plain JSON."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
        }


def _check_names(what: str, names: Iterable[str], known: Iterable[str]) -> None:
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        found = ", ".join(unknown) or "nothing"
        raise UsageProblem(f"{what} {found}: there is none; give any of {', '.join(known)}")
