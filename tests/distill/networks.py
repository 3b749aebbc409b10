"""Networks by hand, saved as files, for tests of what reads them."""

from __future__ import annotations

from pathlib import Path

import torch


class Affine(torch.nn.Module):
    """Says 1 where weights times input, less a limit, is positive."""

    def __init__(self, weights: tuple[float, ...], limit: float) -> None:
        super().__init__()
        self.weights = torch.nn.Parameter(torch.tensor(weights))
        self.limit = torch.nn.Parameter(torch.tensor(limit))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        score = (inputs.float() * self.weights).sum(1) - self.limit
        return torch.stack([-score, score], 1)


def saved(module: torch.nn.Module, folder: Path, domain: str, pack: str, inputs: int) -> Path:
    """A task folder with the module and its claim: the argmax of its outputs."""
    folder.mkdir(parents=True, exist_ok=True)
    batch = torch.export.Dim("batch", min=1, max=1 << 20)
    example = torch.zeros(2, inputs, dtype=torch.int64)
    program = torch.export.export(module.eval(), (example,), dynamic_shapes=({0: batch},))
    torch.export.save(program, str(folder / "model.pt2"))
    (folder / "task.toml").write_text(
        f'name = "{folder.name}"\ndomain = "{domain}"\npack = "{pack}"\n'
        '[input]\ndtype = "int64"\n[output]\ndecode = "argmax"\n',
        encoding="utf-8",
    )
    return folder


def affine(folder: Path, limit: float = 3.5, last: int = 60) -> Path:
    """A network that says whether a + 2 * b - c exceeds a limit."""
    domain = f"a: int[0..{last}], b: int[0..{last}], c: int[0..{last}]"
    return saved(Affine((1.0, 2.0, -1.0), limit), folder, domain, "[a, b, c]", 3)
