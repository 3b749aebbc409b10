"""Files and objects of every kind load, or are refused with the right message."""

from __future__ import annotations

import pickle
import re
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch

import distill
from distill.frontends import memory, nnet, parameters, quantised, weights
from distill.frontends.registry import FRONTENDS, frontend
from distill.frontends.source import Source
from dsl import networks
from dsl.errors import DistillError

ARCHITECTURE = """
import torch

def build():
    return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
"""
X = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)


@pytest.fixture
def built(tmp_path: Path) -> torch.nn.Module:
    (tmp_path / "arch.py").write_text(ARCHITECTURE, encoding="utf-8")
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2)).eval()


def expected(module: torch.nn.Module) -> np.ndarray:
    with torch.no_grad():
        return np.asarray(module(torch.from_numpy(X)).numpy())


def agrees(source: Source, module: torch.nn.Module) -> None:
    reader = frontend(source)
    assert np.allclose(reader.runtime(source)(X), expected(module), atol=1e-6)
    program = reader.translation(source)((3,))
    assert program is not None
    assert np.allclose(networks.run(program, X), expected(module), atol=1e-6)


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.module."])
def test_a_state_dict_is_read_with_its_architecture(built, tmp_path: Path, prefix: str) -> None:
    path = tmp_path / "weights.pt"
    torch.save({prefix + k: v for k, v in built.state_dict().items()}, path)
    agrees(Source(tmp_path, path, "arch.py:build"), built)


def test_a_checkpoint_of_a_trainer_is_read(built, tmp_path: Path) -> None:
    path = tmp_path / "weights.ckpt"
    torch.save({"epoch": 3, "state_dict": built.state_dict()}, path)
    agrees(Source(tmp_path, path, "arch.py:build"), built)


def test_safetensors_are_read_with_an_architecture(built, tmp_path: Path) -> None:
    save = pytest.importorskip("safetensors.torch").save_file
    save(built.state_dict(), str(tmp_path / "weights.safetensors"))
    agrees(Source(tmp_path, tmp_path / "weights.safetensors", "arch.py:build"), built)


def test_a_stock_module_that_was_pickled_whole_is_read(built, tmp_path: Path) -> None:
    torch.save(built, tmp_path / "module.pt")
    agrees(Source(tmp_path, tmp_path / "module.pt"), built)


def test_torchscript_runs_and_its_translation_may_be_none(built, tmp_path: Path) -> None:
    path = tmp_path / "script.pt"
    torch.jit.trace(built, torch.from_numpy(X)).save(str(path))
    source = Source(tmp_path, path)
    assert np.allclose(frontend(source).runtime(source)(X), expected(built), atol=1e-6)


def test_weights_without_an_architecture_are_refused(built, tmp_path: Path) -> None:
    torch.save(built.state_dict(), tmp_path / "weights.pt")
    with pytest.raises(DistillError) as caught:
        weights.network(tmp_path / "weights.pt", "")
    assert caught.value.code == "D016"
    assert "--arch file.py:callable" in caught.value.remedy


def test_weights_of_another_shape_are_refused_one_by_one(built, tmp_path: Path) -> None:
    state = OrderedDict(built.state_dict())
    state["0.weight"] = torch.zeros(4, 5)
    state["9.bias"] = state.pop("2.bias")
    torch.save(state, tmp_path / "weights.pt")
    with pytest.raises(DistillError) as caught:
        weights.network(tmp_path / "weights.pt", "arch.py:build")
    assert caught.value.code == "D017"
    assert caught.value.notes == (
        "2.bias is missing",
        "9.bias is not in the architecture",
        "0.weight is (4, 5), not (4, 3)",
    )


def test_files_saved_on_a_gpu_are_read_on_the_cpu(built, tmp_path: Path) -> None:
    """As torch saves them there: the same archives with another device in their tables."""

    def moved(path: Path, change: Callable[[bytes], bytes]) -> Path:
        with zipfile.ZipFile(path) as archive:
            parts = {name: archive.read(name) for name in archive.namelist()}
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in parts.items():
                archive.writestr(name, change(content))
        assert any(change(content) != content for content in parts.values())
        return path

    torch.save(built, tmp_path / "module.pt")
    words = b"X\x03\0\0\0cpu", b"X\x06\0\0\0cuda:0"
    agrees(Source(tmp_path, moved(tmp_path / "module.pt", lambda c: c.replace(*words))), built)
    batch = torch.export.Dim("batch")
    found = torch.export.export(built, (torch.zeros(2, 3),), dynamic_shapes=({0: batch},))
    torch.export.save(found, str(tmp_path / "model.pt2"))
    device = re.compile(rb'"type":\s*"cpu",\s*"index":\s*null')
    path = moved(tmp_path / "model.pt2", lambda c: device.sub(b'"type": "cuda", "index": 0', c))
    agrees(Source(tmp_path, path), built)


class Dangerous:
    def __reduce__(self):
        return print, ("run",)


def test_a_pickle_that_wants_to_run_code_is_refused_and_listed(tmp_path: Path, capsys) -> None:
    torch.save({"weights": Dangerous()}, tmp_path / "model.pt")
    with pytest.raises(DistillError) as caught:
        weights.network(tmp_path / "model.pt", "")
    assert caught.value.code == "D015"
    assert "print" in caught.value.notes[0]
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Dangerous()))
    with pytest.raises(DistillError):
        weights.network(tmp_path / "plain.pt", "")
    assert "run" not in capsys.readouterr().out


def test_a_file_of_no_known_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DistillError, match=r"files of kind .tflite cannot be read"):
        frontend(Source(tmp_path, tmp_path / "model.tflite"))


NNET = """// a comment
2,2,1,2,
2,2,1,
0,
-1.0,-1.0,
1.0,1.0,
0.5,0.0,10.0,
1.0,2.0,4.0,
1.0,0.0,
0.0,-1.0,
0.5,
0.25,
2.0,3.0,
-1.0,
"""


def test_nnet_files_are_normalised_on_both_sides(tmp_path: Path) -> None:
    path = tmp_path / "model.nnet"
    path.write_text(NNET, encoding="ascii")
    # x = (5, -1) is cut to (1, -1), normalised to (0.5, -0.5); hidden (1, 0.75); out 3.25.
    found = nnet.runtime(path)(np.array([[5.0, -1.0]]))
    assert found.tolist() == [[3.25 * 4.0 + 10.0]]


def test_a_quantised_perceptron_computes_whole_numbers(tmp_path: Path) -> None:
    path = tmp_path / "weights.npz"
    layer = {
        **{"W0": np.array([[2, -3]], np.int8), "b0": np.array([5], np.int32)},
        **{"x0_scale": np.array([0.5]), "x0_zp": np.array([-1]), "w0_scale": np.array([0.25])},
        **{"y0_scale": np.array([0.5]), "y0_zp": np.array([3])},
    }
    np.savez(path, **layer)
    found = quantised.runtime(path)(np.array([[1, 1], [127, -128]], np.int8))
    # (2 * 2 - 3 * 2 + 5) / 4 = 0.75 rounds to 1; the second is cut off at 127.
    assert found.tolist() == [[4], [127]]
    assert quantised.is_quantised(path)


@dataclass
class Perceptron:
    """What scikit-learn's MLPRegressor has."""

    coefs_: list[np.ndarray] = field(default_factory=list)
    intercepts_: list[np.ndarray] = field(default_factory=list)
    activation: str = "relu"
    out_activation_: str = "identity"

    def predict(self, x: np.ndarray) -> np.ndarray:
        hidden = np.maximum(x @ self.coefs_[0] + self.intercepts_[0], 0)
        return (hidden @ self.coefs_[1] + self.intercepts_[1])[:, 0]


def test_perceptrons_of_scikit_learn_translate() -> None:
    rng = np.random.default_rng(1)
    model = Perceptron(
        [rng.normal(size=(3, 4)), rng.normal(size=(4, 1))], [rng.normal(size=4), np.ones(1)]
    )
    runtime, translation = memory.read(model, "float64")
    program = translation((3,))
    assert program is not None
    assert np.allclose(networks.run(program, X.astype(np.float64)), runtime(X))


def test_pickles_of_scikit_learn_are_read_and_not_run(tmp_path: Path) -> None:
    kinds = pytest.importorskip("sklearn.neural_network")
    joblib = pytest.importorskip("joblib")
    y = (X[:, 0] > 0).astype(int) + (X[:, 1] > 0)
    for kind, name in ((kinds.MLPClassifier, "proba"), (kinds.MLPRegressor, "values")):
        model = kind(hidden_layer_sizes=(4,), solver="lbfgs", max_iter=20).fit(X, y)
        expected = model.predict_proba(X) if name == "proba" else model.predict(X)[:, None]
        (tmp_path / "model.pkl").write_bytes(pickle.dumps(model))
        joblib.dump(model, tmp_path / "model.joblib")
        for path in (tmp_path / "model.pkl", tmp_path / "model.joblib"):
            source = Source(tmp_path, path)
            program = frontend(source).translation(source)((3,))
            assert program is not None
            assert np.allclose(networks.run(program, X), expected, atol=1e-6)
            assert np.allclose(frontend(source).runtime(source)(X), expected)


def test_a_pickle_of_anything_else_is_refused(tmp_path: Path, capsys) -> None:
    (tmp_path / "model.pkl").write_bytes(pickle.dumps({"a": Dangerous()}))
    (tmp_path / "list.pkl").write_bytes(pickle.dumps([1, 2]))
    for name, code, text in (
        ("model.pkl", "D015", "builtins.print"),
        ("list.pkl", "D010", "holds a list, no MLPClassifier or MLPRegressor"),
    ):
        source = Source(tmp_path, tmp_path / name)
        with pytest.raises(DistillError, match=text) as caught:
            frontend(source).runtime(source)
        assert caught.value.code == code
    assert "run" not in capsys.readouterr().out


def test_parameters_are_trees(tmp_path: Path) -> None:
    np.savez(tmp_path / "p.npz", **{"a/w": X, "a/b": X[0], "c": X[1]})
    tree = parameters.tree(tmp_path / "p.npz")
    assert set(tree) == {"a", "c"} and set(tree["a"]) == {"w", "b"}
    msgpack = pytest.importorskip("msgpack")
    packed = msgpack.packb((list(X.shape), "float32", X.tobytes()))
    content = msgpack.packb({"a": {"w": msgpack.ExtType(1, packed)}})
    (tmp_path / "p.msgpack").write_bytes(content)
    assert np.array_equal(parameters.tree(tmp_path / "p.msgpack")["a"]["w"], X)


def test_a_module_in_training_mode_is_refused(built) -> None:
    with pytest.raises(DistillError, match="training mode"):
        distill.compile(built.train(), "a: real[0,1], b: real[0,1], c: real[0,1]")


def test_a_function_that_is_not_there_is_named() -> None:
    with pytest.raises(DistillError, match="there is no function nowhere:network"):
        distill.load("nowhere:network")


def test_front_ends_have_names_of_their_own() -> None:
    assert len({reader.name for reader in FRONTENDS}) == len(FRONTENDS)
