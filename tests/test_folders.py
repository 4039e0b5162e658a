"""A folder belongs to one run at a time, and is free again when that ends, however it ends."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from medvae.errors import Stopped, UsageProblem, WriteError
from medvae.folders import LOCK, clear, contents, output

CONTENDER = """
import sys, time
from pathlib import Path
from medvae.errors import UsageProblem
from medvae.folders import output
print("ready", flush=True)
for line in sys.stdin:
    try:
        with output(Path(line.rstrip())):
            print("has it", flush=True)
            sys.stdin.readline()
        print("gave it back", flush=True)
    except UsageProblem as error:
        print(error, flush=True)
        sys.stdin.readline()
        print("went away", flush=True)
"""
"""Takes the folders that it is told of, each until the next line."""


class Contender:
    """A process that wants a folder."""

    def __init__(self, script: str = CONTENDER) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.hear() == "ready"

    def tell(self, line: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def hear(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip()

    def end(self) -> None:
        self.process.kill()
        with self.process:
            pass


@pytest.fixture
def contenders() -> Iterator[list[Contender]]:
    several = [Contender() for _ in range(3)]
    yield several
    for one in several:
        one.end()


@pytest.mark.parametrize("count", [2, 3])
def test_of_several_that_start_at_once_one_has_it(
    contenders: list[Contender], tmp_path: Path, count: int
) -> None:
    wanting = contenders[:count]
    for number in range(20):
        folder = tmp_path / "not" / "there" / str(number)
        for one in wanting:
            one.tell(folder)
        heard = {one: one.hear() for one in wanting}
        (winner,) = (one for one, said in heard.items() if said == "has it")
        holder = f"process {winner.process.pid} on {os.uname().nodename}"
        for one, said in heard.items():
            if one is not winner:
                # The number is written just after the lock was taken.
                assert said in [
                    f"{folder}: is in use by {who}: wait until that run has ended, or choose "
                    "another folder"
                    for who in (holder, "another process")
                ]
        for one in wanting:
            one.tell("")
        assert {one.hear() for one in wanting} == {"gave it back", "went away"}
        assert not any((tmp_path / "not").rglob("*.lock"))


def test_taking_and_leaving_it_all_the_time(tmp_path: Path) -> None:
    script = """
import sys, time
from pathlib import Path
from medvae.errors import UsageProblem
from medvae.folders import output
print("ready", flush=True)
folder, mine = Path(sys.stdin.readline().rstrip()), 0
while mine < 100:
    try:
        with output(folder):
            (folder / "mine").touch(exist_ok=False)
            (folder / "mine").unlink()
            mine += 1
    except UsageProblem as error:
        assert "is in use by" in str(error), error
print("done", flush=True)
"""
    several = [Contender(script) for _ in range(3)]
    for one in several:
        one.tell(tmp_path / "out")
    try:
        assert [one.hear() for one in several] == ["done"] * 3
    finally:
        for one in several:
            one.end()
    assert not any(tmp_path.rglob("*.lock"))


def test_is_free_when_its_holder_is_killed_though_a_worker_lives_on(tmp_path: Path) -> None:
    script = """
import os, sys, time
from pathlib import Path
from medvae.folders import output
with output(Path(sys.argv[1])):
    worker = os.fork()
    if not worker:
        time.sleep(600)
    print(worker, flush=True)
    time.sleep(600)
"""
    holder = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "out")], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    worker = int(holder.stdout.readline())
    try:
        with pytest.raises(UsageProblem, match=f"is in use by process {holder.pid} on "):
            output(tmp_path / "out").__enter__()
        holder.kill()
        holder.wait()
        assert Path(f"/proc/{worker}").exists()
        with output(tmp_path / "out") as own:
            assert contents(own.path) == []
    finally:
        os.kill(worker, signal.SIGKILL)
        holder.stdout.close()
    assert not (tmp_path / "out" / LOCK).exists()


def test_threads_of_one_process_are_kept_apart(tmp_path: Path) -> None:
    heard: list[str] = []

    def want(folder: Path) -> None:
        try:
            with output(folder):
                heard.append("has it")
        except UsageProblem as error:
            heard.append(str(error))

    (tmp_path / "link").symlink_to(tmp_path)
    with output(tmp_path / "out"):
        for folder in (tmp_path / "out", tmp_path / "link" / "out", tmp_path / "other"):
            thread = threading.Thread(target=want, args=(folder,))
            thread.start()
            thread.join()
        # Nor has it cost this process its lock.
        other = Contender()
        other.tell(tmp_path / "out")
        assert f"is in use by process {os.getpid()} on" in other.hear()
        other.end()
    assert ["is in use by this process" in said for said in heard] == [True, True, False]
    want(tmp_path / "out")
    assert heard[2:] == ["has it"] * 2


def test_what_is_not_ours_stays(tmp_path: Path) -> None:
    with output(tmp_path) as own:
        (own.path / "result").touch()
        assert contents(own.path) == [tmp_path / "result"]
    assert list(tmp_path.iterdir()) == [tmp_path / "result"]
    with pytest.raises(UsageProblem, match="is not empty, and nothing is overwritten"):
        output(tmp_path).__enter__()
    assert list(tmp_path.iterdir()) == [tmp_path / "result"]
    with output(tmp_path, fresh=False) as own:
        clear(own.path)
        assert list(tmp_path.iterdir()) == [tmp_path / LOCK]
    (tmp_path / "thesis").touch()
    (tmp_path / LOCK).symlink_to(tmp_path / "thesis")
    with pytest.raises(WriteError):
        output(tmp_path, fresh=False).__enter__()
    assert (tmp_path / "thesis").exists()


def test_where_locks_are_not_supported_the_user_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", refuse)
    with output(tmp_path / "out") as own:
        (own.path / "result").touch()
    assert caplog.messages == [
        f"{tmp_path / 'out'}: the file system supports no locks: make sure that no other run "
        "writes there"
    ]
    assert contents(tmp_path / "out") == [tmp_path / "out" / "result"]


class TestInsideAnInput:
    @pytest.mark.parametrize("out", ["data", "data/out", "link/out", "data/../data/a/b"])
    def test_is_refused(self, tmp_path: Path, out: str) -> None:
        (tmp_path / "data").mkdir()
        (tmp_path / "link").symlink_to(tmp_path / "data")
        with pytest.raises(UsageProblem, match=r"lies inside .*data, which is read"):
            output(tmp_path / out, [tmp_path / "data"]).__enter__()
        assert list((tmp_path / "data").iterdir()) == []

    def test_which_is_the_working_directory(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        with pytest.raises(UsageProblem, match=r"^out: lies inside \., which is read"):
            output(Path("out"), ["."]).__enter__()

    def test_beside_files_that_are_given_themselves_is_fine(self, tmp_path: Path) -> None:
        (tmp_path / "scan.dcm").touch()
        (tmp_path / "data").mkdir()
        with output(tmp_path / "database", [tmp_path / "scan.dcm", tmp_path / "data", None]):
            pass


class TestWhatIsLeft:
    @pytest.mark.parametrize(
        ("written", "resumable", "said"),
        [
            (False, True, "nothing was written: repeat the command to start again"),
            (True, True, "3 of 8 are finished: resume the run to continue it"),
            (
                True,
                False,
                "3 of 8 are finished, and this command cannot resume: repeat it with another "
                "folder",
            ),
        ],
    )
    def test_is_told(self, tmp_path: Path, written: bool, resumable: bool, said: str) -> None:
        def run(error: BaseException) -> None:
            with output(tmp_path / "out", fresh=False, resumable=resumable) as own:
                own.finished = "3 of 8 are finished"
                if written:
                    (own.path / "result").touch()
                raise error

        with pytest.raises(Stopped) as stopped:
            run(KeyboardInterrupt())
        assert str(stopped.value) == f"{tmp_path / 'out'}: the run was stopped; {said}"
        with pytest.raises(WriteError) as full:
            run(WriteError("out/x: cannot be written: No space left on device"))
        assert str(full.value) == f"out/x: cannot be written: No space left on device; {said}"
        assert (tmp_path / "out").exists() is written

    def test_of_a_run_inside_another_is_told_once(self, tmp_path: Path) -> None:
        def run(error: BaseException) -> None:
            with output(tmp_path), output(tmp_path / "inner", fresh=False, resumable=True):
                (tmp_path / "inner" / "result").touch()
                raise error

        left = "what is finished is kept, and this command cannot resume: repeat it with another"
        with pytest.raises(WriteError, match=f"^no room; {left} folder$"):
            run(WriteError("no room"))
        clear(tmp_path)
        with pytest.raises(Stopped, match=f"^{tmp_path}: the run was stopped; {left} folder$"):
            run(KeyboardInterrupt())
