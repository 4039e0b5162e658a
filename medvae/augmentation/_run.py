"""The stages of an augmentation, from decoded slices to the labels of what was kept."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from itertools import accumulate
from pathlib import Path
from typing import Any

from medvae.atomic import write_text
from medvae.augmentation._encode import Encoded, encode
from medvae.augmentation._engine import Engine
from medvae.augmentation._inserters import HostCache, Inserter, SliceInserter
from medvae.augmentation._make import MakeStage, Method
from medvae.augmentation._plan import Batch, Plan, plan
from medvae.augmentation._preview import PREVIEW, Preview
from medvae.augmentation._settings import Recipe, Settings
from medvae.augmentation._shards import Shard
from medvae.augmentation._whole_lesions import LesionInserter
from medvae.augmentation._write import DraftWriter, RealWriter, write_labels
from medvae.errors import ReadError
from medvae.gates import Gates
from medvae.labels import LabelledImage, Outlines, finding_record
from medvae.latent import SAMPLERS, AlignSampler, LatentStatistics, make_sampler
from medvae.manifest import Manifest, ManifestLine, remove_unfinished
from medvae.models import TrainedModel
from medvae.progress import Progress
from medvae.records import Slice
from medvae.sources import Sources
from medvae.writers import Synthesis

_MADE = "made"
"""Name under which a shard states that it has made its share."""


@dataclass(frozen=True)
class Augmented:
    """Result of a run.

    Attributes:
        out: Folder of the run.
        render: Render that was used, and the reason where it was chosen automatically.
        draws, kept: Number of lines in the manifest, and how many of them are of slices that were
            written.
        rejected: Number of rejections for each reason.
        planned: Number of draws in the plan, whether carried out or not.
        real: Number of real slices written beside the synthetic ones.
        problems: Files and labels that could not be used, one line each.
        preview: Path of the preview page; None after a dry run.
        outlines: Result of matching the outlines, if there were any.
        waiting_for: Shards that have not finished, so that the labels are not written yet.
    """

    out: Path
    render: str
    draws: int
    kept: int
    rejected: tuple[tuple[str, int], ...]
    planned: int
    real: int
    problems: tuple[str, ...]
    preview: Path | None
    outlines: Outlines | None = None
    waiting_for: tuple[int, ...] = ()


class Augmentation:
    """One augmentation.

    Args:
        model: The model.
        settings: The settings.
        sources: The slices to start from.
        out: The folder of the run.
        device: Device to compute on.
        progress: Called with (stage, done, total, note) as work proceeds.
        shard: The share of the run to do; None for all of it.

    Attributes:
        order: Everything that determines the output, as plain JSON, without identifying anyone.
    """

    def __init__(
        self,
        model: TrainedModel,
        settings: Settings,
        sources: Sources,
        out: Path,
        device: str | None,
        progress: Progress,
        shard: Shard | None,
    ) -> None:
        self._shard = shard
        self._model, self._sources, self._out = model, sources, out
        self._codec, self._progress = model.codec(device), progress
        self._recipe = Recipe.of(settings, sources)
        self._settings = replace(settings, strength=self._recipe.strength)
        self._manifest: Manifest | None = None
        self._planned = 0
        self.order: dict[str, Any] = {
            "medvae": version("monai-medvae"),
            "model": model.digest,
            "sources": _digest(sources.slices),
            "hosts": _digest(sources.hosts),
            "align_to": _digest(sources.targets),
            **self._settings.record(),
        }

    @property
    def finished(self) -> str:
        """The number of finished draws, in words."""
        done = 0 if self._manifest is None else len(self._manifest)
        return f"{done} of {self._planned} draws are finished"

    def run(self, engine: Engine, dry_run: bool) -> Augmented:
        """Run the stages."""
        sources, recipe = self._sources, self._recipe
        encoded = self._encoded((*sources.slices, *sources.hosts), engine, "slices")
        targets = self._encoded(sources.targets, engine, "targets") if sources.targets else None
        readable = [native for native in sources.slices if native in encoded]
        if not readable:
            raise ReadError("none of the slices can be decoded: see what 'medvae inspect' says")
        planned = plan(readable, self._settings, recipe.transplants)
        self._planned = len(planned.draws)
        statistics = self._model.statistics()
        method = self._method(planned, encoded, targets, statistics)
        same = recipe.strength == 0 and not recipe.transplants
        gates = encoded.calibration.gates(statistics, but=("copy",) if same else ())
        problems = [*sources.problems, *encoded.problems]
        if dry_run:
            return self._result(problems)
        if targets is not None:
            encoded.fingerprints |= targets.fingerprints
        every = (*sources.slices, *sources.hosts, *sources.targets)
        encoded.check_unchanged(every, self._out)
        write_text(self._out / "gates.json", json.dumps(gates.limits.record(), indent=2) + "\n")
        preview = Preview(self._out, (draw.key for draw in planned.draws))
        stage = self._stage(encoded, method, gates, preview)
        join = partial(self._joined, readable, problems, preview, engine)
        if self._shard is None:
            return join(self._made(planned.batches, Manifest(self._out), stage, engine))
        return self._shared(self._shard, planned, stage, engine, join)

    def _shared(
        self,
        shard: Shard,
        planned: Plan,
        stage: MakeStage,
        engine: Engine,
        join: Callable[[Manifest], Augmented],
    ) -> Augmented:
        """Make the share of one shard; the last one joins what all of them have made."""
        manifest = self._manifest = Manifest(shard.own)
        if not shard.path(_MADE, shard.number).is_file():
            self._made(shard.interleaved(planned.batches), manifest, stage, engine)
            shard.finish(_MADE)
        if shard.missing(_MADE):
            return self._result(self._sources.problems)
        with shard.exclusive(self._out):
            if shard.joined.is_file():  # another shard finished at the same time
                self._manifest = Manifest(self._out)
                return self._result(self._sources.problems, preview=self._out / PREVIEW)
            remove_unfinished(self._out)
            manifest = self._manifest = self._together(shard, planned)
            result = join(manifest)
            write_text(shard.joined, "")
            return result

    def _together(self, shard: Shard, planned: Plan) -> Manifest:
        """Return the manifest of the whole run, joined from those of the shards.

        Raises:
            ReadError: If one of them is incomplete.
        """
        lines: dict[str, list[ManifestLine]] = {}
        for number in range(1, shard.count + 1):
            for line in Manifest(shard.folder / str(number)):
                lines.setdefault(line.batch, []).append(line)
        if any(batch.key not in lines for batch in planned.batches):
            raise ReadError(f"{shard.folder}: is damaged; remove it to begin the run again")
        manifest = Manifest(self._out)
        manifest.replace([line for batch in planned.batches for line in lines[batch.key]])
        return manifest

    def _joined(
        self,
        readable: Sequence[Slice],
        problems: list[str],
        preview: Preview,
        engine: Engine,
        manifest: Manifest,
    ) -> Augmented:
        """Write what describes the whole run."""
        real = self._real(readable, problems, engine) if self._settings.merge else []
        write_labels(self._out, manifest, real, self._settings.label_formats)
        return self._result(problems, len(real), preview.write(manifest, "Synthetic slices"))

    def _result(
        self, problems: Sequence[str], real: int = 0, preview: Path | None = None
    ) -> Augmented:
        manifest = self._manifest
        return Augmented(
            self._out,
            self._recipe.description,
            0 if manifest is None else len(manifest),
            0 if manifest is None else manifest.kept,
            () if manifest is None else tuple(manifest.rejected.most_common()),
            self._planned,
            real,
            tuple(problems),
            preview,
            self._sources.outlines,
            () if self._shard is None else tuple(self._shard.missing(_MADE)),
        )

    def _encoded(self, slices: Sequence[Slice], engine: Engine, what: str) -> Encoded:
        model, shard = self._model, self._shard
        codec = None if self._recipe.render is None else self._codec
        if shard is None:
            return encode(slices, model, codec, engine, self._progress)
        name = f"{what}.npz"
        if not shard.path(name, shard.number).is_file():
            part = encode(slices, model, codec, engine, self._progress, shard.consecutive)
            part.save(shard.path(name, shard.number))
        shard.wait(name, f"encoded {what}", self._progress)
        whole = Encoded(math.prod(model.network.latent_shape))
        for number in range(1, shard.count + 1):
            whole.merge(Encoded.load(shard.path(name, number)))
        return whole

    def _method(
        self,
        planned: Plan,
        encoded: Encoded,
        targets: Encoded | None,
        statistics: LatentStatistics,
    ) -> Method:
        """Return how drafts are made."""
        recipe, settings = self._recipe, self._settings
        sampler = shift = inserter = None
        named = self._sources.by_name
        varied = [named[name] for name in dict.fromkeys(draw.source for draw in planned.draws)]
        if recipe.transplants:
            hosts = [native for native in recipe.hosts if native in encoded]
            inserter = self._inserter(planned, varied, hosts, encoded)
            varied = hosts
        if recipe.render is not None:
            name, _, _ = settings.sampler.partition(":")
            pool = target = None
            if targets is not None or SAMPLERS[name].needs_others:
                pool = encoded.of(varied)
            if targets is not None:
                target = targets.of([one for one in self._sources.targets if one in targets])
            sampler = make_sampler(settings.sampler, statistics, pool, target)
            if pool is not None and target is not None and name != "align":
                shift = AlignSampler(pool, target)
        return Method(sampler, shift, recipe.render, inserter, recipe.strength)

    def _inserter(
        self, planned: Plan, donors: Sequence[Slice], hosts: Sequence[Slice], encoded: Encoded
    ) -> Inserter:
        cache = HostCache(self._model)
        if self._settings.per == "study":
            return LesionInserter(planned.draws, self._sources, hosts, encoded, cache)
        return SliceInserter(donors, hosts, encoded, cache)

    def _stage(self, encoded: Encoded, method: Method, gates: Gates, preview: Preview) -> MakeStage:
        slices = self._sources.by_name
        writer = DraftWriter(self._out, self._settings, self._about(), slices)
        return MakeStage(self._model, self._codec, slices, encoded, method, gates, writer, preview)

    def _made(
        self, batches: Sequence[Batch], manifest: Manifest, stage: MakeStage, engine: Engine
    ) -> Manifest:
        """Make and write the batches that are not finished yet."""
        self._manifest = manifest
        done = manifest.keep_whole(batch.key for batch in batches)

        def finish(index: int, lines: Sequence[ManifestLine]) -> None:
            manifest.finish(done + index, lines)

        counts = list(accumulate(len(batch.draws) for batch in batches))
        for index in engine.run(stage, batches[done:], finish):
            note = f"{manifest.kept} kept, {manifest.rejected.total()} rejected"
            self._progress("Making slices", counts[done + index], counts[-1], note)
        return manifest

    def _real(
        self, slices: Sequence[Slice], problems: list[str], engine: Engine
    ) -> list[LabelledImage]:
        """Write the labelled real slices, and add to ``problems`` those that cannot be written."""
        stage = RealWriter(self._out, self._settings)
        parts = stage.parts(slices)
        total = sum(map(len, parts))
        results: dict[int, list[LabelledImage] | str] = {}
        images: list[LabelledImage] = []
        for index in engine.run(stage, parts, results.__setitem__):
            written = results.pop(index)
            if isinstance(written, str):
                problems.append(written)
            else:
                images += written
            self._progress("Writing real slices", len(images), total, "")
        return images

    def _about(self) -> Synthesis:
        recipe, sources = self._recipe, self._sources
        text = json.dumps(self.order, sort_keys=True)
        return Synthesis(
            run=hashlib.blake2b(text.encode(), digest_size=10).hexdigest(),
            model=self._model.digest,
            render=recipe.spec,
            sampler=self._settings.sampler if recipe.render is not None else None,
            allow_burned_in=any(one.burned_in for one in (*sources.slices, *sources.hosts)),
            preserves_locations=recipe.render is None or recipe.render.preserves_locations,
        )


def _digest(slices: Sequence[Slice]) -> str:
    """Return a digest of slices and their labels that identifies none of them."""
    whole = hashlib.blake2b(digest_size=10)
    for native in slices:
        labels = native.labels
        findings = None if labels is None else [finding_record(one, native.shape) for one in labels]
        whole.update(json.dumps([native.order, native.group, findings]).encode())
    return whole.hexdigest()
