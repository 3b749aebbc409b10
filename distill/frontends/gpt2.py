"""Hugging Face folders of the GPT-2 family: config.json and model.safetensors."""

from __future__ import annotations

import copy
import functools
import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from distill.frontends import operators as o
from distill.frontends.building import Builder, Unsupported, Value
from distill.frontends.graph import program_of, unsupported
from distill.frontends.safetensors import read
from dsl.claim import Translation
from dsl.errors import DistillError
from dsl.program import Program

_CHUNK = 4096
"""So many items are read at a time: the tables of attention over more leave the cache."""
_ACTIVATIONS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "gelu_new": ("gelu", {"approximate": "tanh"}),
    "gelu_pytorch_tanh": ("gelu", {"approximate": "tanh"}),
    "gelu": ("gelu", {"approximate": "none"}),
    "relu": ("relu", {}),
    "silu": ("silu", {}),
    "swish": ("silu", {}),
    "tanh": ("tanh", {}),
}


class Resumed:
    """A causal language model of transformers as a runtime that can go on where it was
    (`dsl.prefixes.Resumable`), in chunks of a few rows."""

    def __init__(self, model: Any) -> None:
        self.model = model
        takes = inspect.signature(model.forward).parameters
        self._memory = "cache" if "cache" in takes else "past_key_values"
        self.longest = int(model.config.n_positions)
        self.kept = 2 * int(model.config.n_layer) * int(model.config.n_embd)

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        parts = (self._outputs(rows, None)[0] for rows in _chunks(batch))
        return np.concatenate(list(parts))

    def begin(self, batch: np.ndarray) -> tuple[np.ndarray, Any]:
        from transformers import DynamicCache

        raw, memory = self._outputs(batch, DynamicCache())
        return raw[:, -1], memory

    def resume(self, memory: Any, rows: np.ndarray, items: np.ndarray) -> tuple[np.ndarray, Any]:
        import torch

        chosen = copy.copy(memory)
        chosen.layers = [copy.copy(layer) for layer in memory.layers]
        if not np.array_equal(rows, np.arange(memory.layers[0].keys.shape[0])):
            chosen.batch_select_indices(torch.from_numpy(np.ascontiguousarray(rows)))
        raw, longer = self._outputs(items.astype(np.int64)[:, None], chosen)
        return raw[:, -1], longer

    def _outputs(self, batch: np.ndarray, memory: Any) -> tuple[np.ndarray, Any]:
        import torch

        tokens = torch.from_numpy(np.ascontiguousarray(batch))
        with torch.no_grad():
            options = {self._memory: memory, "use_cache": memory is not None}
            found = self.model(tokens, **options)
        return np.asarray(found.logits.numpy()), found.past_key_values


def _chunks(batch: np.ndarray) -> list[np.ndarray]:
    rows = max(1, _CHUNK // max(1, batch.shape[1]))
    return [batch[k : k + rows] for k in range(0, max(len(batch), 1), rows)]


def translation(folder: Path) -> Translation:
    """The network for each length of the prompt; None where it cannot be translated."""
    loaded = functools.cache(lambda: (read(folder / "model.safetensors"), _config(folder)))

    @functools.cache
    def network(shape: tuple[int, ...]) -> Program | None:
        if len(shape) != 1:
            return None
        try:
            weights, config = loaded()
            return program(weights, config, shape[0])
        except DistillError:
            return None

    return network


def _config(folder: Path) -> Mapping[str, Any]:
    try:
        found = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DistillError(
            "D010", f"config.json cannot be read: {error}", place=str(folder), exit_code=4
        ) from None
    if not isinstance(found, dict):
        raise DistillError("D010", "config.json is no table", place=str(folder), exit_code=4)
    return found


def refuse_misfitting(folder: Path) -> None:
    """Raises D010 where the weights lack what the configuration says, D018 for other models;
    an operation without a translation is no reason against the runtime."""
    weights, config = read(folder / "model.safetensors"), _config(folder)
    if config.get("model_type") != "gpt2":
        raise DistillError(
            "D018",
            f"folders of {config.get('model_type')} models cannot be read: {folder.name}",
            place=str(folder),
            remedy="export the model with torch.export or to ONNX",
            exit_code=4,
        )
    layers = config.get("n_layer", 12)
    if not isinstance(layers, int) or not 0 < layers <= len(weights):
        raise unreadable(folder, f"config.json says {layers} layers")
    try:
        program(weights, config, 1)
    except DistillError as error:
        if error.code != "D020":
            raise


def unreadable(folder: Path, note: str) -> DistillError:
    """D010: a folder that transformers does not read."""
    return DistillError(
        "D010",
        f"{folder.name} is not a readable GPT-2 folder",
        place=str(folder),
        notes=(note[:200],),
        exit_code=4,
    )


def program(weights: Mapping[str, np.ndarray], config: Mapping[str, Any], length: int) -> Program:
    """Tokens (B, length) to logits (B, length, vocabulary).  Raises D020, and D010 for weights
    that do not fit the configuration."""
    try:
        return _program(weights, config, length)
    except Unsupported as reason:
        raise unsupported("model.safetensors", {str(reason): [""]}) from None
    except (KeyError, ValueError, IndexError, TypeError) as error:
        raise DistillError(
            "D010",
            "model.safetensors does not fit config.json",
            notes=(f"{type(error).__name__}: {error}"[:200],),
            exit_code=4,
        ) from None


def _program(weights: Mapping[str, np.ndarray], config: Mapping[str, Any], length: int) -> Program:
    if config.get("model_type") != "gpt2":
        raise Unsupported(f"the architecture {config.get('model_type')}")
    if length > int(config["n_positions"]):
        raise Unsupported(f"{length} tokens: there are {config['n_positions']} positions")
    activation = config.get("activation_function", "gelu_new")
    if activation not in _ACTIVATIONS:
        raise Unsupported(f"the activation {activation}")
    b = Builder()
    # Transformers reads weights with and without the prefix.
    prefix = "transformer." if any(name.startswith("transformer.") for name in weights) else ""
    epsilon, heads = float(config.get("layer_norm_epsilon", 1e-5)), int(config["n_head"])

    def weight(name: str) -> Value:
        full = prefix + name
        return b.constant(weights[full].astype(np.float32, copy=False), full)

    def affine(x: Value, name: str) -> Value:
        b.hint = name
        matrix = weight(f"{name}.weight")
        return o.linear(b, x, b.transpose(matrix, (1, 0)), weight(f"{name}.bias"))

    def normal(x: Value, name: str) -> Value:
        b.hint = name
        return o.layer_norm(b, x, 1, weight(f"{name}.weight"), weight(f"{name}.bias"), epsilon)

    tokens = b.input("tokens", (length,), np.int64)
    b.hint = "wte"
    x = o.embedding(b, weight("wte.weight"), tokens)
    b.hint = "embedded"
    x = b.elementwise("add", x, b.slice(weight("wpe.weight"), 0, 0, length))
    for layer in range(int(config["n_layer"])):
        name = f"h.{layer}"
        factor = 1.0
        if config.get("scale_attn_weights", True):
            factor = (x.shape[-1] // heads) ** -0.5
        if config.get("scale_attn_by_inverse_layer_idx"):
            factor /= layer + 1
        joint = affine(normal(x, f"{name}.ln_1"), f"{name}.attn.c_attn")
        width = x.shape[-1]
        parts = []
        for place, part in enumerate(("query", "key", "value")):
            b.hint = f"{name}.attn.{part}"
            one = b.slice(joint, -1, place * width, (place + 1) * width)
            parts.append(b.transpose(b.reshape(one, (1, length, heads, -1)), (0, 2, 1, 3)))
        b.hint = f"{name}.attn"
        query, key, value = parts
        mixed = o.attention(b, query, key, value, None, causal=True, scale=factor)
        joined = b.reshape(b.transpose(mixed, (0, 2, 1, 3)), (1, length, width))
        projected = affine(joined, f"{name}.attn.c_proj")
        b.hint = f"{name}.middle"
        x = b.elementwise("add", projected, x)
        inner = affine(normal(x, f"{name}.ln_2"), f"{name}.mlp.c_fc")
        b.hint = f"{name}.mlp.act"
        primitive, options = _ACTIVATIONS[activation]
        outer = affine(b.elementwise(primitive, inner, **options), f"{name}.mlp.c_proj")
        b.hint = f"{name}.out"
        x = b.elementwise("add", outer, x)
    x = normal(x, "ln_f")
    b.hint = "logits"
    tied = config.get("tie_word_embeddings", True) or "lm_head.weight" not in weights
    head = weight("wte.weight") if tied else b.constant(weights["lm_head.weight"], "lm_head.weight")
    return program_of(b, o.linear(b, x, head, None), "model.safetensors")
