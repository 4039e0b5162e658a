"""Read boxes and spheres from CSV files with the columns of public data sets."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from medvae.errors import LabelError
from medvae.geometry import Box
from medvae.labels._format import LabelFormat, LabelSource
from medvae.labels._ledger import Ledger, Record
from medvae.labels._match import UnplacedError, UnusableError
from medvae.labels._space import sphere_on
from medvae.records import Category

_LARGEST_FILE = 512 * 2**20

_OPACITY = Category("lung opacity", "lesion")
_NODULE = Category("nodule", "lesion")
_CATEGORY_COLUMNS = ("category", "class", "class_name", "label")

Row = Mapping[str, str]


def _read_rsna(record: Record, row: Row, folder: Path) -> None:
    """Read a row of RSNA pneumonia detection; ``Target`` 0 means that there is nothing."""
    _find(record, row, "patientId", folder)
    if row["Target"] not in ("0", "1"):
        raise UnusableError(f"`Target` must be 0 or 1 but is {row['Target']!r}; ignored")
    record.mention()
    if row["Target"] == "1":
        _add_sized(record, row, ("x", "y", "width", "height"), _OPACITY)


def _read_vindr(record: Record, row: Row, folder: Path) -> None:
    """Read a row of VinDr-CXR; the class ``No finding`` means that there is nothing."""
    _find(record, row, "image_id", folder)
    record.mention()
    if row["class_name"].casefold() == "no finding":
        return
    if not row["class_name"]:
        raise UnusableError("has no `class_name`; ignored")
    box = Box(*(_number(row, column) for column in ("x_min", "y_min", "x_max", "y_max")))
    record.add(Category(row["class_name"]), box)


def _read_luna(record: Record, row: Row, folder: Path) -> None:
    """Read a row of LUNA16: a sphere in LPS millimetres."""
    record.slices = record.ledger.index.series(row["seriesuid"], folder)
    record.mention()
    centre = [_number(row, column) for column in ("coordX", "coordY", "coordZ")]
    radius = _number(row, "diameter_mm") / 2
    record.add_solid(_NODULE, lambda slice_: sphere_on(slice_, centre, radius))


def _read_plain(record: Record, row: Row, folder: Path) -> None:
    """Read a row with a box on a file; a row without numbers means that there is nothing."""
    _find(record, row, "file", folder)
    record.mention()
    columns = ("x", "y", "w", "h")
    if any(row[column] for column in columns):
        named = next((row[column] for column in _CATEGORY_COLUMNS if row.get(column)), "finding")
        _add_sized(record, row, columns, Category(named))


_FORMS: Mapping[str, tuple[str, Callable[[Record, Row, Path], None]]] = {
    "RSNA": ("Target,height,patientId,width,x,y", _read_rsna),
    "VinDr": ("class_name,image_id,x_max,x_min,y_max,y_min", _read_vindr),
    "LUNA16": ("coordX,coordY,coordZ,diameter_mm,seriesuid", _read_luna),
    "boxes": ("file,h,w,x,y", _read_plain),
}
"""The columns that identify a kind of table, and the function that reads a row of it."""


def _form(columns: Iterable[str]) -> str | None:
    """Return the kind of table that has some columns."""
    found = set(columns)
    return next((name for name, (own, _) in _FORMS.items() if found >= {*own.split(",")}), None)


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
        return f"CSV ({form})" if form else None

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
                known = "; ".join(own for own, _ in _FORMS.values())
                raise LabelError(f"{path}: its columns are those of no known table: {known}")
            if twice := [name for name, count in Counter(columns).items() if name and count > 1]:
                raise LabelError(f"{path}: has the column {twice[0]!r} twice; keep one of them")
            ledger.files.append(path)
            own, read = _FORMS[form]
            for row in rows:
                with ledger.record(f"{path.name}, line {rows.line_num}") as record:
                    read(record, _checked(row, own.split(",")), path.parent)
        except UnicodeDecodeError:
            raise LabelError(f"{path}: is not text in UTF-8") from None
        except csv.Error as error:
            raise LabelError(f"{path}: is not CSV: {error}") from None
        return f"CSV ({form})"


def _checked(row: Mapping[str | None, str | None], columns: Iterable[str]) -> Row:
    """Return a row without the whitespace around its values."""
    if None in row or any(row[column] is None for column in columns):
        raise UnplacedError("has too few or too many values for the columns; ignored")
    return {name: (value or "").strip() for name, value in row.items() if name is not None}


def _find(record: Record, row: Row, column: str, folder: Path) -> None:
    """Find the slice of a row, and add its patient to the ledger."""
    if not row[column]:
        raise UnplacedError(f"has no `{column}`; ignored")
    slices, frame = record.ledger.index, row.get("frame") or None
    if frame is not None and not (frame.isdecimal() and len(frame) < 10):
        what = f"`frame` must be 0 or more but is {frame!r}; ignored"
        raise UnplacedError(what, slices.series(row[column], folder))
    number = None if frame is None else int(frame)
    record.slices = [slices.slice(row[column], folder, row.get("medvae_key", ""), number)]
    record.add_patient(row)


def _add_sized(
    record: Record, row: Row, columns: tuple[str, str, str, str], category: Category
) -> None:
    """Add a box given by its first corner and its size."""
    x, y, width, height = (_number(row, column) for column in columns)
    record.add(category, Box(x, y, x + width, y + height))


def _number(row: Row, column: str) -> float:
    try:
        return float(row[column])
    except ValueError:
        raise UnusableError(
            f"`{column}` must be a number but is {row[column]!r}; ignored"
        ) from None
