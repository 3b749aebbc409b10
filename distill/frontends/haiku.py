"""Transformers saved as Haiku parameters: `weights.npz` with a `config.json` beside it.

This is how compiled transformers (Lindner et al., "Tracr", 2023) are published: token and position
embeddings, layers of attention and a perceptron without normalisation, an unembedding; weights are
stored [in, out].  The outputs leave the first position (BOS) out.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dsl.claim import Runtime
from dsl.errors import DistillError

_EMBEDDING, _POSITIONS = "token_embed/embeddings", "pos_embed/embeddings"


def is_haiku_folder(folder: Path) -> bool:
    """Are there Haiku parameters of a transformer in this folder?"""
    if not (folder / "weights.npz").is_file() or not (folder / "config.json").is_file():
        return False
    with np.load(folder / "weights.npz", allow_pickle=False) as weights:
        return {_EMBEDDING, _POSITIONS, "unembed"} <= set(weights.files)


def read(folder: Path) -> tuple[dict[str, np.ndarray], Mapping[str, Any]]:
    """Parameters by name and the configuration.  Raises D010 for what this reader cannot run."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    with np.load(folder / "weights.npz", allow_pickle=False) as file:
        weights = {name: file[name] for name in file.files}
    if config.get("layer_norm") or config.get("activation", "relu") != "relu":
        raise DistillError(
            "D010",
            "a Haiku transformer with layer norm or an activation other than relu",
            place=str(folder),
            remedy="export it with jax.export or to model.pt2",
            exit_code=4,
        )
    return weights, config


def runtime(folder: Path) -> Runtime:
    """Tokens (B, 1 + T) to outputs (B, T, classes), in float32."""
    import torch

    from distill.oracle import chunked

    arrays, config = read(folder)
    w = {name: torch.from_numpy(array.astype(np.float32)) for name, array in arrays.items()}
    heads, layers = int(config["num_heads"]), int(config["num_layers"])

    def dense(x: Any, name: str) -> Any:
        return x @ w[f"{name}/w"] + w[f"{name}/b"]

    def attention(x: Any, name: str) -> Any:
        rows, length = x.shape[:2]
        query, key, value = (
            dense(x, f"{name}/{part}").reshape(rows, length, heads, -1)
            for part in ("query", "key", "value")
        )
        scores = torch.einsum("bthk,bThk->bhtT", query, key) / math.sqrt(query.shape[-1])
        if config.get("causal"):
            ahead = torch.ones(length, length, dtype=torch.bool).triu(1)
            scores = scores.masked_fill(ahead, -1e30)
        mixed = torch.einsum("bhtT,bThk->bthk", scores.softmax(-1), value)
        return dense(mixed.reshape(rows, length, -1), f"{name}/linear")

    def run(batch: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            tokens = torch.from_numpy(np.ascontiguousarray(batch))
            x = w[_EMBEDDING][tokens] + w[_POSITIONS][: tokens.shape[1]]
            for layer in range(layers):
                name = f"transformer/layer_{layer}"
                x = x + attention(x, f"{name}/attn")
                x = x + dense(dense(x, f"{name}/mlp/linear_1").relu(), f"{name}/mlp/linear_2")
            return np.asarray((x @ w["unembed"])[:, 1:].numpy())

    return chunked(run)
