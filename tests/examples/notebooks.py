"""Executes the notebooks; as a command, stores what they print and show.

python tests/examples/notebooks.py
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook

NOTEBOOKS = sorted((Path(__file__).resolve().parents[2] / "examples").glob("*.ipynb"))


@contextmanager
def kernel(folder: Path) -> Iterator[NotebookClient]:
    """Start a kernel in a folder, for several notebooks, which then import libraries once."""
    where = {"metadata": {"path": str(folder)}}
    client = NotebookClient(new_notebook(), timeout=600, resources=where, record_timing=False)
    with client.setup_kernel():
        yield client


def executed(path: Path, client: NotebookClient) -> NotebookNode:
    """Run a notebook without the names of others; return it with its outputs, but for warnings."""
    for notebook in (new_notebook(cells=[new_code_cell("%reset -f")]), nbformat.read(path, 4)):
        client.nb = notebook
        client.execute(cleanup_kc=False)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [one for one in cell.outputs if one.get("name") != "stderr"]
    return notebook


def main() -> None:
    """Run all and store them."""
    with tempfile.TemporaryDirectory() as folder, kernel(Path(folder)) as client:
        for path in NOTEBOOKS:
            nbformat.write(executed(path, client), path)


if __name__ == "__main__":
    main()
