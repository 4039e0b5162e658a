"""Read and write findings as YOLO: a text file of normalised boxes for each picture."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

import yaml

from medvae.atomic import write_text
from medvae.errors import LabelError, ReadError, WriteError
from medvae.geometry import Box
from medvae.labels._format import LabelFormat, LabelledImage, LabelSource
from medvae.labels._ledger import Ledger, Record
from medvae.labels._match import SliceIndex, UnusableError, stem
from medvae.labels._seg import is_segmentation
from medvae.records import Category, Finding, Slice
from medvae.schema import below

_CLASS_FILES = ("classes.txt", "obj.names", "data.yaml")

_LARGEST_FILE = 16 * 2**20
_NUMBER = re.compile(r"[0-9]{1,9}")


def _is_box(line: str) -> bool:
    """Return whether a line consists of a class number and a normalised box."""
    number, *sides = line.split() or [""]
    try:
        return number.isdigit() and len(sides) == 4 and all(0 <= float(s) <= 1 for s in sides)
    except ValueError:
        return False


class Yolo(LabelFormat):
    """YOLO format: a text file of normalised boxes for each picture."""

    name = "YOLO"
    option = "yolo"
    file_per_image = True

    def holds(self, source: LabelSource) -> bool:
        """Return whether the source is a text file, or a folder with a file of boxes.

        An empty file in a folder means that there is nothing on its picture.
        """
        if source.is_folder:
            return any(_may_hold_boxes(file) for file in source.files)
        return source.has((".txt",)) and not is_segmentation(source.path)

    def resembles(self, source: LabelSource) -> str | None:
        """Return the format's name if a file lists class names, or its first line is a box."""
        if source.path.name in _CLASS_FILES:
            return self.name
        is_boxes = source.has((".txt",)) and _is_box(source.first_line)
        return self.name if is_boxes else None

    def write(self, folder: Path, images: Sequence[LabelledImage]) -> None:
        write_yolo(folder / "yolo", images)

    def read(self, source: LabelSource, ledger: Ledger) -> str:
        """Read a file of boxes, or a folder of them beside or parallel to the pictures.

        The picture of an empty file is known to be empty. The class names are taken from
        ``classes.txt``, ``obj.names`` or the ``names`` of ``data.yaml``, in the folder or in one
        of the two above it.
        """
        folder = source.folder
        names = _class_names(folder, ledger)
        for file in source.files:
            if not file.name.endswith(".txt") or file.name in _CLASS_FILES:
                continue
            where = file.relative_to(folder).as_posix()
            with ledger.record(where) as record:
                slice_ = _slice(where, folder, ledger.index)
                ledger.claim(file, slice_)
                lines = _text(file).splitlines()
                ledger.files.append(file)
                record.slices = [slice_]
                record.mention()
                for number, line in enumerate(lines, start=1):
                    with ledger.record(f"{where}, line {number}", slice_) as entry:
                        if fields := line.split():
                            _read_line(entry, fields, names, slice_.shape)
        return self.name


def _may_hold_boxes(path: Path) -> bool:
    """Return whether a file in a folder is empty, or begins with a box."""
    if not path.name.endswith(".txt") or path.name in _CLASS_FILES:
        return False
    try:
        line = LabelSource(path, (path,)).first_line
    except OSError:
        return False
    return not line or _is_box(line)


def _slice(where: str, folder: Path, index: SliceIndex) -> Slice:
    """Find the picture of a file: beside it, in ``images`` for ``labels``, or of the same name."""
    beside = str((folder / stem(where)).absolute())
    parallel = re.sub(r"(.*)/labels/", r"\1/images/", beside)
    names = (beside, parallel, stem(where))
    return index.slice(next((n for n in names if index.files(n, folder)), names[-1]), folder)


def _read_line(
    record: Record, fields: Sequence[str], names: Mapping[int, str] | None, shape: tuple[int, int]
) -> None:
    try:
        number = int(fields[0])
        x, y, width, height = (float(field) for field in fields[1:])
    except ValueError:
        raise UnusableError("is not `class xc yc w h`; ignored") from None
    if names is not None and number not in names:
        raise UnusableError(f"its class {number} has no name; ignored")
    rows, columns = shape
    x0, y0 = (x - width / 2) * columns, (y - height / 2) * rows
    box = Box(x0, y0, (x + width / 2) * columns, (y + height / 2) * rows)
    record.add(Category(f"class_{number}" if names is None else names[number]), box)


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise UnusableError("is too large to hold the boxes of one image; ignored")
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UnusableError(f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise UnusableError("is not text; ignored") from None


def _class_names(folder: Path, ledger: Ledger) -> dict[int, str] | None:
    """Return the class names by number, or None if no file has them.

    Raises:
        LabelError: The file that should contain them cannot be read.
    """
    above = (folder, *folder.absolute().parents[:2])
    for path in (place / name for place in above for name in _CLASS_FILES):
        if not path.is_file():
            continue
        try:
            names = _yaml_names(_text(path)) if path.suffix == ".yaml" else _listed(_text(path))
        except UnusableError as error:
            raise LabelError(f"{path}: {error}") from None
        if names:
            ledger.files.append(path)
            return names
    return None


def _listed(text: str) -> dict[int, str]:
    return {n: line.strip() for n, line in enumerate(text.splitlines()) if line.strip()}


def _yaml_names(text: str) -> dict[int, str]:
    """Return the class names in a data set's YAML file, given as a list or by number."""
    try:
        root = yaml.compose(text, Loader=yaml.BaseLoader)
    except (yaml.YAMLError, RecursionError) as error:
        raise UnusableError(f"is not YAML: {str(error).splitlines()[0]}") from None
    entries = root.value if isinstance(root, yaml.MappingNode) else []
    found = next((value for key, value in entries if key.value == "names"), None)
    pairs: list[tuple[object, yaml.Node]] = []
    if isinstance(found, yaml.MappingNode):
        pairs = [(key.value, value) for key, value in found.value]
    elif isinstance(found, yaml.SequenceNode):
        pairs = [(str(number), value) for number, value in enumerate(found.value)]
    names: dict[int, str] = {}
    for key, value in pairs:
        if not isinstance(key, str) or not _NUMBER.fullmatch(key):
            raise UnusableError("`names` must be a list, or have numbers from 0 as its keys")
        number = int(key)
        if not isinstance(value, yaml.ScalarNode):
            raise UnusableError(f"the name of class {number} is not text; give each class a name")
        if number in names:
            raise UnusableError(f"names the class {number} twice; keep one of them")
        names[number] = value.value
    return names


def write_yolo(folder: str | Path, images: Sequence[LabelledImage]) -> None:
    """Write ``classes.txt``, and a file of boxes for each image under the image's own path.

    The file of an image with nothing on it is empty. YOLO has no supercategories.

    Raises:
        WriteError: Two images would share a file, a file would lie outside the folder, or the
            file system refuses to write a file.
    """
    folder = Path(folder)
    names = sorted({_one_line(f.category) for image in images for f in image.labels})
    numbers = {name: number for number, name in enumerate(names)}
    listed = "".join(f"{name}\n" for name in names)
    texts = {folder / "classes.txt": ("the names of the classes", listed)}
    for image in images:
        file = PurePosixPath(image.file)
        try:
            path = below(folder, str(file.parent / f"{stem(file.name)}.txt"))
        except ReadError as error:
            raise WriteError(f"{error}: its labels would be written elsewhere") from error
        if path in texts:
            raise WriteError(f"{path}: would hold both {texts[path][0]} and {image.file}")
        lines = (_line(f, numbers[_one_line(f.category)], image.shape) for f in image.labels)
        texts[path] = (image.file, "".join(lines))
    for path, (_, text) in texts.items():
        write_text(path, text)


def _one_line(category: Category) -> str:
    return " ".join(category.name.split())


def _line(finding: Finding, number: int, shape: tuple[int, int]) -> str:
    rows, columns = shape
    x0, y0, x1, y1 = finding.box
    centre = ((x0 + x1) / 2 / columns, (y0 + y1) / 2 / rows)
    values = (*centre, finding.box.width / columns, finding.box.height / rows)
    return " ".join([str(number), *(f"{value:.10f}" for value in values)]) + "\n"
