"""Files made to harm: each costs one clear line, and nothing else."""

from __future__ import annotations

import gzip
import os
import shutil
import signal
import struct
import subprocess
import sys
import threading
import time
import zlib
from pathlib import Path

import nibabel
import numpy as np
import pytest
from pydicom import uid as uids
from pydicom.config import disable_value_validation

from medvae.errors import DecodeError
from medvae.readers import (
    Decoded,
    FileHeader,
    FileReport,
    _limits,
    open_studies,
    read_pixels,
)
from medvae.readers._workers import Workers
from medvae.records import Source
from phantoms import dicom_slice, outcomes, reasons, save, save_series


@pytest.fixture
def good(tmp_path: Path) -> Path:
    """A folder with a series that must be read whatever lies beside it."""
    save_series(tmp_path / "good", [dicom_slice(i) for i in range(3)])
    return tmp_path


def check(folder: Path, outcome: str, reason: str) -> None:
    """Assert what became of the one file beside the good series, which is read as ever."""
    scan = open_studies([folder])
    others = [report for report in scan.files if report.path.parent.name != "good"]
    assert [(report.outcome, report.reason) for report in others] == [(outcome, reason)]
    assert len(list(scan.slices)) == 3
    assert all(item.pixels().stored.size for item in scan.slices)


def test_a_header_that_announces_a_huge_picture(good: Path) -> None:
    save(dicom_slice(series="1.9", Rows=60000, Columns=60000), good / "huge")
    check(good, "refused", "its header states 60000x60000 pixels; at most 67108864 are allowed")


def test_a_header_that_announces_many_frames(good: Path) -> None:
    save(dicom_slice(series="1.9", NumberOfFrames=2**31 - 1), good / "long")
    check(
        good, "refused", "it is truncated: only 240 of 515396075280 bytes of pixel data are present"
    )


@pytest.mark.slow
def test_a_deflated_bomb(good: Path) -> None:
    dataset = dicom_slice(series="1.9")
    dataset.file_meta.TransferSyntaxUID = uids.DeflatedExplicitVRLittleEndian
    head = save(dataset, good / "bomb").read_bytes()
    start = 144 + int.from_bytes(head[140:144], "little")
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    size = 2**29
    body = deflate.compress(struct.pack("<HH2sHL", 0x0009, 0x0010, b"OB", 0, size))
    body += b"".join(deflate.compress(bytes(2**24)) for _ in range(size // 2**24))
    (good / "bomb").write_bytes(head[:start] + body + deflate.flush())
    assert (good / "bomb").stat().st_size < 600_000
    with Workers(1, memory=2**30) as workers:
        assert workers.ask(good / "bomb") == FileReport(
            good / "bomb", "refused", "it is deflated and inflates to more than 256 MiB"
        )


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_a_name_that_is_a_path(good: Path) -> None:
    before = sorted(good.parent.rglob("*"))
    dataset = dicom_slice(series="1.9")
    with disable_value_validation():
        dataset.SOPInstanceUID = "../../x"
        save(dataset, good / "path")
    scan = open_studies([good])
    keys = {item.key for item in scan.slices}
    assert len(keys) == 4
    assert all(key.isalnum() for key in keys)
    assert sorted(good.parent.rglob("*")) == sorted([*before, good / "path"])


def test_sequences_nested_deeply(good: Path) -> None:
    depth = 5000
    item = b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    sequence = b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff"
    head = save(dicom_slice(series="1.9"), good / "deep").read_bytes()
    start = 144 + int.from_bytes(head[140:144], "little")
    (good / "deep").write_bytes(head[:start] + (sequence + item) * depth)
    scan = open_studies([good])
    assert outcomes(scan)["deep"] in ("refused", "skipped")
    assert len(list(scan.slices)) == 3


def test_a_loop_of_links(good: Path) -> None:
    (good / "good" / "again").symlink_to(good)
    scan = open_studies([good])
    (report,) = (report for report in scan.files if report.path.name == "again")
    assert report.outcome == "skipped"
    assert report.reason == f"it is the same folder as {good}, which was found before"
    assert len(scan.files) == 4


def test_links_to_nowhere_and_to_themselves(good: Path) -> None:
    (good / "nowhere").symlink_to(good / "not there")
    (good / "itself").symlink_to(good / "itself")
    scan = open_studies([good])
    assert {name: reasons(scan)[name] for name in ("nowhere", "itself")} == {
        "nowhere": "it is a broken link",
        "itself": "it is a broken link",
    }


def test_a_pipe_is_not_waited_for(good: Path) -> None:
    os.mkfifo(good / "pipe")
    check(good, "skipped", "it is not a regular file")


def test_what_may_not_be_read(good: Path) -> None:
    save(dicom_slice(series="1.9"), good / "closed")
    (good / "closed").chmod(0)
    save(dicom_slice(series="1.8"), good / "closed folder" / "inside")
    (good / "closed folder").chmod(0)
    script = (
        "import sys; from medvae.readers import open_studies\n"
        "for r in open_studies(sys.argv[1:]).files: print(r.path.name, r.outcome, r.reason)"
    )
    as_user = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]
    if os.geteuid() != 0:
        as_user = []  # only the superuser must first give up reading everything
    elif shutil.which("setpriv") is None:
        pytest.skip("the superuser may read everything")
    try:
        command = [*as_user, sys.executable, "-c", script, str(good)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    finally:
        (good / "closed folder").chmod(0o755)
    assert "closed refused Permission denied\n" in done.stdout
    assert "closed folder refused it cannot be read: Permission denied\n" in done.stdout
    assert done.stdout.count(" read ") == 3


@pytest.mark.slow
def test_nothing_is_imported_from_the_current_folder(good: Path) -> None:
    for name in ("numpy", "json", "pydicom"):
        (good / f"{name}.py").write_text(f"open({str(good / 'touched')!r}, 'w')")
    command = [str(Path(sys.executable).with_name("medvae")), "inspect", "."]
    done = subprocess.run(command, cwd=good, capture_output=True, text=True, check=True)
    assert "files: 3 read, 3 skipped, 0 refused" in done.stdout
    assert not (good / "touched").exists()


def test_names_that_are_too_long(good: Path) -> None:
    home = Path.cwd()
    os.chdir(good)
    try:
        for _ in range(25):
            Path("x" * 200).mkdir()
            os.chdir("x" * 200)
    finally:
        os.chdir(home)
    scan = open_studies([good])
    assert len(list(scan.slices)) == 3
    (report,) = (r for r in scan.files if r.path.parent.name != "good")
    assert (report.outcome, report.reason) == ("refused", "it cannot be read: File name too long")


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        (
            {"ImagePositionPatient": [0, 0, -1.7e308]},
            "its position is over a kilometre from the origin",
        ),
        ({"PixelSpacing": [1e-300, 1e-300]}, "its pixel size in millimetres is impossible"),
        ({"PixelSpacing": [1e300, 1e300]}, "its pixel size in millimetres is impossible"),
        ({"RescaleSlope": "nan"}, "its RescaleSlope is nan, which is not a usable number"),
        ({"RescaleIntercept": "1e300"}, "its RescaleIntercept is "),
        ({"PixelRepresentation": None}, "its header has no usable PixelRepresentation"),
        ({"BitsAllocated": 12}, "its pixels have 12 bits each"),
    ],
)
@pytest.mark.filterwarnings("ignore:Invalid value for VR DS")
def test_absurd_numbers(good: Path, attributes: dict[str, object], reason: str) -> None:
    with disable_value_validation():
        save(dicom_slice(series="1.9", **attributes), good / "absurd")
    scan = open_studies([good])
    assert reasons(scan)["absurd"].startswith(reason)
    assert len(list(scan.slices)) == 3


class TestWorkers:
    def kill_always(self, workers: Workers, enough: threading.Event) -> None:
        while not enough.wait(0.3):
            workers._workers[0].kill()

    def test_a_worker_that_is_ended_from_outside_is_replaced(self, good: Path) -> None:
        with Workers(1) as workers:
            paths = sorted((good / "good").iterdir())
            assert isinstance(workers.ask(paths[0]), FileHeader)
            workers._workers[0].kill()
            time.sleep(0.2)
            assert isinstance(workers.ask(paths[1]), FileHeader)

    def test_closing_does_not_wait_for_what_hangs(self, good: Path) -> None:
        os.mkfifo(good / "pipe")
        workers = Workers(1)
        asked = threading.Thread(target=workers.ask_many, args=([good / "pipe"] * 3,))
        asked.start()
        time.sleep(0.5)
        start = time.monotonic()
        workers.close()
        workers.close()
        asked.join()
        assert time.monotonic() - start < 10

    @pytest.mark.slow
    def test_a_file_that_is_replaced_is_read_again(self, good: Path) -> None:
        os.mkfifo(good / "file")
        with Workers(1, seconds=1.5) as workers:
            assert outcome(workers.ask(good / "file")) == "refused"
            (good / "file").unlink()
            save(dicom_slice(series="1.9"), good / "file")
            assert isinstance(workers.ask(good / "file"), FileHeader)

    @pytest.mark.slow
    def test_a_hang_costs_one_file(self, good: Path) -> None:
        os.mkfifo(good / "pipe")  # opening it waits for a writer who never comes
        with Workers(1, seconds=0.5) as workers:
            start = time.monotonic()
            assert workers.ask(good / "pipe") == FileReport(
                good / "pipe", "refused", "reading it made no progress for 1.5 seconds"
            )
            assert outcome(workers.ask(good / "pipe")) == "refused"
            assert time.monotonic() - start < 10
        with Workers(1) as workers:
            assert isinstance(workers.ask(next((good / "good").iterdir())), FileHeader)

    @pytest.mark.slow
    def test_a_process_that_gets_no_processor_is_waited_for(self, good: Path) -> None:
        with Workers(1, seconds=3) as workers:
            first, second = sorted((good / "good").iterdir())[:2]
            assert isinstance(workers.ask(first), FileHeader)
            process = workers._workers[0]._process
            assert process is not None
            process.send_signal(signal.SIGSTOP)
            go_on = threading.Timer(4.5, process.send_signal, [signal.SIGCONT])
            go_on.start()
            assert isinstance(workers.ask(second), FileHeader)
            go_on.join()

    @pytest.mark.slow
    def test_a_file_that_takes_too_much_processor_time_costs_itself(self, good: Path) -> None:
        voxels = np.zeros((8, 8, 8), "int16")
        nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), good / "a.nii.gz")
        with (good / "a.nii.gz").open("ab") as file:
            file.write(gzip.compress(bytes(2**24)) * 2000)
        with Workers(1, seconds=1) as workers:
            assert workers.ask(Source(good / "a.nii.gz", "nifti")) == FileReport(
                good / "a.nii.gz",
                "refused",
                "reading it takes more processor time than is allowed for its size",
            )

    @pytest.mark.slow
    def test_a_crash_costs_one_file(self, good: Path) -> None:
        os.mkfifo(good / "pipe")
        with Workers(1) as workers:
            assert isinstance(workers.ask(next((good / "good").iterdir())), FileHeader)
            asked = threading.Event()
            killer = threading.Thread(target=self.kill_always, args=(workers, asked))
            killer.start()
            assert workers.ask(good / "pipe") == FileReport(
                good / "pipe", "refused", "it crashed the process that read it (exit code -9)"
            )
            asked.set()
            killer.join()
            assert isinstance(workers.ask(next((good / "good").iterdir())), FileHeader)

    def test_a_file_that_takes_too_much_memory_costs_itself(self, good: Path) -> None:
        voxels = np.zeros((8, 8, 8), "int16")
        nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), good / "large.nii")
        header = nibabel.load(good / "large.nii").header
        header.set_data_shape((1000, 1000, 400))
        with (good / "large.nii").open("r+b") as file:
            file.write(header.binaryblock)
            file.truncate(352 + 2 * 1000 * 1000 * 400)
        with Workers(1, memory=2**29) as workers:
            answer = workers.ask(Source(good / "large.nii", "nifti"))
            assert isinstance(answer, FileReport)
            assert answer.outcome == "refused"
            assert answer.reason.startswith(
                "it takes 0.7 GiB in memory, more than the 0.5 GiB that each reading process may"
            )
            assert isinstance(workers.ask(next((good / "good").iterdir())), FileHeader)

    def test_a_compressed_volume_takes_its_size_once(self, good: Path) -> None:
        size = 2**27
        voxels = np.zeros((512, 512, size // 2**19), "int16")
        nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), good / "a.nii.gz")
        with Workers(1) as workers:
            assert isinstance(workers.ask(good / "a.nii.gz"), FileHeader)
            before = peak_memory(workers)
            assert isinstance(workers.ask(Source(good / "a.nii.gz", "nifti")), Decoded)
            assert size < peak_memory(workers) - before < 1.5 * size


def outcome(answer: object) -> str:
    """Return the outcome for a file that was not read."""
    assert isinstance(answer, FileReport)
    return answer.outcome


def peak_memory(workers: Workers) -> int:
    """Return the most bytes that the one worker has held at a time."""
    process = workers._workers[0]._process
    assert process is not None
    status = Path(f"/proc/{process.pid}/status").read_text()
    (peak,) = (line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))
    return 1024 * int(peak)


def test_a_codestream_that_claims_another_size_is_not_decoded(good: Path) -> None:
    dataset = dicom_slice(series="1.9", pixels=np.zeros((64, 48), "u2"))
    dataset.compress(uids.JPEG2000Lossless, generate_instance_uid=False)
    data = bytearray(save(dataset, good / "large").read_bytes())
    at = data.index(b"\xff\x4f\xff\x51") + 8
    for place in (at, at + 4, at + 16, at + 20):  # the picture, and its only tile
        data[place : place + 4] = (46000).to_bytes(4)
    (good / "large").write_bytes(data)
    scan = open_studies([good / "large"])
    ((_, pixels),) = read_pixels(scan.slices)
    assert isinstance(pixels, DecodeError)
    assert str(pixels) == (
        f"{good / 'large'}: its compressed pixels claim a size of 46000x46000, but its header "
        "states 64x48"
    )


@pytest.mark.parametrize(
    ("gib", "processors", "workers", "share"),
    [(2, 8, 1, 1.0), (8, 8, 3, 4 / 3), (16, 4, 4, 2.0), (64, 32, 8, 4.0)],
)
def test_memory_is_shared_by_the_workers(
    monkeypatch: pytest.MonkeyPatch, gib: int, processors: int, workers: int, share: float
) -> None:
    monkeypatch.setattr("medvae.readers._limits.machine_memory", lambda: gib * 2**30)
    monkeypatch.setattr("os.cpu_count", lambda: processors)
    assert _limits.default_workers() == workers
    assert _limits.memory_per_worker(workers) == int(share * 2**30)


def test_a_hard_link_is_read_once(good: Path) -> None:
    first = sorted((good / "good").iterdir())[0]
    (good / "good" / "z").hardlink_to(first)
    scan = open_studies([good])
    assert len(list(scan.slices)) == 3
    assert outcomes(scan)["z"] == "skipped"
    assert reasons(scan)["z"] == f"it is the same file as {first}, which was found before"


def test_a_linked_folder_that_was_visited_is_told_once(good: Path) -> None:
    (good / "z").symlink_to(good / "good")
    scan = open_studies([good])
    assert len(list(scan.slices)) == 3
    assert reasons(scan)["z"] == f"it is the same folder as {good / 'good'}, which was found before"
