"""Denoising: what is written has the source's size, units and padding, and less noise."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from pydicom import dcmread
from pydicom import uid as uids

from medvae.denoising import denoise
from medvae.errors import ReadError, UsageProblem
from medvae.intensity import model_image
from medvae.networks import (
    ConvDecoder,
    GrayToColor,
    PlainEncoder,
    SliceVAE,
    SpatialLatent,
    VectorLatent,
    save_model,
)
from medvae.readers import open_studies
from outcomes import tree
from phantoms import dicom_slice, save, save_series

SIDE = 16


def tiny_model(latent: Any = None, out_channels: int = 1) -> SliceVAE:
    """Make a network for slices of 16x16 with random weights, always the same."""
    torch.manual_seed(0)
    return SliceVAE(
        GrayToColor(),
        PlainEncoder((8, 16)),
        latent or VectorLatent(size=8, squeeze=4),
        ConvDecoder((16, 12)),
        image_size=SIDE,
        out_channels=out_channels,
    )


def gray_model(out_channels: int = 1) -> SliceVAE:
    """Make a network that sees 0.5 everywhere, whatever it is shown."""
    model = tiny_model(out_channels=out_channels)
    torch.nn.init.zeros_(model.decoder.out.weight)
    torch.nn.init.zeros_(model.decoder.out.bias)
    return model


def save_run(
    folder: Path, model: SliceVAE, intensity: str | None = None, modalities: tuple[str, ...] = ()
) -> Path:
    """Save a model as the bundle that training leaves."""
    save_model(model.eval(), folder / "models")
    said = {"medvae": {"intensity": intensity, "modalities": modalities}}
    (folder / "configs").mkdir()
    (folder / "configs" / "metadata.json").write_text(json.dumps(said))
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return save_run(tmp_path / "run", tiny_model(), modalities=("MR",))


@pytest.fixture
def studies(tmp_path: Path) -> Path:
    """An MR series of one patient, and one of another."""
    for patient, number in (("one", 5), ("two", 3)):
        pixels = np.random.default_rng(number).integers(0, 900, (number, 20, 28), "u2")
        series = f"1.2.{number}"
        save_series(
            tmp_path / "studies" / patient,
            (
                dicom_slice(
                    i, pixels=p, series=series, PatientID=patient, StudyInstanceUID=f"9.{number}"
                )
                for i, p in enumerate(pixels)
            ),
        )
    return tmp_path / "studies"


def only_volume(folder: Path) -> Any:
    (path,) = folder.rglob("*.nii.gz")
    return nibabel.load(path)


class TestResult:
    def test_lies_where_the_source_does(self, studies: Path, run: Path, tmp_path: Path) -> None:
        told: list[tuple[str, int, int, str]] = []
        out = tmp_path / "out"
        done = denoise([studies], run, out, progress=lambda *stage: told.append(stage))
        assert (done.series, done.slices, done.failures) == (2, 8, ())
        assert told == [
            *(("Reading headers", i, 8, "") for i in range(1, 9)),
            *(("Denoising slices", i, 8, "") for i in range(1, 9)),
        ]
        assert sorted(done.files) == sorted(out.rglob("*.nii.gz"))
        assert len({study.group for study in open_studies([out]).studies}) == 2
        for study in open_studies([studies]).studies:
            found = open_studies([out / f"sub-{study.group}"]).slices
            for item, source in zip(found, study.slices, strict=True):
                assert item.shape == source.shape
                assert item.geometry.position == pytest.approx(source.geometry.position)
                assert item.geometry.along_row == pytest.approx(source.geometry.along_row)
                assert item.geometry.spacing == pytest.approx(source.geometry.spacing)

    def test_is_what_the_model_sees(self, studies: Path, run: Path, tmp_path: Path) -> None:
        model = tiny_model().eval()
        denoise([studies / "two"], run, tmp_path / "out")
        values = only_volume(tmp_path / "out").get_fdata(dtype=np.float32)
        for place, native in enumerate(open_studies([studies / "two"]).slices):
            pixels = native.pixels()
            image, canvas, intensity = model_image(native, pixels, SIDE)
            with torch.inference_mode():
                seen = model(torch.from_numpy(image)[None, None])[0, 0].numpy()
            expected = intensity.from_model(canvas.back(seen))
            inside = (pixels.values >= intensity.low) & (pixels.values <= intensity.high)
            assert inside.mean() > 0.98
            found = values[..., place].T
            np.testing.assert_allclose(found[inside], expected[inside], atol=0.01)

    @pytest.mark.parametrize("out_channels", [1, 3])
    def test_keeps_units_padding_and_what_the_window_cuts(
        self, tmp_path: Path, out_channels: int
    ) -> None:
        run = save_run(tmp_path / "run", gray_model(out_channels), "window:40,400", ("CT",))
        stored = np.full((20, 28), 1064, "int16")  # 40 HU
        stored[:, 4:8] = 1084  # 60 HU
        stored[5:9, 10:14] = 224  # -800 HU: 640 below the window
        stored[12:16, 10:14] = 2024  # 1000 HU: 760 above it
        stored[:, :3] = -2000
        dataset = dicom_slice(
            pixels=stored,
            sop_class=uids.CTImageStorage,
            RescaleSlope=1,
            RescaleIntercept=-1024,
            PixelPaddingValue=-2000,
        )
        save(dataset, tmp_path / "studies" / "a")
        done = denoise([tmp_path / "studies"], run, tmp_path / "out", formats=("nifti", "png"))
        expected = np.full((20, 28), 40.0)
        expected[5:9, 10:14] = -800 + 200
        expected[12:16, 10:14] = 1000 - 200
        expected[:, :3] = -3024
        values = only_volume(tmp_path / "out").get_fdata()[..., 0].T
        np.testing.assert_allclose(values, expected, atol=1e-3)
        (picture,) = (path for path in done.files if path.suffix == ".png")
        with Image.open(picture) as opened:
            np.testing.assert_array_equal(np.array(opened).astype(int) - 32768 - 1024, expected)

    def test_has_less_noise(self, tmp_path: Path) -> None:
        run = save_run(tmp_path / "run", trained_on_blobs(), "window:500,1000")
        clean = blobs(6, seed=1) * 1000
        noisy = clean + np.random.default_rng(2).normal(0, 120, clean.shape)
        stored = noisy.clip(0, 1000).astype("u2")
        save_series(
            tmp_path / "studies",
            (dicom_slice(i, pixels=p, PixelSpacing=[1, 1]) for i, p in enumerate(stored)),
        )
        denoise([tmp_path / "studies"], run, tmp_path / "out")
        values = only_volume(tmp_path / "out").get_fdata().transpose(2, 1, 0)
        assert np.square(values - clean).mean() < 0.3 * np.square(stored - clean).mean()

    def test_of_pictures_has_their_type(self, run: Path, tmp_path: Path) -> None:
        for i, dtype in enumerate(("uint8", "uint16")):
            (tmp_path / "studies" / f"p{i}").mkdir(parents=True)
            pixels = np.random.default_rng(i).integers(0, 255, (20, 28)).astype(dtype)
            Image.fromarray(pixels).save(tmp_path / "studies" / f"p{i}" / "a.png")
        done = denoise([tmp_path / "studies"], run, tmp_path / "out", formats=("png",))
        assert len(done.files) == 2
        kinds = {s.pixels().stored.dtype.name for s in open_studies([tmp_path / "out"]).slices}
        assert kinds == {"uint8", "uint16"}

    def test_as_dicom_is_a_series_that_says_so(
        self, studies: Path, run: Path, tmp_path: Path
    ) -> None:
        done = denoise([studies / "two"], run, tmp_path / "out", formats=("dicom", "nifti"))
        values = only_volume(tmp_path / "out").get_fdata(dtype=np.float32)
        (series,) = open_studies([p for p in done.files if p.suffix == ".dcm"]).studies[0].series
        for place, native in enumerate(series.slices):
            expected = np.rint(values[..., place].T).clip(0, 65535)
            np.testing.assert_array_equal(native.pixels().values, expected)
            assert dcmread(native.source.path).SyntheticData == "YES"

    def test_is_the_same_bytes_each_time(self, studies: Path, run: Path, tmp_path: Path) -> None:
        formats = ("nifti", "png", "dicom")
        denoise([studies], run, tmp_path / "1", formats=formats, workers=1)
        denoise([studies / "two", studies / "one"], run, tmp_path / "2", formats=formats, workers=2)
        assert len(tree(tmp_path / "1")) == 18
        assert tree(tmp_path / "1") == tree(tmp_path / "2")

    def test_says_nothing_about_the_patients(
        self, studies: Path, run: Path, tmp_path: Path
    ) -> None:
        denoise([studies], run, tmp_path / "out", formats=("nifti", "png", "dicom"))
        keys = {
            word
            for study in open_studies([studies]).studies
            for series in study.series
            for word in (study.group, series.key, *(native.key for native in series.slices))
        }
        for name in tree(tmp_path / "out"):
            for word in name.removeprefix("sub-").replace(".nii.gz", "").split("/"):
                assert word.split(".")[0].rpartition("_")[2] in keys

    def test_of_series_that_share_a_key_is_all_there(self, run: Path, tmp_path: Path) -> None:
        voxels = np.random.default_rng(0).normal(0, 1, (20, 28, 2)).astype("float32")
        (tmp_path / "studies").mkdir()
        for name in ("a.nii", "b.nii"):
            image = nibabel.Nifti1Image(voxels, np.diag([1, 1, 4, 1]))
            nibabel.save(image, tmp_path / "studies" / name)
        done = denoise([tmp_path / "studies"], run, tmp_path / "out")
        assert done.series == len(set(done.files)) == 2


class TestFailures:
    def test_a_broken_slice_costs_itself_alone(
        self, studies: Path, run: Path, tmp_path: Path
    ) -> None:
        for i in range(5):
            pixels = np.random.default_rng(i).integers(0, 900, (64, 64)).astype("u2")
            dataset = dicom_slice(i, pixels=pixels, series="1.2.8", PatientID="three")
            dataset.compress(uids.JPEG2000Lossless, generate_instance_uid=False)
            save(dataset, studies / "three" / str(i))
        broken, cut = studies / "three" / "2", studies / "one" / "cut"
        data = bytearray(broken.read_bytes())
        start = data.rindex(b"\xff\x4f\xff\x51")
        data[start : start + 40] = bytes(40)
        broken.write_bytes(data)
        cut.write_bytes(next((studies / "one").iterdir()).read_bytes()[:-10])
        done = denoise([studies], run, tmp_path / "out")
        assert (done.series, done.slices) == (3, 12)
        assert {failure.where for failure in done.failures} == {str(broken), str(cut)}
        assert all(str(studies) not in failure.why for failure in done.failures)
        # The volume ends where the slice is missing, and a second one begins behind it.
        heights = [
            sorted(nibabel.load(path).affine[2, 3] + 2 * i for i in range(2))
            for path in done.files
            if "of2" in path.name
        ]
        assert sorted(heights) == [[0, 2], [6, 8]]

    def test_a_series_that_cannot_be_written_costs_itself_alone(
        self, studies: Path, run: Path, tmp_path: Path
    ) -> None:
        affine = np.diag([1.0, 1.0, 3.0, 1.0])
        affine[0, 1] = 0.3
        voxels = np.random.default_rng(0).normal(0, 1, (20, 28, 2)).astype("float32")
        nibabel.save(nibabel.Nifti1Image(voxels, affine), studies / "sheared.nii")
        done = denoise([studies], run, tmp_path / "out")
        assert (done.series, done.slices) == (2, 8)
        (failure,) = done.failures
        assert failure.where == str(studies / "sheared.nii")
        assert "not at right angles" in failure.why

    def test_a_model_that_gives_no_numbers(self, studies: Path, tmp_path: Path) -> None:
        model = gray_model()
        torch.nn.init.constant_(model.decoder.out.bias, float("nan"))
        run = save_run(tmp_path / "run", model)
        with pytest.raises(ReadError, match="holds values that are NaN or infinite"):
            denoise([studies / "two"], run, tmp_path / "out")
        assert not (tmp_path / "out").exists()

    def test_nothing_to_read(self, run: Path, tmp_path: Path) -> None:
        (tmp_path / "notes.txt").write_text("hello")
        done = denoise([tmp_path / "notes.txt"], run, tmp_path / "out")
        assert (done.files, done.series, done.slices, done.failures) == ((), 0, 0, ())


class TestWrongUse:
    def test_of_another_modality(self, run: Path, tmp_path: Path) -> None:
        save(dicom_slice(sop_class=uids.CTImageStorage), tmp_path / "studies" / "a")
        with pytest.raises(UsageProblem, match="trained on MR, not on CT") as caught:
            denoise([tmp_path / "studies"], run, tmp_path / "out")
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "out").exists()

    def test_of_files_that_do_not_say(self, run: Path, tmp_path: Path) -> None:
        (tmp_path / "p1").mkdir()
        Image.fromarray(np.arange(200, dtype="u1").reshape(10, 20)).save(tmp_path / "p1" / "a.png")
        with pytest.raises(UsageProblem, match="not on CT"):
            denoise([tmp_path / "p1"], run, tmp_path / "out", modality="CT")
        assert denoise([tmp_path / "p1"], run, tmp_path / "out").slices == 1

    @pytest.mark.parametrize(
        ("prepare", "wrong"),
        [
            (lambda out: (out.mkdir(), (out / "a").touch()), "is not empty"),
            (lambda out: out.touch(), "is not a directory"),
        ],
    )
    def test_of_an_occupied_folder(
        self,
        studies: Path,
        run: Path,
        tmp_path: Path,
        prepare: Callable[[Path], object],
        wrong: str,
    ) -> None:
        out = tmp_path / "out"
        prepare(out)
        before = tree(tmp_path)
        with pytest.raises(UsageProblem, match=f"{out}: {wrong}"):
            denoise([studies], run, out)
        assert tree(tmp_path) == before

    def test_an_empty_folder_is_used(self, studies: Path, run: Path, tmp_path: Path) -> None:
        (tmp_path / "out").mkdir()
        assert denoise([studies / "two"], run, tmp_path / "out").slices == 3

    def test_of_what_is_no_model(self, studies: Path, run: Path, tmp_path: Path) -> None:
        with pytest.raises(UsageProblem, match="there is no such bundle"):
            denoise([studies], tmp_path / "nowhere", tmp_path / "out")
        (run / "models" / "model.json").unlink()
        with pytest.raises(ReadError, match=r"model\.json is missing"):
            denoise([studies], run, tmp_path / "out")

    @pytest.mark.parametrize("formats", [(), ("nifti", "dicom2")])
    def test_of_formats(
        self, studies: Path, run: Path, tmp_path: Path, formats: tuple[str, ...]
    ) -> None:
        with pytest.raises(UsageProblem, match="choose from dicom, nifti, png"):
            denoise([studies], run, tmp_path / "out", formats=formats)


def blobs(count: int, seed: int) -> NDArray[np.float64]:
    """Make smooth pictures, ``[count, 16, 16]`` in [0, 1], of a bright disc with a soft edge."""
    draw = np.random.default_rng(seed)
    y, x = np.mgrid[:SIDE, :SIDE]
    cy, cx, radius = draw.uniform((5, 5, 3), (11, 11, 5), (count, 3)).T[..., None, None]
    return 0.1 + 0.8 / (1 + np.exp(np.hypot(y - cy, x - cx) - radius))


def trained_on_blobs() -> SliceVAE:
    """Train a small network for a moment to take the noise off such pictures."""
    model = tiny_model(SpatialLatent(channels=4)).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    clean = torch.from_numpy(blobs(256, seed=0)).float()[:, None]
    for _ in range(8):
        for batch in clean.split(32):
            noisy = (batch + 0.12 * torch.randn_like(batch)).clamp(0, 1)
            mu, _ = model.encode(noisy)
            loss = torch.nn.functional.mse_loss(model.decode(mu), batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return model


class TestTextInThePixels:
    @pytest.mark.parametrize("name", ["nifti", "png", "dicom"])
    def test_is_refused_in_every_format(self, run: Path, tmp_path: Path, name: str) -> None:
        save_series(tmp_path / "in", (dicom_slice(i, BurnedInAnnotation="YES") for i in range(2)))
        marked = next((tmp_path / "in").iterdir())
        save(dicom_slice(2), tmp_path / "in" / "clean")
        done = denoise([tmp_path / "in"], run, tmp_path / "out", formats=[name])
        assert done.slices == 1
        assert {failure.why for failure in done.failures} == {
            "text is burned into its pixels (BurnedInAnnotation YES) and may name the patient"
        }
        assert str(marked) in {failure.where for failure in done.failures}

    @pytest.mark.parametrize("name", ["nifti", "png", "dicom"])
    def test_can_be_allowed(self, run: Path, tmp_path: Path, name: str) -> None:
        save_series(tmp_path / "in", (dicom_slice(i, BurnedInAnnotation="YES") for i in range(2)))
        out = tmp_path / "out"
        done = denoise([tmp_path / "in"], run, out, formats=[name], allow_burned_in=True)
        assert (done.slices, done.failures) == (2, ())
        assert all(dcmread(path).BurnedInAnnotation == "YES" for path in out.rglob("*.dcm"))
