"""Perceptrons of scikit-learn: what has `coefs_`, `intercepts_` and an activation; in memory, and
in pickles of pickle and of joblib.

A pickle is read without running it: arrays are arrays, whatever scikit-learn or NumPy's random
numbers made is a bag of attributes, and any other name that it wants is refused.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from distill.frontends import operators as o
from distill.frontends import pickles
from distill.frontends.building import Builder, Unsupported
from distill.frontends.graph import program_of, unsupported
from dsl import networks
from dsl.claim import Runtime, Translation
from dsl.errors import DistillError
from dsl.program import Program

_ACTIVATIONS = {"identity": None, "logistic": "sigmoid", "tanh": "tanh", "relu": "relu"}


def is_perceptron(model: Any) -> bool:
    return all(hasattr(model, name) for name in ("coefs_", "intercepts_", "out_activation_"))


def program(model: Any) -> Program:
    """Features to probabilities (or, of a regressor, values), in the estimator's precision."""
    name = type(model).__name__
    b = Builder()
    try:
        value = b.input("x", (model.coefs_[0].shape[0],), model.coefs_[0].dtype)
        last = len(model.coefs_) - 1
        for layer, (weight, bias) in enumerate(zip(model.coefs_, model.intercepts_)):
            b.hint = f"layer{layer}"
            matrix = b.constant(np.ascontiguousarray(weight.T), f"coefs_.{layer}")
            value = o.linear(b, value, matrix, b.constant(bias, f"intercepts_.{layer}"))
            activation = model.activation if layer < last else model.out_activation_
            if activation == "softmax":
                value = b.along("softmax", value, -1)
            elif activation not in _ACTIVATIONS:
                raise Unsupported(f"the activation {activation}")
            elif (primitive := _ACTIVATIONS[activation]) is not None:
                value = b.elementwise(primitive, value)
    except Unsupported as reason:
        raise unsupported(name, {str(reason): [""]}) from None
    return program_of(b, value, name)


def runtime(model: Any) -> Runtime:
    """The estimator's own probabilities, or values."""
    from distill.oracle import chunked

    if not hasattr(model, "predict_proba"):
        return chunked(lambda batch: np.asarray(model.predict(batch)).reshape(len(batch), -1))
    if model.out_activation_ == "logistic" and len(model.intercepts_[-1]) == 1:
        return chunked(lambda batch: np.asarray(model.predict_proba(batch))[:, 1:])
    return chunked(lambda batch: np.asarray(model.predict_proba(batch)))


def translation(model: Any) -> Translation:
    found = program(model)
    return lambda shape: found if networks.shapes(found)["x"].shape[1:] == tuple(shape) else None


_INERT = ("sklearn.", "numpy.random", "joblib.numpy_pickle")


def read(path: Path) -> Any:
    """The estimator in a pickle, made anew from its arrays.  Raises D010 for what is none, D011
    without scikit-learn, D015 for a pickle that wants other names."""
    found = pickles.read(path, _INERT)
    kind = type(found).__name__
    if not isinstance(found, pickles.Bag) or kind not in ("MLPClassifier", "MLPRegressor"):
        raise DistillError(
            "D010",
            f"{path.name} holds a {kind}, no MLPClassifier or MLPRegressor",
            place=str(path),
            remedy="save the perceptron alone, without what scales its inputs",
            exit_code=4,
        )
    try:
        from sklearn import neural_network
    except ImportError:
        raise DistillError(
            "D011",
            f"reading {path.name} needs scikit-learn",
            remedy="pip install 'distillc[sklearn]'",
            exit_code=4,
        ) from None
    try:
        model = getattr(neural_network, kind)(activation=str(found.activation))  # type: ignore
        model.coefs_ = [np.array(array) for array in found.coefs_]  # type: ignore[attr-defined]
        model.intercepts_ = [np.array(a) for a in found.intercepts_]  # type: ignore[attr-defined]
        model.out_activation_ = str(found.out_activation_)  # type: ignore[attr-defined]
        model.n_layers_ = len(model.coefs_) + 1
        model.n_outputs_ = model.coefs_[-1].shape[1]
        model.n_features_in_ = model.coefs_[0].shape[0]
        if kind == "MLPClassifier":
            model.classes_ = np.array(found.classes_)  # type: ignore[attr-defined]
        width = model.n_features_in_
        for weight, bias in zip(model.coefs_, model.intercepts_, strict=True):
            if weight.dtype.kind != "f" or weight.ndim != 2 or bias.shape != weight.shape[1:]:
                raise ValueError("its arrays do not fit together")
            if weight.shape[0] != width:
                raise ValueError("its layers do not fit together")
            width = weight.shape[1]
        program(model)
    except (AttributeError, ValueError, TypeError, IndexError, KeyError) as error:
        raise DistillError(
            "D010",
            f"{path.name} holds no whole {kind}",
            place=str(path),
            notes=(f"{type(error).__name__}: {error}"[:200],),
            exit_code=4,
        ) from None
    return model
