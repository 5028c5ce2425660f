"""Providing what a policy needs beyond losses: irreducible losses, a clean reference set, further networks."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from tamis.loop import Augment, Given, Recipe, look, train
from tamis.observe import signals
from tamis.selection.policies import uniform
from tamis.selection.policy import Irreducible, Policy
from tamis.types import Arrays, Costs, TamisError, generator

Network = Callable[[int], nn.Module]


def provide(
    policy: Policy,
    data: Arrays,
    network: Network,
    *,
    clean: Arrays | None = None,
    recipe: Recipe = Recipe(),
    seed: int = 0,
    augment: Augment | None = None,
) -> Given:
    """What ``policy`` needs to train on ``data``, with what it costs.

    Args:
        data: the training set, as it will be trained on. network: seed to a fresh network on the data's device.
        clean: the same examples before anything was damaged, or as far as they were checked: a reference set is a
            share of it, which is then held out. recipe: for the reference models.

    Raises:
        TamisError: the policy needs a clean reference set and ``clean`` is None; too few examples for its parts.

    Example:
        >>> import tamis
        >>> data = Arrays(torch.rand(40, 3), torch.arange(40) % 2, 2)
        >>> given = provide(tamis.policies.rho_loss(), data, lambda seed: nn.Linear(3, 2), recipe=Recipe(batch=5))
        >>> given.values["irreducible_loss"].shape, int(given.exclude.sum()), given.costs.forwards
        (torch.Size([40]), 10, 40)
    """
    needs, n = policy.needs, len(data.y)
    order = torch.randperm(n, generator=generator(seed, "provide"))
    held = torch.zeros(n, dtype=torch.bool)
    reference = None
    if needs.reference:
        if clean is None:
            raise TamisError(f"{policy.label} needs a clean reference set, but none was given; hand it over as clean.")
        chosen, order = order.tensor_split([max(data.classes, round(needs.reference * n))])
        reference, held[chosen] = clean.take(chosen), True
    values: dict[str, Tensor] = {}
    costs = Costs()
    if needs.irreducible is not None:
        parts = _parts(needs.irreducible, order)
        if min(len(part) for part, _ in parts) < recipe.batch:
            raise TamisError(
                f"{policy.label} needs at least a batch of {recipe.batch} examples for its reference model."
            )
        loss = torch.full((n,), torch.nan)
        for number, (part, scored) in enumerate(parts):
            model = network(seed + 1 + number)
            sub = data.take(part.to(data.y.device))
            passes = needs.irreducible.passes
            record = train(
                model, sub, sub.take(torch.arange(1)), uniform(), budget=passes, unit="passes", recipe=recipe,
                seed=seed, augment=augment, points=1,
            )  # fmt: skip
            loss[scored] = look(model, data.take(scored.to(data.y.device)), (signals.loss,))[1]["loss"].cpu()
            spent = record.points[-1].costs
            costs += Costs(spent.candidates, len(scored), spent.backwards, spent.steps)
            if not needs.irreducible.halves:
                held[part] = True
        values["irreducible_loss"] = loss
    peers = tuple(network(seed + 101 + number) for number in range(needs.models - 1))
    return Given(values, held if bool(held.any()) else None, reference, peers, costs)


def _parts(need: Irreducible, order: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Pairs (trained on, scored): a holdout set and everything, or each half and the other."""
    if need.halves:
        first, second = order.tensor_split(2)
        return [(first, second), (second, first)]
    return [(order[: round(need.holdout * len(order))], order)]
