"""Perceptrons of scikit-learn in memory: what has `coefs_`, `intercepts_` and an activation."""

from __future__ import annotations

from typing import Any

import numpy as np

from distill.frontends import operators as o
from distill.frontends.building import Builder, Unsupported
from distill.frontends.graph import program_of, unsupported
from dsl import networks
from dsl.claim import Runtime, Translation
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
