"""Which front end reads a model: one ordered tuple, the first that recognises it is taken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from distill.frontends.source import Source
from dsl.claim import Runtime, Translation
from dsl.errors import DistillError
from dsl.program import Program

Declared: TypeAlias = tuple[tuple[int | None, ...] | None, str]
"""The axes of rows (None where one is free, or where nothing is said) and their dtype."""


@dataclass(frozen=True, slots=True)
class Frontend:
    """One format: the runtime is the oracle, the translation the network in this language.
    `program` is the translation for rows of a shape that says why there is none; `declared` is
    what the file says of the rows that it takes."""

    name: str
    recognises: Callable[[Source], bool]
    runtime: Callable[[Source], Runtime]
    translation: Callable[[Source], Translation]
    program: Callable[[Source, tuple[int, ...]], Program] | None = None
    declared: Callable[[Source], Declared] | None = None


def _suffix(*suffixes: str) -> Callable[[Source], bool]:
    return lambda source: source.model.suffix.lower() in suffixes


def _is_haiku(source: Source) -> bool:
    from distill.frontends import haiku

    return haiku.is_haiku_folder(source.folder)


def _haiku_runtime(source: Source) -> Runtime:
    # Exported copies of such a network may take fewer lengths than the parameters do.
    from distill.frontends import haiku

    return haiku.runtime(source.folder)


def _haiku_translation(source: Source) -> Translation:
    from distill.frontends import haiku

    return haiku.translation(source.folder)


def _is_gpt2(source: Source) -> bool:
    has_config = (source.folder / "config.json").is_file()
    return source.model.name == "model.safetensors" and has_config and not source.arch


def _gpt2_runtime(source: Source) -> Runtime:
    from distill import oracle

    return oracle.from_gpt2(source.folder)


def _gpt2_translation(source: Source) -> Translation:
    from distill.frontends import gpt2

    return gpt2.translation(source.folder)


def _tokens(source: Source) -> Declared:
    return (None,), "int64"


def _pt2_runtime(source: Source) -> Runtime:
    from distill import oracle

    return oracle.from_pt2(source.model)


def _pt2_translation(source: Source) -> Translation:
    from distill.frontends import pt2

    return pt2.from_pt2(source.model)


def _pt2_program(source: Source, shape: tuple[int, ...]) -> Program:
    from distill.frontends import exported, pt2

    return exported.program(pt2.graph(source.model), shape)


def _pt2_declared(source: Source) -> Declared:
    from distill.frontends import pt2

    first = pt2.graph(source.model).inputs[0]
    return first.axes[1:], first.dtype.name


def _onnx_runtime(source: Source) -> Runtime:
    from distill import oracle

    return oracle.from_onnx(source.model)


def _onnx_translation(source: Source) -> Translation:
    from distill.frontends import onnx

    return onnx.from_onnx(source.model)


def _onnx_program(source: Source, shape: tuple[int, ...]) -> Program:
    from distill.frontends import onnx, onnx_package

    return onnx.program(onnx_package.read(source.model), source.model.name, shape)


def _onnx_declared(source: Source) -> Declared:
    from distill.frontends import onnx, onnx_package

    return onnx.declared(onnx_package.read(source.model))


def _jax_runtime(source: Source) -> Runtime:
    from distill.frontends import stablehlo

    return stablehlo.runtime(source.model)


def _jax_translation(source: Source) -> Translation:
    from distill.frontends import stablehlo

    return stablehlo.translation(source.model)


def _jax_program(source: Source, shape: tuple[int, ...]) -> Program:
    from distill.frontends import stablehlo

    return stablehlo.program(stablehlo.read(source.model), source.model.name, shape)


def _jax_declared(source: Source) -> Declared:
    from distill.frontends import stablehlo

    return stablehlo.declared(source.model)


def _is_weights(source: Source) -> bool:
    if source.model.suffix.lower() in _WEIGHTS:
        return True
    if source.model.suffix == ".npz":
        return bool(source.arch) or not _is_quantised(source)
    from distill.frontends import parameters

    return parameters.orbax_item(source.model) is not None


def _weights_runtime(source: Source) -> Runtime:
    from distill.frontends import weights

    return weights.runtime(source)


def _weights_translation(source: Source) -> Translation:
    from distill.frontends import weights

    return weights.translation(source)


def _weights_program(source: Source, shape: tuple[int, ...]) -> Program:
    from distill.frontends import weights

    return weights.program(source, shape)


def _sklearn_runtime(source: Source) -> Runtime:
    from distill.frontends import sklearn

    return sklearn.runtime(sklearn.read(source.model))


def _sklearn_translation(source: Source) -> Translation:
    from distill.frontends import sklearn

    return sklearn.translation(sklearn.read(source.model))


def _sklearn_declared(source: Source) -> Declared:
    from distill.frontends import sklearn

    first = sklearn.read(source.model).coefs_[0]
    return first.shape[:1], first.dtype.name


def _nnet_runtime(source: Source) -> Runtime:
    from distill.frontends import nnet

    return nnet.runtime(source.model)


def _nnet_translation(source: Source) -> Translation:
    from distill.frontends import nnet

    return nnet.translation(source.model)


def _is_quantised(source: Source) -> bool:
    from distill.frontends import quantised

    return source.model.suffix == ".npz" and quantised.is_quantised(source.model)


def _quantised_runtime(source: Source) -> Runtime:
    from distill.frontends import quantised

    return quantised.runtime(source.model)


def _quantised_translation(source: Source) -> Translation:
    from distill.frontends import quantised

    return quantised.translation(source.model)


_EXPORTED_BY_JAX = (".jax", ".jaxexport", ".jax_export", ".stablehlo")
_WEIGHTS = (".pt", ".pth", ".bin", ".ckpt", ".safetensors", ".msgpack", ".eqx")

FRONTENDS: tuple[Frontend, ...] = (
    Frontend("haiku", _is_haiku, _haiku_runtime, _haiku_translation, None, _tokens),
    Frontend("gpt2", _is_gpt2, _gpt2_runtime, _gpt2_translation, None, _tokens),
    Frontend("pt2", _suffix(".pt2"), _pt2_runtime, _pt2_translation, _pt2_program, _pt2_declared),
    Frontend(
        "onnx", _suffix(".onnx"), _onnx_runtime, _onnx_translation, _onnx_program, _onnx_declared
    ),
    Frontend(
        "jax.export",
        _suffix(*_EXPORTED_BY_JAX),
        _jax_runtime,
        _jax_translation,
        _jax_program,
        _jax_declared,
    ),
    Frontend("weights", _is_weights, _weights_runtime, _weights_translation, _weights_program),
    Frontend(
        "sklearn",
        _suffix(".pkl", ".pickle", ".joblib"),
        _sklearn_runtime,
        _sklearn_translation,
        None,
        _sklearn_declared,
    ),
    Frontend("nnet", _suffix(".nnet"), _nnet_runtime, _nnet_translation),
    Frontend("quantised", _is_quantised, _quantised_runtime, _quantised_translation),
)


def frontend(source: Source) -> Frontend:
    """The front end for a model.  Raises D018 where there is none."""
    for found in FRONTENDS:
        if found.recognises(source):
            return found
    suffix = source.model.suffix
    remedy = "convert it to ONNX or to a torch.export program"
    if suffix == ".tflite":
        remedy = "convert it with tf2onnx, or put its weights and quantisation beside it as .npz"
    raise DistillError(
        "D018",
        f"files of kind {suffix or 'without a suffix'} cannot be read: {source.model.name}",
        place=str(source.model),
        remedy=remedy,
        exit_code=4,
    )


def required(source: Source, shape: tuple[int, ...]) -> Program:
    """The program of a model; raises what keeps it from being one."""
    reader = frontend(source)
    if reader.program is not None:
        return reader.program(source, shape)
    found = reader.translation(source)(shape)
    if found is None:
        raise DistillError(
            "D020", f"{source.model.name} has no translation for rows of shape {shape}"
        )
    return found


def declared(source: Source) -> Declared:
    """What a model says of the rows that it takes; nothing where it has no reader."""
    for found in FRONTENDS:
        if found.recognises(source):
            return (None, source.dtype) if found.declared is None else found.declared(source)
    return None, source.dtype
