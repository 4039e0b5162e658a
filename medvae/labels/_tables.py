"""Read boxes and spheres from CSV files with the columns of public data sets."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from medvae.errors import LabelError
from medvae.geometry import Box
from medvae.labels._format import LabelFormat, LabelSource
from medvae.labels._ledger import Ledger
from medvae.labels._problem import UnplacedError, UnusableError
from medvae.labels._space import sphere_on
from medvae.records import Category, Slice

__all__ = ["Table"]

_LARGEST_FILE = 512 * 2**20

_OPACITY = Category("lung opacity", "lesion")
_NODULE = Category("nodule", "lesion")
_FINDING = Category("finding")
_CATEGORY_COLUMNS = ("category", "class", "class_name", "label")

Row = Mapping[str, str]


@dataclass(frozen=True)
class _Form:
    """Columns that identify a kind of table, and the function that reads a row of it."""

    name: str
    columns: frozenset[str]
    read: Callable[[str, Row, Path, Ledger], None]


def _read_rsna(where: str, row: Row, folder: Path, ledger: Ledger) -> None:
    """Read a row of RSNA pneumonia detection; ``Target`` 0 means that there is nothing."""
    slice_ = _slice(where, row, "patientId", folder, ledger)
    with ledger.record(where, on=[slice_]):
        if row["Target"] not in ("0", "1"):
            raise UnusableError(f"`Target` must be 0 or 1 but is {row['Target']!r}; ignored")
        ledger.mention(slice_)
        if row["Target"] == "1":
            _add_sized(where, row, ("x", "y", "width", "height"), slice_, _OPACITY, ledger)


def _read_vindr(where: str, row: Row, folder: Path, ledger: Ledger) -> None:
    """Read a row of VinDr-CXR; the class ``No finding`` means that there is nothing."""
    slice_ = _slice(where, row, "image_id", folder, ledger)
    ledger.mention(slice_)
    if row["class_name"].casefold() == "no finding":
        return
    with ledger.record(where, on=[slice_]):
        if not row["class_name"]:
            raise UnusableError("has no `class_name`; ignored")
        x0, y0, x1, y1 = (_number(row, c) for c in ("x_min", "y_min", "x_max", "y_max"))
        ledger.add_box(where, slice_, Category(row["class_name"]), Box(x0, y0, x1, y1))


def _read_luna(where: str, row: Row, folder: Path, ledger: Ledger) -> None:
    """Read a row of LUNA16: a sphere in LPS millimetres."""
    slices = ledger.index.series(row["seriesuid"], folder)
    ledger.mention(*slices)
    with ledger.record(where, on=slices):
        centre = [_number(row, column) for column in ("coordX", "coordY", "coordZ")]
        radius = _number(row, "diameter_mm") / 2
        ledger.add_solid(where, slices, _NODULE, lambda s: sphere_on(s, centre, radius))


def _read_plain(where: str, row: Row, folder: Path, ledger: Ledger) -> None:
    """Read a row with a box on a file; a row without numbers means that there is nothing."""
    slice_ = _slice(where, row, "file", folder, ledger)
    ledger.mention(slice_)
    columns = ("x", "y", "w", "h")
    if any(row[column] for column in columns):
        named = next((row[column] for column in _CATEGORY_COLUMNS if row.get(column)), None)
        category = _FINDING if named is None else Category(named)
        _add_sized(where, row, columns, slice_, category, ledger)


_FORMS = (
    _Form(
        "CSV (RSNA)",
        frozenset({"patientId", "x", "y", "width", "height", "Target"}),
        _read_rsna,
    ),
    _Form(
        "CSV (VinDr)",
        frozenset({"image_id", "class_name", "x_min", "y_min", "x_max", "y_max"}),
        _read_vindr,
    ),
    _Form(
        "CSV (LUNA16)",
        frozenset({"seriesuid", "coordX", "coordY", "coordZ", "diameter_mm"}),
        _read_luna,
    ),
    _Form("CSV (boxes)", frozenset({"file", "x", "y", "w", "h"}), _read_plain),
)


def _form(columns: Iterable[str]) -> _Form | None:
    found = set(columns)
    return next((form for form in _FORMS if form.columns <= found), None)


class Table(LabelFormat):
    """CSV files with the columns of RSNA, VinDr or LUNA16, or with plain boxes."""

    name = "CSV"

    def holds(self, source: LabelSource) -> bool:
        """Return whether the file is named ``.csv``, or starts with a known table's columns."""
        if source.is_folder or source.is_json:
            return False
        return source.has((".csv",)) or self.resembles(source) is not None

    def resembles(self, source: LabelSource) -> str | None:
        """Return the name of the kind of table whose columns are in the first line."""
        form = _form(column.strip(' "') for column in source.first_line.split(","))
        return form.name if form else None

    def read(self, source: LabelSource, ledger: Ledger) -> str:
        """Read a CSV file.

        In a plain table of boxes, with the columns ``file,x,y,w,h``, the category of a row is the
        first value that it has among ``category``, ``class``, ``class_name`` and ``label``, or
        else ``finding``. A row that names no image, or has too few or too many values, may belong
        to any image, so no image is then known to be empty.

        Raises:
            LabelError: The file cannot be read, or its columns are not those of a known table.
        """
        path = source.path
        try:
            if path.stat().st_size > _LARGEST_FILE:
                raise LabelError(f"{path}: is over 512 MB, too large for a label file")
            text = io.StringIO(path.read_text(encoding="utf-8-sig"))
            rows = csv.DictReader(text, skipinitialspace=True)
            columns = rows.fieldnames or ()
            form = _form(columns)
            if form is None:
                known = "; ".join(",".join(sorted(form.columns)) for form in _FORMS)
                raise LabelError(f"{path}: its columns are those of no known table: {known}")
            if twice := [name for name, count in Counter(columns).items() if name and count > 1]:
                raise LabelError(f"{path}: has the column {twice[0]!r} twice; keep one of them")
            ledger.files.append(path)
            for row in rows:
                where = f"{path.name}, line {rows.line_num}"
                with ledger.record(where):
                    form.read(where, _checked(row, form), path.parent, ledger)
        except OSError as error:
            raise LabelError(f"{path}: cannot be read: {error.strerror}") from error
        except UnicodeDecodeError:
            raise LabelError(f"{path}: is not text in UTF-8") from None
        except csv.Error as error:
            raise LabelError(f"{path}: is not CSV: {error}") from None
        return form.name


def _checked(row: Mapping[str | None, str | None], form: _Form) -> Row:
    """Return a row without the whitespace around its values."""
    if None in row or any(row[column] is None for column in form.columns):
        raise UnplacedError("has too few or too many values for the columns; ignored")
    return {name: (value or "").strip() for name, value in row.items() if name is not None}


def _slice(where: str, row: Row, column: str, folder: Path, ledger: Ledger) -> Slice:
    """Return the slice of a row, and add its patient to the ledger."""
    if not row[column]:
        raise UnplacedError(f"has no `{column}`; ignored")
    frame = row.get("frame") or None
    if frame is not None and not (frame.isdecimal() and len(frame) < 10):
        what = f"`frame` must be 0 or more but is {frame!r}; ignored"
        raise UnplacedError(what, ledger.index.series(row[column], folder))
    slice_ = ledger.index.slice(
        row[column], folder, row.get("medvae_key", ""), None if frame is None else int(frame)
    )
    ledger.add_patient(where, slice_, row)
    return slice_


def _add_sized(
    where: str,
    row: Row,
    columns: tuple[str, str, str, str],
    slice_: Slice,
    category: Category,
    ledger: Ledger,
) -> None:
    """Add a box given by its first corner and its size."""
    with ledger.record(where, on=[slice_]):
        x, y, width, height = (_number(row, column) for column in columns)
        ledger.add_box(where, slice_, category, Box(x, y, x + width, y + height))


def _number(row: Row, column: str) -> float:
    try:
        return float(row[column])
    except ValueError:
        raise UnusableError(
            f"`{column}` must be a number but is {row[column]!r}; ignored"
        ) from None
