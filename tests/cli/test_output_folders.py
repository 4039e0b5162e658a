"""What all commands have in common that write to a folder: it is theirs alone, and what is left."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from medvae.errors import UsageProblem
from medvae.transforms import TransplantBank
from medvae_cli.main import cli
from outcomes import only_error, room_for, tree
from phantoms import dicom_slice, save_series

COMMANDS = {
    "augment": "augment {studies} --labels {labels} --model {run} --out {out}",
    "audit": "audit --real {studies} --synthetic {synthetic} --model {run} --out {out}",
    "denoise": "denoise {studies} --model {run} --out {out}",
    "latent": "latent {studies} --model {run} --out {out}",
    "train": "train {studies} --variant plain --epochs 30 --batch-size 4 --no-amp --out {out}",
}


def command(name: str, **places: Path) -> list[str]:
    return [part.format(**places) for part in COMMANDS[name].split()]


def medvae(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [*map(str, arguments)])


def told(text: str) -> str:
    """Return what the one line of error says."""
    return only_error(text).removeprefix("Error: ")


def stop(
    process: ForkServerProcess, number: signal.Signals, begun: Callable[[], bool], errors: Path
) -> None:
    """Send a signal to a command as soon as it has begun to write; it ends with exit code 1."""
    while not begun():
        assert process.is_alive(), errors.read_text()
        time.sleep(0.002)
    assert process.pid is not None
    os.kill(process.pid, number)
    process.join()
    assert process.exitcode == 1


def lines_of(out: Path) -> list[dict[str, Any]]:
    """Return the lines of a manifest."""
    return [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]


@pytest.fixture
def places(studies: Path, run: Path, tmp_path: Path) -> dict[str, Path]:
    return {
        "studies": studies,
        "labels": studies / "coco.json",
        "synthetic": studies / "p0",
        "run": run,
        "out": tmp_path / "out",
    }


class TestInUse:
    """A lock that another process holds, taken as any program on any machine would take it."""

    @pytest.fixture
    def holder(self, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
        (tmp_path / "out").mkdir()
        script = (
            "import fcntl, sys, time; file = open(sys.argv[1], 'w'); fcntl.lockf(file, "
            "fcntl.LOCK_EX); file.write('process 7 on host'); file.flush(); print(); "
            "sys.stdout.flush(); time.sleep(600)"
        )
        process = subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path / "out" / ".medvae.lock")],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()
        with process:
            pass

    @pytest.mark.usefixtures("holder")
    @pytest.mark.parametrize(
        ("name", "more"),
        [*((name, ()) for name in COMMANDS), ("augment", ("--resume",)), ("train", ("--resume",))],
    )
    def test_is_refused(
        self, name: str, more: tuple[str, ...], places: dict[str, Path], tmp_path: Path
    ) -> None:
        result = medvae(*command(name, **places), *more)
        assert result.exit_code == 2
        assert told(result.stderr) == (
            f"{tmp_path / 'out'}: is in use by process 7 on host: wait until that run has ended, "
            "or choose another folder"
        )
        assert list(tree(tmp_path)) == ["out/.medvae.lock"]

    @pytest.mark.usefixtures("holder")
    def test_by_others_too(self, places: dict[str, Path]) -> None:
        assert "is in use by process 7" in told(medvae("demo", "--out", places["out"]).stderr)
        with pytest.raises(UsageProblem, match="is in use by process 7"):
            TransplantBank.build(
                places["out"], [places["studies"]], labels=places["labels"], model=places["run"]
            )

    def test_no_more_when_the_holder_is_killed(
        self, holder: subprocess.Popen[str], places: dict[str, Path]
    ) -> None:
        holder.kill()
        holder.wait()
        result = medvae(*command("denoise", **places))
        assert result.exit_code == 0, result.output
        assert {Path(name).suffix for name in tree(places["out"])} == {".gz"}


class TestInsideAnInput:
    @pytest.mark.parametrize(
        ("name", "more"), [*((name, ()) for name in COMMANDS), ("augment", ("--dry-run",))]
    )
    def test_is_refused(self, name: str, more: tuple[str, ...], places: dict[str, Path]) -> None:
        out = places["studies"] / "inside" / "out"
        result = medvae(*command(name, **places | {"out": out}), *more)
        assert result.exit_code == 2
        assert told(result.stderr) == (
            f"{out}: lies inside {places['studies']}, which is read, so later runs would take the "
            "results for scans: choose a folder outside of it"
        )
        assert not out.parent.exists()

    @pytest.mark.parametrize("option", ["--hosts", "--align-to"])
    def test_of_any_option(self, option: str, places: dict[str, Path], tmp_path: Path) -> None:
        (tmp_path / "more").mkdir()
        out = tmp_path / "more" / "out"
        given = command("augment", **places | {"out": out})
        result = medvae(*given, option, tmp_path / "more")
        assert result.exit_code == 2
        assert "lies inside" in told(result.stderr)

    def test_of_a_bank(self, places: dict[str, Path]) -> None:
        with pytest.raises(UsageProblem, match="lies inside"):
            TransplantBank.build(
                places["studies"] / "bank",
                [places["studies"]],
                labels=places["labels"],
                model=places["run"],
            )


def run_command(arguments: list[str], errors: Path) -> None:
    """Run the command line as a process of its own, with its errors in a file."""
    descriptor = os.open(errors, os.O_WRONLY | os.O_CREAT)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    cli(arguments)


Start = Callable[[list[str], str], ForkServerProcess]


@pytest.fixture
def start(fork: ForkServerContext, tmp_path: Path) -> Start:
    """Start a command, whose errors go to a file in ``tmp_path``."""

    def started(arguments: list[str], name: str) -> ForkServerProcess:
        process = fork.Process(target=run_command, args=(arguments, tmp_path / name))
        process.start()
        return process

    return started


@pytest.mark.slow
class TestProcesses:
    @pytest.mark.parametrize("count", [2, 3])
    def test_one_of_several_works_and_is_continued_when_it_is_killed(
        self,
        count: int,
        start: Start,
        places: dict[str, Path],
        tmp_path: Path,
    ) -> None:
        arguments = [*command("augment", **places), "--copies", "20", "--workers", "1"]
        running = [start(arguments, str(number)) for number in range(count)]
        while not (places["out"] / "manifest.jsonl").exists():
            assert any(process.is_alive() for process in running)
            time.sleep(0.01)
        late = start([*arguments, "--resume"], "late")
        late.join()
        (winner,) = (process for process in running if process.is_alive())
        winner.kill()
        winner.join()
        last = start([*arguments, "--resume"], "last")
        for process, name in zip([*running, late], [*map(str, range(count)), "late"], strict=True):
            if process is not winner:
                process.join()
                assert process.exitcode == 2
                line = told((tmp_path / name).read_text())
                assert f"is in use by process {winner.pid} on " in line
        last.join()
        assert last.exitcode == 0, (tmp_path / "last").read_text()
        lines = lines_of(places["out"])
        assert len(lines) == len({line["key"] for line in lines}) == 80

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_an_augmentation_that_is_stopped_keeps_what_is_finished(
        self,
        number: signal.Signals,
        start: Start,
        places: dict[str, Path],
        tmp_path: Path,
    ) -> None:
        arguments = [*command("augment", **places), "--copies", "20", "--workers", "2"]
        process, out = start(arguments, "errors"), places["out"]
        stop(process, number, (out / "manifest.jsonl").exists, tmp_path / "errors")
        lines = lines_of(out)
        said = re.fullmatch(
            rf"{out}: the run was stopped; (\d+) of (\d+) draws are finished: resume the run to "
            "continue it",
            told((tmp_path / "errors").read_text()),
        )
        assert said is not None
        assert 0 < len(lines) == int(said[1]) < int(said[2])
        # Nothing that was finished is made again: each picture has its line.
        pictures = {name for name in tree(out) if name.startswith("images/")}
        assert pictures == {name for line in lines for name in line["files"]}
        assert not (out / ".medvae.lock").exists()
        last = start([*arguments, "--resume"], "resumed")
        last.join()
        assert last.exitcode == 0, (tmp_path / "resumed").read_text()
        resumed = lines_of(out)
        assert resumed[: len(lines)] == lines
        assert len(resumed) == len({line["key"] for line in resumed}) == int(said[2])

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_a_training_that_is_stopped_says_so(
        self,
        number: signal.Signals,
        start: Start,
        places: dict[str, Path],
        tmp_path: Path,
    ) -> None:
        process, out = start(command("train", **places), "errors"), places["out"]
        last = out / "checkpoints" / "last.pt"
        stop(process, number, last.exists, tmp_path / "errors")
        *_, line = (tmp_path / "errors").read_text().splitlines()
        assert re.fullmatch(
            rf"Error: {out}: the run was stopped; \d+ epochs are finished: resume the run to "
            "continue it",
            line,
        )

    def test_a_command_without_resume_says_so(
        self,
        start: Start,
        run: Path,
        tmp_path: Path,
    ) -> None:
        random = np.random.default_rng(0)
        for patient in range(40):
            (tmp_path / "data" / f"p{patient}").mkdir(parents=True)
            pixels = random.integers(0, 255, (64, 64), "uint8")
            Image.fromarray(pixels).save(tmp_path / "data" / f"p{patient}" / "a.png")
        out = tmp_path / "out"
        places = {"studies": tmp_path / "data", "run": run, "out": out}
        process = start([*command("denoise", **places), "--format", "dicom,nifti,png"], "errors")
        stop(process, signal.SIGTERM, lambda: any(out.rglob("*.png")), tmp_path / "errors")
        assert re.fullmatch(
            rf"{out}: the run was stopped; \d+ of 40 series are finished, and this command cannot "
            "resume: repeat it with another folder",
            told((tmp_path / "errors").read_text()),
        )


class TestFullDisk:
    def test_stops_denoising(self, run: Path, tmp_path: Path) -> None:
        random = np.random.default_rng(0)
        for number in range(4):
            side = 40 if number == 2 else 20
            pixels = random.integers(0, 900, (3, side, side), "u2")
            save_series(
                tmp_path / "studies" / str(number),
                (
                    dicom_slice(i, pixels=p, series=f"1.{number}", PatientID=str(number))
                    for i, p in enumerate(pixels)
                ),
            )
        given = ("denoise", tmp_path / "studies", "--model", run)
        assert medvae(*given, "--out", tmp_path / "whole").exit_code == 0
        whole = tree(tmp_path / "whole")
        largest = max(whole, key=lambda name: len(whole[name]))
        out = tmp_path / "out"
        with room_for(len(whole[largest]) - 1):
            result = medvae(*given, "--out", out)
        assert result.exit_code == 1
        there = tree(out)
        assert told(result.stderr) == (
            f"{out / largest}: cannot be written: File too large; {len(there)} of 4 series are "
            "finished, and this command cannot resume: repeat it with another folder"
        )
        assert there.items() <= whole.items()
        assert len(there) < 3 or largest == list(whole)[-1]

    @pytest.mark.filterwarnings("ignore")
    @pytest.mark.parametrize(
        ("size", "said"),
        [
            (100, "nothing was written: repeat the command to start again"),
            (100_000, "no epoch is finished: resume the run to continue it"),
        ],
    )
    def test_stops_training(
        self, size: int, said: str, places: dict[str, Path], tmp_path: Path
    ) -> None:
        with room_for(size):
            result = medvae(*command("train", **places))
        assert result.exit_code == 1
        line = told(result.stderr)
        assert line.startswith(f"{places['out']}/")
        assert line.endswith(f": cannot be written: File too large; {said}")
        assert places["out"].exists() is (size > 100)
