"""Which front end reads a model: one ordered tuple, the first that recognises it is taken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dsl.claim import Runtime, Translation
from dsl.errors import DistillError


@dataclass(frozen=True, slots=True)
class Source:
    """A model on disk: its file and folder, and what was said of it besides."""

    folder: Path
    model: Path
    arch: str = ""
    dtype: str = "float32"


@dataclass(frozen=True, slots=True)
class Frontend:
    """One format: the runtime is the oracle, the translation the network in this language."""

    name: str
    recognises: Callable[[Source], bool]
    runtime: Callable[[Source], Runtime]
    translation: Callable[[Source], Translation]


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


def _pt2_runtime(source: Source) -> Runtime:
    from distill import oracle

    return oracle.from_pt2(source.model)


def _pt2_translation(source: Source) -> Translation:
    from distill.frontends import pt2

    return pt2.from_pt2(source.model)


def _onnx_runtime(source: Source) -> Runtime:
    from distill import oracle

    return oracle.from_onnx(source.model)


def _onnx_translation(source: Source) -> Translation:
    from distill.frontends import onnx

    return onnx.from_onnx(source.model)


def _weights_runtime(source: Source) -> Runtime:
    from distill.frontends import weights

    return weights.runtime(source.model, source.arch)


def _weights_translation(source: Source) -> Translation:
    from distill.frontends import weights

    return weights.translation(source.model, source.arch, source.dtype)


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


FRONTENDS: tuple[Frontend, ...] = (
    Frontend("haiku", _is_haiku, _haiku_runtime, _haiku_translation),
    Frontend("gpt2", _is_gpt2, _gpt2_runtime, _gpt2_translation),
    Frontend("pt2", _suffix(".pt2"), _pt2_runtime, _pt2_translation),
    Frontend("onnx", _suffix(".onnx"), _onnx_runtime, _onnx_translation),
    Frontend(
        "weights",
        _suffix(".pt", ".pth", ".bin", ".ckpt", ".safetensors"),
        _weights_runtime,
        _weights_translation,
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
