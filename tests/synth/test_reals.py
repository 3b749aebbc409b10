"""Short programs for networks of real inputs."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from distill import api
from dsl.affine import Affine, expression
from dsl.agreement import agreeing
from dsl.claim import Claim, Decode, Hypothesis, Proved, Refuted, Target, Verdict
from dsl.domain import Domain
from dsl.evaluate import run
from dsl.parser import parse, parse_expression
from dsl.printer import count_lines, to_python
from dsl.printer import expression as text_of
from dsl.program import Program, size
from synth.problem import Problem
from synth.reals import decisions, formulas, hinges, lattices
from synth.reals.cuts import separating, threshold_of
from synth.reals.decimals import digits, simplest
from synth.reals.fitting import cleaned, simplified
from verify import branch_and_bound


def trained(rule: Callable[..., np.ndarray], domain: Domain, seed: int = 0) -> torch.nn.Module:
    """A tanh network with two layers of 24 that follows a rule to about a thousandth."""
    torch.manual_seed(seed)
    names = domain.names
    columns = domain.sample(600, np.random.default_rng(seed))[0]
    inputs = torch.tensor(np.stack([columns[n] for n in names], 1), dtype=torch.float32)
    wanted = torch.tensor(rule(*(columns[n] for n in names)), dtype=torch.float32)[:, None]
    torch.set_num_threads(1)
    layers = [torch.nn.Linear(len(names), 24), torch.nn.Tanh()]
    layers += [torch.nn.Linear(24, 24), torch.nn.Tanh(), torch.nn.Linear(24, 1)]
    module = torch.nn.Sequential(*layers)
    optimizer = torch.optim.LBFGS(
        module.parameters(), max_iter=150, history_size=20, line_search_fn="strong_wolfe"
    )

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = ((module(inputs) - wanted) ** 2).mean()
        value.backward()
        return value

    optimizer.step(loss)
    return module


def of_function(
    function: Callable[[np.ndarray], np.ndarray], domain: str, decode: Decode
) -> Target:
    """The target of a function from packed inputs (B, d) to raw outputs (B, outputs)."""
    inputs = Domain(domain)
    pack = parse_expression("[" + ", ".join(inputs.names) + "]", "pack")
    return Target(inputs, Claim(pack, decode=decode), function)


def problem(target: Target, seconds: float = 12.0) -> Problem:
    return Problem(target, (), False, time.monotonic() + seconds)


def deviation(program: Program, target: Target) -> float:
    batch = target.domain.sample(20_000, np.random.default_rng(5))[0]
    return float(np.abs(run(program, batch) - target.evaluate(batch).values).max())


def agreement(program: Program, target: Target) -> float:
    batch = target.domain.sample(20_000, np.random.default_rng(5))[0]
    values = target.evaluate(batch).values
    return float(agreeing(program, batch, values, target.claim.decode).mean())


def smallest_within(hypotheses: list[Hypothesis], target: Target) -> Program:
    """The smallest of the programs that stay within the target's tolerance."""
    tolerance = target.claim.decode.tolerance
    programs = [parse(to_python(h.program)) for h in hypotheses]
    kept = [p for p in programs if deviation(p, target) <= tolerance]
    return min(kept, key=size)


def found(rule: Callable[..., np.ndarray], domain: str, tolerance: float) -> str:
    """The expression that comes back from a network that was trained on a rule; it is proved to
    stay within the tolerance everywhere, and is not proved within half of what was sampled."""
    module = trained(rule, Domain(domain)).eval()
    target, _ = api.target(module, domain, decode="value")
    target = tolerating(target, tolerance)
    program = smallest_within(list(formulas.propose(problem(target))), target)
    assert isinstance(verdict(program, target), Proved)
    closer = tolerating(target, 0.5 * deviation(program, target))
    assert isinstance(verdict(program, closer), Refuted)
    return text_of(program.result)


def tolerating(target: Target, tolerance: float) -> Target:
    decode = replace(target.claim.decode, tolerance=tolerance)
    return replace(target, claim=replace(target.claim, decode=decode))


def verdict(program: Program, target: Target) -> Verdict | None:
    deadline = time.monotonic() + 60
    return branch_and_bound.verify(program, target, deadline=deadline, seed=0, evidence={})


def test_a_network_trained_on_a_sine_comes_back_as_the_sine() -> None:
    assert found(lambda x: 2 * np.sin(1.5 * x), "x: real[-3,3]", 0.1) == "2 * math.sin(1.5 * x)"


def test_a_network_trained_on_a_quotient_comes_back_as_the_quotient() -> None:
    text = found(lambda x, y: x * y / (1 + x * x), "x: real[-2,2], y: real[-2,2]", 0.05)
    assert text in ("x * y / (1 + x * x)", "x * y / (x * x + 1)")


def test_a_network_trained_on_a_piecewise_rule_comes_back_as_the_rule() -> None:
    text = found(lambda x, y: np.maximum(x, y) + 1, "x: real[-2,2], y: real[-2,2]", 0.12)
    assert text in ("max(x, y) + 1", "max(y, x) + 1")


def lattice_network(inputs: np.ndarray) -> np.ndarray:
    """max(min(x + y, 2 - x), y - 1)."""
    x, y = inputs[:, 0].astype(np.float64), inputs[:, 1].astype(np.float64)
    return np.maximum(np.minimum(x + y, 2 - x), y - 1)[:, None].astype(np.float32)


def test_a_formula_with_another_constant_is_not_proved() -> None:
    module = trained(lambda x: 2 * np.sin(1.5 * x), Domain("x: real[-3,3]")).eval()
    target, _ = api.target(module, "x: real[-3,3]", decode="value")
    for text in ("2.1 * math.sin(1.5 * x)", "2 * math.sin(1.55 * x)", "2 * math.cos(1.5 * x)"):
        program = parse(f"import math\n\n\ndef program(x):\n    return {text}\n")
        assert isinstance(verdict(program, tolerating(target, 0.1)), Refuted)


def test_a_greatest_of_leasts_is_recovered_with_its_constants() -> None:
    target = of_function(
        lattice_network, "x: real[-2,2], y: real[-2,2]", Decode("value", tolerance=1e-4)
    )
    hypotheses = list(lattices.propose(problem(target)))
    program = smallest_within(hypotheses, target)
    assert deviation(program, target) <= 1e-4
    assert "max(" in to_python(program) and "min(" in to_python(program)
    assert size(program) <= 24


def test_bends_trade_size_against_distance() -> None:
    def wave(inputs: np.ndarray) -> np.ndarray:
        x, y = inputs[:, 0], inputs[:, 1]
        return (np.abs(x - 0.2) + np.maximum(0, x + y) + 0.5 * y)[:, None]

    target = of_function(wave, "x: real[-1,1], y: real[-1,1]", Decode("value", tolerance=1e-3))
    programs = [h.program for h in hinges.propose(problem(target))]
    sizes = [size(program) for program in programs]
    off = [deviation(program, target) for program in programs]
    assert sizes == sorted(sizes) and off[0] > 0.3
    assert off[-1] < 0.01 and len(programs[-1].body) <= 4


def test_a_curved_function_is_no_lattice() -> None:
    target = of_function(
        lambda batch: np.sin(3 * batch), "x: real[-2,2]", Decode("value", tolerance=1e-4)
    )
    assert list(lattices.propose(problem(target))) == []


def two_sides(inputs: np.ndarray) -> np.ndarray:
    """Scores of two actions; the second is greater where 2 x + v > 0.5."""
    score = 2 * inputs[:, 0] + inputs[:, 1] - 0.5
    return np.stack([-score, score], 1)


def test_a_half_plane_becomes_one_inequality_with_clean_constants() -> None:
    target = of_function(two_sides, "x: real[-1,1], v: real[-1,1]", Decode("argmax"))
    first = next(iter(decisions.propose(problem(target))))
    assert count_lines(first.program) == 2
    assert to_python(first.program).splitlines()[-1] in (
        "    return int(x + 0.5 * v > 0.25)",
        "    return int(x + 0.5 * v >= 0.25)",
    )


def three_regions(inputs: np.ndarray) -> np.ndarray:
    """Decides 0 below the diagonal, else 1 or 2 by the sign of x."""
    x, y = inputs[:, 0], inputs[:, 1]
    code = np.where(y < x, 0, np.where(x < 0, 1, 2))
    return np.eye(3)[code]


def test_regions_become_a_short_list_of_decisions() -> None:
    target = of_function(three_regions, "x: real[-1,1], y: real[-1,1]", Decode("argmax"))
    programs = [h.program for h in decisions.propose(problem(target, 4))]
    good = [p for p in programs if agreement(p, target) > 0.995]
    assert min(count_lines(p) for p in good) <= 6


def test_random_labels_get_no_big_program() -> None:
    def noise(inputs: np.ndarray) -> np.ndarray:
        bits = np.ascontiguousarray(inputs.astype(np.float32)).view(np.uint32)
        mixed = (bits[:, 0] * np.uint32(2654435761) ^ bits[:, 1] * np.uint32(40503)) >> np.uint32(9)
        return np.stack([mixed % 2 == 0, mixed % 2 == 1], 1).astype(np.float32)

    target = of_function(noise, "x: real[-1,1], y: real[-1,1]", Decode("argmax"))
    programs = [h.program for h in decisions.propose(problem(target, 4))]
    assert programs
    assert max(count_lines(p) for p in programs) <= 4


def test_proposers_leave_domains_that_are_not_real_alone() -> None:
    target = of_function(two_sides, "x: int[0..3], v: int[0..3]", Decode("argmax"))
    assert list(decisions.propose(problem(target))) == []
    assert list(formulas.propose(problem(target))) == []
    assert list(lattices.propose(problem(target))) == []


def test_the_simplest_number_of_an_interval_has_the_fewest_digits() -> None:
    assert simplest(0.47, 0.52) == 0.5
    assert simplest(-0.1, 0.2) == 0.0
    assert simplest(0.31412, 0.31418) == 0.31415
    assert simplest(1180.0, 1220.0) == 1200.0
    assert digits(0.5) == 1 and digits(-1.25) == 3


def test_a_threshold_lies_between_the_two_sides() -> None:
    low, high, wrong = threshold_of(
        np.array([0.0, 1.0, 2.0, 3.0]), np.array([False, False, True, True])
    )
    assert (low, high, wrong) == (1.0, 2.0, 0)


def test_a_separating_cut_leaves_outliers_out() -> None:
    rng = np.random.default_rng(1)
    inputs = rng.uniform(-1, 1, (2000, 2))
    side = inputs @ np.array([1.0, 2.0]) > 0.3
    side[:40] = ~side[:40]
    cut, wrong = separating(inputs, side)
    assert wrong <= 44
    ratio = cut.weights[1] / cut.weights[0]
    assert abs(ratio - 2.0) < 0.05


def test_constants_become_short_where_the_data_cannot_tell() -> None:
    x = np.linspace(-2, 2, 200)
    wanted = 0.5 * np.exp(x) + 3 + 0.001 * np.sin(50 * x)
    fit = cleaned(
        parse_expression("math.exp(x)", "test"),
        {"x": x},
        wanted,
        0.01,
        time.monotonic() + 10,
    )
    assert text_of(fit.expr) == "0.5 * math.exp(x) + 3"
    assert fit.deviation < 0.002


def test_simplified_formulas_have_no_idle_parts() -> None:
    cases = {
        "1 * x + 0": "x",
        "-1 * x + y": "y - x",
        "2 * (3 * x)": "6 * x",
        "x + -2": "x - 2",
        "x - -2": "x + 2",
        "y + -3 * x": "y - 3 * x",
    }
    for before, after in cases.items():
        assert text_of(simplified(parse_expression(before, "test"))) == after


def test_expressions_become_exact_affine_maps() -> None:
    one = expression(parse_expression("2 * x - 0.5 * (y - 3)", "test"))
    assert one is not None
    assert one.terms == {"x": 2, "y": -0.5} and one.constant == 1.5
    assert expression(parse_expression("x * y", "test")) is None
    assert expression(parse_expression("x - x", "test")) == Affine(one.constant * 0, {})
