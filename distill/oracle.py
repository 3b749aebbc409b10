"""The original runtimes, as functions from packed batches to raw outputs.

Each works through a batch in chunks of a fixed size, so that a value does not depend on how many
inputs happen to be asked for at once; the size is part of the claim's arithmetic.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from distill.frontends import onnx_package
from distill.frontends.archives import BROKEN
from dsl.claim import Recurrence, Runtime
from dsl.errors import DistillError

CHUNK = 4096


def chunked(runtime: Callable[[np.ndarray], np.ndarray], size: int = CHUNK) -> Runtime:
    """A runtime that is given at most `size` rows at a time."""

    def run(batch: np.ndarray) -> np.ndarray:
        if len(batch) <= size:
            return runtime(batch)
        parts = [runtime(batch[i : i + size]) for i in range(0, len(batch), size)]
        return np.concatenate(parts)

    return run


@contextlib.contextmanager
def single_thread() -> Iterator[None]:
    """Torch on one thread: sums are split in the same way wherever a batch is run, and processes
    that work side by side do not take each other's cores."""
    import torch

    before = torch.get_num_threads()
    if before == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def always_single_thread() -> None:
    """The same for good, in a process that works for another."""
    import torch

    torch.set_num_threads(1)


def from_torch(module: Any) -> Runtime:
    """A torch module in memory; put into evaluation mode, on the CPU, without gradients."""
    import torch

    def run(batch: np.ndarray) -> np.ndarray:
        with torch.no_grad(), single_thread():
            try:
                output = module(torch.from_numpy(np.ascontiguousarray(batch)))
            except IndexError as error:
                raise _beyond_a_table(batch, error) from None
        if isinstance(output, (tuple, list)):
            output = output[0]
        if not isinstance(output, torch.Tensor) and hasattr(output, "logits"):
            output = output.logits
        return np.asarray(output.numpy())

    return chunked(run)


def _beyond_a_table(batch: np.ndarray, error: IndexError) -> DistillError:
    """An embedding or another table was asked for a row that it lacks."""
    return DistillError(
        "D113",
        "the network looks up a number that its tables do not hold",
        notes=(f"inputs run from {batch.min()} to {batch.max()}", str(error)[:200]),
        remedy="narrow the domain to the tokens that the network knows, or pack them otherwise",
    )


def exported(path: Path) -> Any:
    """The module of a `.pt2` file.  Raises D010 where it cannot be read."""
    return exported_program(path).module()


def exported_program(path: Path) -> Any:
    """The exported program in a `.pt2` file.  Raises D010 where it cannot be read."""
    from distill.frontends import torch as front

    return front.exported(path)


def from_pt2(path: Path) -> Runtime:
    return from_torch(exported(path))


def from_step(path: Path, start: np.ndarray | None, width: int | None = None) -> Recurrence:
    """A recurrent network given by one step (input, state) -> (output, next state)."""
    import torch

    module = exported(path)

    def step(inputs: np.ndarray, state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        with torch.no_grad(), single_thread():
            try:
                output, after = module(
                    torch.from_numpy(np.ascontiguousarray(inputs)),
                    torch.from_numpy(np.ascontiguousarray(state)),
                )
            except IndexError as error:
                raise _beyond_a_table(inputs, error) from None
        return np.asarray(output.numpy()), np.asarray(after.numpy())

    if start is None:
        start = np.zeros(_state_width(path) if width is None else width, np.float32)
    return Recurrence(step, start.astype(np.float32))


def _state_width(path: Path) -> int:
    """The last axis of the second input of an exported step."""

    program = exported_program(path)
    placeholders = [n for n in program.graph.nodes if n.op == "placeholder"]
    users = [n for n in placeholders if n.name in program.graph_signature.user_inputs]
    return int(users[1].meta["val"].shape[-1])


def from_onnx(path: Path) -> Runtime:
    """A session of onnxruntime; a fixed batch axis of 1 is freed where the results agree."""
    _, onnxruntime = onnx_package.required(path, "onnx", "onnxruntime")

    def session(content: bytes) -> Any:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        providers = ["CPUExecutionProvider"]
        return onnxruntime.InferenceSession(
            content, options, providers=providers, enable_fallback=0
        )

    model = onnx_package.read(path)
    _refuse_what_varies(model, path)
    try:
        fixed = session(model.SerializeToString())
    except onnx_package.broken() as error:
        raise onnx_package.unreadable(path, error) from None
    name, shape = fixed.get_inputs()[0].name, fixed.get_inputs()[0].shape
    if shape and not isinstance(shape[0], int):
        return chunked(lambda batch: _output(fixed, name, batch))

    def one_by_one(batch: np.ndarray) -> np.ndarray:
        rows = [_output(fixed, name, batch[i : i + 1]) for i in range(len(batch))]
        return np.concatenate([np.asarray(row).reshape(1, *row.shape[-1:]) for row in rows])

    freed = _freed(model, session)
    if freed is None:
        return one_by_one
    tested: list[bool] = []

    def run(batch: np.ndarray) -> np.ndarray:
        if len(batch) == 1:
            # One input alone, as in a replay, is always run by the file as it is.
            return one_by_one(batch)
        if not tested:
            probe = batch[: min(len(batch), 16)]
            try:
                same = np.allclose(freed(name, probe), one_by_one(probe), rtol=1e-4, atol=1e-5)
            except (RuntimeError, ValueError):
                same = False
            tested.append(bool(same))
        return freed(name, batch) if tested[0] else one_by_one(batch)

    return chunked(run)


_RANDOM = frozenset(
    {
        "RandomNormal",
        "RandomNormalLike",
        "RandomUniform",
        "RandomUniformLike",
        "Multinomial",
        "Bernoulli",
    }
)


def _refuse_what_varies(model: Any, path: Path) -> None:
    """Raises D022 for a model that draws random numbers."""
    found = {node.op_type for node in _all_nodes(model.graph)} & _RANDOM
    if found:
        raise DistillError(
            "D022",
            f"{path.name} does not always give the same output for the same input",
            place=str(path),
            notes=tuple(f"{name} draws random numbers" for name in sorted(found)),
            remedy="export the model for inference",
            exit_code=4,
        )


def _all_nodes(graph: Any) -> Iterator[Any]:
    """The nodes of a graph and of those inside its If, Loop and Scan nodes."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
                yield from _all_nodes(inner)


def _output(session: Any, name: str, batch: np.ndarray) -> np.ndarray:
    """The first output of a session.  Raises ValueError for inputs that it does not take."""
    try:
        return np.asarray(session.run(None, {name: batch})[0])
    except onnx_package.of_runtime() as error:
        raise ValueError(str(error)) from None


def _freed(model: Any, session: Any) -> Callable[[str, np.ndarray], np.ndarray] | None:
    """The model with a free batch axis, and its reshapes to (1, ...) made to keep it."""
    import numpy
    import onnx
    from onnx import numpy_helper

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for value in (*copy.graph.input, *copy.graph.output):
        axes = value.type.tensor_type.shape.dim
        if len(axes):
            axes[0].ClearField("dim_value")
            axes[0].dim_param = "batch"
    del copy.graph.value_info[:]
    shapes = {node.input[1] for node in copy.graph.node if node.op_type == "Reshape"}
    for tensor in copy.graph.initializer:
        if tensor.name in shapes:
            shape = numpy_helper.to_array(tensor).copy()
            if len(shape) and shape[0] == 1 and (shape != -1).all():
                shape[0] = -1
                tensor.CopyFrom(numpy_helper.from_array(numpy.asarray(shape), tensor.name))
            elif len(shape) > 1 and shape[0] == 1:
                shape[0] = 0
                tensor.CopyFrom(numpy_helper.from_array(numpy.asarray(shape), tensor.name))
    try:
        inner = session(copy.SerializeToString())
    except onnx_package.broken():
        return None

    def run(name: str, batch: np.ndarray) -> np.ndarray:
        output = _output(inner, name, batch)
        if len(output) != len(batch):
            raise ValueError("the batch axis is not kept")
        return output.reshape(len(batch), *output.shape[-1:])

    return run


def from_gpt2(folder: Path) -> Runtime:
    """A Hugging Face folder of the GPT-2 family; positions count from 0."""
    try:
        import transformers
    except ImportError:
        raise DistillError(
            "D011",
            f"reading {folder.name} needs transformers",
            remedy="pip install 'distillc[huggingface]'",
            exit_code=4,
        ) from None
    from huggingface_hub.errors import HfHubHTTPError, StrictDataclassError
    from safetensors import SafetensorError

    from distill.frontends import gpt2

    gpt2.refuse_misfitting(folder)
    logging: Any = transformers.logging
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    loader: Any = transformers.GPT2LMHeadModel
    options = {"attn_implementation": "eager", "local_files_only": True}
    try:
        model, found = loader.from_pretrained(str(folder), output_loading_info=True, **options)
    except (*BROKEN, SafetensorError, StrictDataclassError, HfHubHTTPError) as error:
        raise gpt2.unreadable(folder, f"{type(error).__name__}: {error}") from None
    missing = [str(name) for key in ("missing_keys", "mismatched_keys") for name in found[key]]
    if missing:
        # transformers would make them up.
        raise gpt2.unreadable(folder, f"weights that are missing or do not fit: {missing[:6]}")
    return gpt2.Resumed(model.eval())
