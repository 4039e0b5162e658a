"""How new pixels were made, in terms that may be published."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["Synthesis"]


@dataclass(frozen=True)
class Synthesis:
    """Record of how the new pixels of one slice were made; it must not name a patient or a file.

    Attributes:
        run: Identifier that is unique to the run, such as a digest of the model, the seed and all
            options; the new UIDs depend on it.
        model: Digest of the model.
        render: Method that made the pixels, such as ``warp`` or ``reconstruction``.
        copy: Number of the copy of the series that the slice belongs to, from 1.
        sampler, strength, seed: Settings of the random draw, if there was one.
        preserves_locations: Whether each pixel shows the same location as in the source.
        allow_burned_in: Whether text that is burned into the pixels of the source is accepted.
        donors: Pseudonyms of other patients whose pixels the slice contains.
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
