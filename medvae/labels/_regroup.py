"""Rebuild studies with the labels and the patients from a label file."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from medvae.labels._ledger import Ledger, Patient
from medvae.records import Slice, Study, pseudonym

__all__ = ["labelled_studies", "without_files"]


def labelled_studies(studies: Iterable[Study], ledger: Ledger) -> tuple[Study, ...]:
    """Return the studies with the ledger's labels.

    A study of pictures whose records name one patient is assigned to that patient as a whole; one
    whose records name several is split into one study for each. Masks that were opened as images
    are left out.
    """
    images = without_files(studies, ledger.files)
    return tuple(new for study in images for new in _of_patients(study, ledger))


def without_files(studies: Iterable[Study], files: Collection[Path]) -> Iterator[Study]:
    """Yield the studies without the slices of some files."""
    unwanted = set(files)
    for study in studies:
        part = _part(study, lambda s: s.source.path not in unwanted)
        if part.series:
            yield part


def _of_patients(study: Study, ledger: Ledger) -> Iterator[Study]:
    named = [ledger.patients.get(s) for s in study.slices]
    patients = dict.fromkeys(p for p in named if p is not None)
    if len(patients) <= 1:
        yield _rebuilt(study, ledger, next(iter(patients), None))
        return
    for patient in patients:
        yield _rebuilt(_part_of_patient(study, ledger, patient), ledger, patient)
    if rest := named.count(None):
        ledger.problem(
            f"{rest} pictures beside those of {len(patients)} patients",
            f"no record names their patient; they remain grouped by {study.group_from}",
        )
        yield _rebuilt(_part(study, lambda s: s not in ledger.patients), ledger, None)


def _part_of_patient(study: Study, ledger: Ledger, patient: Patient) -> Study:
    """Return the part of a study that belongs to one patient, with its own keys."""
    part = _part(study, lambda s: ledger.patients.get(s) == patient)
    return replace(
        part,
        key=pseudonym("study", study.key, patient[0]),
        series=tuple(
            replace(series, key=pseudonym("series", series.key, patient[0]))
            for series in part.series
        ),
    )


def _part(study: Study, wanted: Callable[[Slice], bool]) -> Study:
    """Return a study with only the wanted slices, and without series that have none."""
    parts = (replace(s, slices=tuple(filter(wanted, s.slices))) for s in study.series)
    return replace(study, series=tuple(series for series in parts if series.slices))


def _rebuilt(study: Study, ledger: Ledger, patient: Patient | None) -> Study:
    """Return a study with the ledger's labels, assigned to a patient if there is one."""
    group, group_from = patient or (study.group, study.group_from)

    def labelled(slice_: Slice) -> Slice:
        own = group if patient else slice_.group
        return replace(slice_, labels=ledger.labels(slice_), group=own)

    return replace(study, group=group, group_from=group_from).map(labelled)
