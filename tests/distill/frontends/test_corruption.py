"""Damaged files of every format load or are refused, within bounds of time and memory.

A sample of what `python -m benchmarks.corruption` does with 500 files of each format.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from benchmarks import corruption
from distill import cli, fingerprints
from distill.frontends import archives
from dsl.errors import DistillError

COUNT = 25


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Path]]:
    for package in ("onnx", "flax", "orbax.checkpoint", "equinox", "sklearn", "transformers"):
        pytest.importorskip(package)
    folder = tmp_path_factory.mktemp("formats")
    return folder, corruption.built(folder)


def test_damaged_files_of_every_format_load_or_are_refused(built) -> None:
    folder, paths = built
    for label, path in paths.items():
        arch = corruption.ARCHITECTURES.get(label, "")
        assert corruption.read(path, arch) in ("loads", "D021"), label
        seen = set()
        for seed in range(COUNT):
            target = folder / f"damaged{path.suffix}"
            corruption.damage(path, target, np.random.default_rng(seed))
            seen.add(corruption.read(target, arch))  # raises what is no refusal
        assert seen <= {"loads", "D001", "D010", "D013", "D015", "D017", "D018", "D020", "D021"}
        assert seen - {"loads"}, label


def test_an_archive_that_unpacks_to_more_than_the_limit_is_refused_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", bytes(1 << 24))
    assert path.stat().st_size < 1 << 16
    for module, read in ((archives, archives.arrays), (fingerprints, fingerprints.tensors)):
        monkeypatch.setattr(module, "_LARGEST", 1 << 20)
        with pytest.raises(DistillError, match="unpacks to more than") as caught:
            read(path)
        assert caught.value.code == "D010"


def test_a_model_behind_a_link_out_of_its_folder_is_refused(tmp_path: Path, capsys) -> None:
    (tmp_path / "task").mkdir()
    (tmp_path / "model.onnx").write_bytes(b"elsewhere")
    (tmp_path / "task" / "model.onnx").symlink_to(tmp_path / "model.onnx")
    (tmp_path / "task" / "task.toml").write_text(
        'name = "t"\nmodel = "model.onnx"\ndomain = "a: int[0..1]"\n', encoding="utf-8"
    )
    assert cli.main(["compile", str(tmp_path / "task"), "--out", str(tmp_path / "out")]) == 2
    assert "model.onnx lies outside the task's folder" in capsys.readouterr().err
