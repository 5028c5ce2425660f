"""A network that trains on labels as they were given, and says what it thought of each example as it met it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tamis.loop import Recipe
from tamis.observe.posterior import corrected_loss
from tamis.separation.ready import cuda
from tamis.sieve import Sieve
from tamis.types import Arrays, TamisError, generator


class Student:
    """Trains ``model`` in place, pass by pass, on all examples but the ``held``.

    Attributes:
        matrix: ``[K, K]`` P(given | true), through which the loss goes; None is plain training. It may be replaced
            from one pass to the next.
        held: ``[N]`` bool. sieve: the loop's, with its costs. order: indices of the last pass, as they were met.
    """

    def __init__(
        self, data: Arrays, model: nn.Module, recipe: Recipe, passes: int, seed: int, *, matrix: Tensor | None = None,
        held: Tensor | None = None,
    ) -> None:  # fmt: skip
        self.data, self.model, self.recipe, self.matrix = data, model, recipe, matrix
        self.held = torch.zeros(len(data.y), dtype=torch.bool) if held is None else held
        self.sieve = Sieve(
            len(data.y), "uniform", budget=passes, unit="passes", seed=seed, record=(), exclude=held,
            loss_fn=None if matrix is None else self._corrected,
        )  # fmt: skip
        self._passes = 0
        self._batches = self.sieve.batches(recipe.batch, drop_last=True)
        self._optimizer = torch.optim.SGD(
            model.parameters(), lr=recipe.lr, momentum=recipe.momentum, nesterov=recipe.momentum > 0,
            weight_decay=recipe.weight_decay,
        )  # fmt: skip

    def one_pass(self) -> tuple[Tensor, Tensor]:
        """Logits ``[N, K]`` float32 as each example was met, before its own update, 0 where it was not; and whether it
        was, ``[N]`` 0 or 1. What the network draws, for dropout and the like, is decided by the seed and the pass."""
        n = len(self.data.y)
        said, met, order = torch.zeros(n, self.data.classes), torch.zeros(n), []
        self.model.train()
        with torch.random.fork_rng(cuda(self.data)):
            torch.manual_seed(generator(self.sieve.seed, "pass", self._passes).initial_seed())
            for drawn in self._batches:
                index = torch.tensor(drawn)
                for group in self._optimizer.param_groups:
                    group["lr"] = self.recipe.lr_at(self.sieve.fraction)
                outputs = self.model(self.data.x[index])
                self.sieve.loss(index, outputs, self.data.y[index]).backward()
                self._optimizer.step()
                self._optimizer.zero_grad()
                said[index], met[index] = outputs.detach().float().cpu(), 1.0
                order.append(index)
        self._passes, self.order = self._passes + 1, torch.cat(order)
        if not bool(said.isfinite().all()):
            raise TamisError(
                "the network's outputs are not finite: the inputs hold NaN or an infinity, or training has diverged; "
                "standardise the inputs, or lower the learning rate of the recipe."
            )
        return said, met

    def _corrected(self, outputs: Tensor, y: Tensor) -> Tensor:
        assert self.matrix is not None
        return corrected_loss(outputs, self.matrix, y)
