"""How new pixels came to be, in words that may be told to everybody."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["Synthesis"]


@dataclass(frozen=True)
class Synthesis:
    """How the new pixels of one slice were made. Nothing in it may name a patient or a file.

    Attributes:
        run: what no other run has, such as a digest of the model, the seed and all options: the
            new UIDs depend on it.
        model: digest of the model.
        render: what made the pixels, such as ``warp`` or ``reconstruction``.
        copy: which copy of its series the slice belongs to, from 1.
        sampler, strength, seed: of the draw, where there was one.
        preserves_locations: whether what lies at a pixel lay there before.
        allow_burned_in: Text that is burned into the pixels of the source is accepted.
        donors: pseudonyms of other patients whose pixels are in it.
    """

    run: str
    model: str
    render: str
    copy: int = 1
    sampler: str | None = None
    strength: float | None = None
    seed: str | None = None
    preserves_locations: bool = True
    donors: tuple[str, ...] = ()
    allow_burned_in: bool = False

    def __str__(self) -> str:
        return ", ".join(self._facts())

    def _facts(self) -> Iterator[str]:
        yield f"render {self.render}"
        if self.sampler is not None:
            yield f"sampler {self.sampler}"
        if self.strength is not None:
            yield f"strength {self.strength:g}"
        if self.seed is not None:
            yield f"seed {self.seed}"
        yield f"copy {self.copy}"
        yield f"model {self.model}"
        if self.donors:
            yield f"with pixels of patient {' and '.join(self.donors)}"
