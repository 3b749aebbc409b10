"""Trains a small CartPole policy, distils it, and drives the environment with the program.

    python examples/cartpole/closed_loop.py [--train] [--time 60] [--episodes 100]

Needs gymnasium.  `--train` makes model.pt2 again, by the cross-entropy method on the equations of
motion, from a fixed seed.  The program then stands in for the network in gymnasium's own
environment, on the same first states.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

HERE = Path(__file__).resolve().parent
HIDDEN, MEMBERS, ELITE, GENERATIONS, EPISODES = 12, 80, 16, 40, 4
SIZES = (4 * HIDDEN, HIDDEN, 2 * HIDDEN, 2)

Policy = Callable[[np.ndarray], int]


def stepped(state: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The next states (N, 4) of the cart and pole under pushes to the right or left (Barto, Sutton
    and Anderson 1983, with gymnasium's constants)."""
    _, x_dot, angle, angle_dot = state.T
    force = np.where(right, 10.0, -10.0)
    cosine, sine = np.cos(angle), np.sin(angle)
    push = (force + 0.05 * angle_dot**2 * sine) / 1.1
    bend = (9.8 * sine - cosine * push) / (0.5 * (4.0 / 3.0 - 0.1 * cosine**2 / 1.1))
    shift = push - 0.05 * bend * cosine / 1.1
    change = np.stack([x_dot, shift, angle_dot, bend], 1)
    return state + 0.02 * change


def scores(weights: np.ndarray, states: np.ndarray) -> np.ndarray:
    """Outputs (M, N, 2) of M members at M x N states."""
    first, bias, second, offset = np.split(weights, np.cumsum(SIZES)[:-1], axis=1)
    hidden = np.einsum("mhi,mni->mnh", first.reshape(-1, HIDDEN, 4), states) + bias[:, None, :]
    outputs = np.einsum("moh,mnh->mno", second.reshape(-1, 2, HIDDEN), np.tanh(hidden))
    return np.asarray(outputs + offset[:, None, :])


def returns(weights: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """For each member, the mean number of steps that it keeps the pole up, minus the mean
    distance from the middle."""
    members = len(weights)
    states = rng.uniform(-0.05, 0.05, (members, EPISODES, 4))
    states[:, 1:] *= np.array([12.0, 8.0, 1.5, 8.0])
    alive = np.ones((members, EPISODES), bool)
    total = np.zeros((members, EPISODES))
    for _ in range(500):
        action = scores(weights, states).argmax(2)
        after = stepped(states.reshape(-1, 4), action.ravel() == 1).reshape(states.shape)
        states = np.where(alive[:, :, None], after, states)
        alive &= (np.abs(states[:, :, 0]) <= 2.4) & (np.abs(states[:, :, 2]) <= 0.2095)
        total += alive * (1.0 - 0.2 * np.abs(states[:, :, 0]))
    return np.asarray(total.mean(1))


def trained(seed: int = 0) -> torch.nn.Module:
    """The policy 4 - 12 - 2 with tanh."""
    rng = np.random.default_rng(seed)
    mean, spread = np.zeros(sum(SIZES)), np.ones(sum(SIZES))
    for generation in range(GENERATIONS):
        members = mean + spread * rng.standard_normal((MEMBERS, len(mean)))
        value = returns(members, rng)
        best = members[np.argsort(-value)[:ELITE]]
        mean, spread = best.mean(0), best.std(0) + 0.3 * 0.9**generation
    first, bias, second, offset = np.split(mean, np.cumsum(SIZES)[:-1])
    module = torch.nn.Sequential(
        torch.nn.Linear(4, HIDDEN), torch.nn.Tanh(), torch.nn.Linear(HIDDEN, 2)
    )
    with torch.no_grad():
        module[0].weight.copy_(torch.tensor(first.reshape(HIDDEN, 4)))
        module[0].bias.copy_(torch.tensor(bias))
        module[2].weight.copy_(torch.tensor(second.reshape(2, HIDDEN)))
        module[2].bias.copy_(torch.tensor(offset))
    return module.eval()


def saved(module: torch.nn.Module) -> None:
    batch = torch.export.Dim("batch")
    exported = torch.export.export(module, (torch.zeros(2, 4),), dynamic_shapes=({0: batch},))
    torch.export.save(exported, HERE / "model.pt2")


def driven(policy: Policy, episodes: int) -> tuple[np.ndarray, np.ndarray]:
    """The returns of episodes from seeds 0, 1, ... in gymnasium, and all states on the way."""
    import gymnasium

    environment = gymnasium.make("CartPole-v1")
    found, states = [], []
    for seed in range(episodes):
        state, _ = environment.reset(seed=seed)
        total, over = 0.0, False
        while not over:
            states.append(state)
            state, reward, ended, cut, _ = environment.step(policy(state))
            total, over = total + float(reward), ended or cut
        found.append(total)
    environment.close()
    return np.array(found), np.array(states)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--train", action="store_true")
    parser.add_argument("--time", type=float, default=60.0, help="seconds for the distillation")
    parser.add_argument("--episodes", type=int, default=100)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.train:
        saved(trained())

    import distill
    from distill.emit import sentence

    result = distill.compile(HERE, time=options.time)
    print(result.source)
    names: dict[str, object] = {}
    exec(compile(result.source, "program.py", "exec"), names)
    program = names["program"]
    assert callable(program)
    module = torch.export.load(str(HERE / "model.pt2")).module()

    def by_network(state: np.ndarray) -> int:
        with torch.no_grad():
            return int(module(torch.from_numpy(np.asarray(state, np.float32)[None])).argmax())

    def by_program(state: np.ndarray) -> int:
        return int(program(*(float(value) for value in state)))

    network, states = driven(by_network, options.episodes)
    distilled, _ = driven(by_program, options.episodes)
    same = np.mean([by_program(state) == by_network(state) for state in states[::7]])
    print(sentence(result.verdict))
    print(f"episodes           {options.episodes}")
    print(f"return, network    {network.mean():.1f} (least {network.min():.0f})")
    print(f"return, program    {distilled.mean():.1f} (least {distilled.min():.0f})")
    print(f"same action on     {100 * same:.2f} % of the states that the network visits")


if __name__ == "__main__":
    main()
