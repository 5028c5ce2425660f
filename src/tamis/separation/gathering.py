"""Gathering: networks that learn past the noise, and what they say of every example meanwhile.

One run learns through a class transition matrix that it estimates itself, early, and then holds: the network minimises
the loss of the *given* labels through the matrix and has no need to memorise a wrong one to explain it. Then the data
are cut into folds, and a network for each learns from the others, through the matrix that the run found, and looks,
after every pass from the second on, at its own fold. No such look is of an example in training, so what is estimated
from them does not lean towards "no noise". What all of them said of an example while they trained on it is heard as
well, each pass by what it knew.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from numbers import Integral
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from tamis.loop import Recipe
from tamis.observe.calibration import pooled, scale_and_transition
from tamis.observe.features import logits
from tamis.observe.out_of_fold import folds_of
from tamis.observe.posterior import KNOWING, beginning, explained, transition, true_label
from tamis.separation.evidence import Evidence, Fold, refitted
from tamis.separation.ready import Network, ready
from tamis.separation.student import Student
from tamis.types import Arrays, Costs, TamisError, generator

Part = TypeVar("Part")


class Keep(Protocol):
    """Makes a part of the work, or finds it where an earlier call kept it: how a long gathering is resumed."""

    def __call__(self, name: str, make: Callable[[], Part]) -> Part: ...


def _make(name: str, make: Callable[[], Part]) -> Part:
    return make()


IGNORED = 1  # passes: before them a network knows nothing
SETTLED = 3  # passes after which the matrix of a run is held: later, what is memorised says "no noise"


def gather_evidence(
    data: Arrays,
    network: Network,
    *,
    recipe: Recipe | None = None,
    passes: int = 10,
    folds: int = 4,
    fold_passes: int = 5,
    seed: int = 0,
    progress: Callable[[float], None] | None = None,
    keep: Keep = _make,
) -> Evidence:
    """One run, and then a cross-fitted one through the matrix that it found: what :func:`~tamis.separate` reads best.

    Cost: ``passes`` epochs, and ``fold_passes`` (folds - 1) more with a look at everything after each but the first:
    26.3 epochs at the defaults, 2.6 runs of 10.

    Args:
        data: with the labels as they were given. network: seed to a fresh network that gives logits ``[B, K]``.
        recipe: how each is trained; None is :meth:`~tamis.loop.Recipe.sized`. passes: of the first run. fold_passes: of
            each fold's network over its part.
        folds: at least 2; 0 stops after the first run (see :func:`one_run`). progress: called with the fraction done.
        keep: given a name and how to make that part (an :class:`Evidence` or a :class:`Fold`), returns the part.

    Raises:
        TamisError: data or labels that do not fit, too few passes to look twice, folds that leave less than a batch, a
            network that does not give logits for these data or is the same one for two seeds.

    Example:
        >>> from torch import nn
        >>> data = Arrays(torch.randn(60, 4), torch.arange(60) % 2, 2)
        >>> small = Recipe(batch=10)
        >>> found = gather_evidence(data, lambda seed: nn.Linear(4, 2), recipe=small, passes=3, fold_passes=3)
        >>> found.probabilities.shape, found.views.shape, found.looks[0].item()
        (torch.Size([60, 2]), torch.Size([5, 60, 2]), 2.0)

    Fails when: more than half of a class bears one other label; or examples are so few that (folds - 1)/folds of them
    teach a network little.
    """
    recipe, _ = ready(data, network, recipe, seed, folds)
    _enough(passes)
    if folds:
        _enough(fold_passes, "fold_passes")
    whole = passes + fold_passes * max(0, folds - 1)
    mine = _part(progress, 0, passes / whole)
    first = keep("first", lambda: one_run(data, network, recipe=recipe, passes=passes, seed=seed, progress=mine))
    if folds == 0:
        return first

    def refit(matrix: Tensor) -> Evidence:
        return cross_fit(
            data, network, matrix, recipe=recipe, folds=folds, passes=fold_passes, seed=seed + 1,
            progress=_part(progress, passes / whole, 1), keep=keep,
        )  # fmt: skip

    return refitted(first, refit)


def one_run(
    data: Arrays,
    network: Network,
    *,
    recipe: Recipe | None = None,
    passes: int = 10,
    seed: int = 0,
    progress: Callable[[float], None] | None = None,
) -> Evidence:
    """One run through a matrix that it estimates itself: the cost of training, and no pass more.

    A look is the training pass itself, before the pass's own update, from the second on. The matrix is estimated after
    each of the first passes, from all looks so far, and held from then on. So soon a network is not as sure as it may
    be, and EM takes its doubt for right labels: with a scale for it, by likelihood, and classes pooled as far as chance
    can explain that they differ, the same looks say more truly how many labels are wrong. That matrix is ``found``, for
    networks that begin afresh; this run goes on through the other one, which is too near to the identity and does no
    harm where the noise depends on the example.

    Raises:
        TamisError: as for :func:`gather_evidence`.

    Fails when: read as a noise rate: the network has trained on what it is asked about, so the rate comes out low.
    """
    recipe, network = ready(data, network, recipe, seed)
    _enough(passes)
    n, classes = len(data.y), data.classes
    y = data.y.cpu()
    start = beginning(torch.bincount(y, minlength=classes))
    student = Student(data, network(seed), recipe, passes, seed, matrix=start)
    mean, view = torch.zeros(n, classes), _View(n, classes)
    looks, own = torch.zeros(n), _Own(n)
    for number in range(passes):
        said, seen = student.one_pass()
        if number >= IGNORED:
            met = seen > 0
            view.hear(said, seen, explained(said[met].softmax(1), y[met], student.matrix))
        p = said.log_softmax(1).exp() * seen[:, None]
        mean, looks = (p, seen) if number <= IGNORED else (mean + p, looks + seen)  # the first is for the matrix alone
        own = _Own(n) if number <= IGNORED else own
        own.see(p.gather(1, y[:, None])[:, 0], seen)
        if number < SETTLED:
            known = looks > 0
            p = mean[known] / looks[known, None]
            matrix = student.matrix = transition(p, y[known], student.matrix, rounds=5)
            found = _found(p, y[known], matrix) if number == SETTLED - 1 else None
        if progress is not None:
            progress((number + 1) / passes)
    unknown = looks == 0
    average = torch.where(unknown[:, None], 1 / classes, mean / looks.clamp(min=1)[:, None])
    return Evidence(
        y, own.loss(), looks, None, average, student.matrix, student.sieve.costs, view.mean()[None], *own.map(),
        view.weight[None], found,
    )  # fmt: skip


def _found(p: Tensor, given: Tensor, matrix: Tensor) -> Tensor:
    """The matrix by what was said ``[n, K]``, made as sure as the given labels bear out; classes pooled."""
    scale, found = scale_and_transition(p.clamp(min=1e-12).log(), given, matrix)
    surer = (scale * p.double().clamp(min=1e-12).log()).softmax(1)
    return pooled(found, true_label(surer, found, given).sum(0))


def cross_fit(
    data: Arrays,
    network: Network,
    matrix: Tensor,
    *,
    recipe: Recipe | None = None,
    folds: int = 4,
    passes: int = 5,
    seed: int = 0,
    progress: Callable[[float], None] | None = None,
    keep: Keep = _make,
) -> Evidence:
    """Train a network for each fold on the others, through ``matrix``; each looks at its own fold after every pass
    from the second on.

    What it says of the others it says in training, before each pass's own update: no pass is made for it. Looks are
    averaged as log-probabilities, each by the cube of the nats that its pass explained in training: what is memorised
    late weighs less than where it was plainly wrong before.

    Args:
        data, network, recipe, folds, passes, progress, keep: as in :func:`gather_evidence`, passes as its
            ``fold_passes``. matrix: ``[K, K]`` P(given | true), rows summing to 1, as :func:`~tamis.separate` hands it
            to its ``refit``.

    Raises:
        TamisError: as for :func:`gather_evidence`, no folds, or a matrix that is none.

    Example:
        >>> from torch import nn
        >>> data, small = Arrays(torch.randn(60, 4), torch.arange(60) % 2, 2), Recipe(batch=10)
        >>> found = cross_fit(data, lambda seed: nn.Linear(4, 2), torch.eye(2), recipe=small, folds=2, passes=3)
        >>> found.fold.unique(), found.views.shape
        (tensor([0, 1]), torch.Size([2, 60, 2]))
    """
    recipe, network = ready(data, network, recipe, seed, folds)
    _enough(passes)
    _probabilities(matrix, data.classes)
    n, y = len(data.y), data.y.cpu()
    fold = folds_of(y, folds, generator(seed, "folds"))
    parts = []
    for k in range(folds):
        student = Student(data, network(seed + k), recipe, passes, seed + k, matrix=matrix, held=fold == k)
        mine = _part(progress, k / folds, (k + 1) / folds)
        make = partial(_fold, student, passes, mine)
        parts.append(keep(f"fold-{k}", make))
    views, own = torch.stack([part.view for part in parts]), _Own(n)
    weights = torch.stack([part.weight for part in parts])
    costs = Costs()
    for part in parts:
        own.sums[:, part.held] = part.own
        costs += part.costs
    return Evidence(
        y, own.loss(), own.sums[0], fold, views[fold, torch.arange(n)].float().softmax(1), matrix, costs,
        views, *own.map(), weights,
    )  # fmt: skip


def _fold(student: Student, passes: int, progress: Callable[[float], None] | None) -> Fold:
    data, held = student.data, student.held.nonzero().squeeze(1)
    n, y = len(data.y), data.y.cpu()
    view, own = _View(n, data.classes), _Own(len(held))
    for number in range(passes):
        met, seen = student.one_pass()
        if number >= IGNORED:
            trained = seen > 0
            nats = explained(met[trained].softmax(1), y[trained], student.matrix)
            outside = logits(student.model, data.x[held]).float().cpu()
            own.see(outside.softmax(1).gather(1, y[held, None])[:, 0])
            met[held], seen[held] = outside, 1.0
            view.hear(met, seen, nats)
        if progress is not None:
            progress((number + 1) / passes)
    costs = student.sieve.costs + Costs(forwards=len(held) * (passes - IGNORED))
    return Fold(held, view.mean(), own.sums, costs, view.weight)


class _View:
    """What one network says of ``n`` examples: its passes' log-probabilities, each pass by what it knew.

    Attributes:
        weight: ``[]``, what it knew at its best, as it counts.
    """

    def __init__(self, n: int, classes: int) -> None:
        self._said, self._heard, self.weight = torch.zeros(n, classes), torch.zeros(n), torch.zeros(())

    def hear(self, said: Tensor, seen: Tensor, nats: float) -> None:
        """Logits ``[N, K]`` of those ``seen`` ``[N]`` 0 or 1, by a network that explained so many ``nats``."""
        counts = nats**KNOWING
        self._said += counts * said.log_softmax(1) * seen[:, None]
        self._heard += counts * seen
        self.weight = self.weight.clamp(min=counts)

    def mean(self) -> Tensor:
        """``[N, K]`` float16; 0 where nothing was said: equally probable."""
        return torch.where(self._heard[:, None] > 0, self._said / self._heard[:, None], 0.0).half()


class _Own:
    """What looks said of the given label: how many there were, and the sums of log p, p and p^2 ``[4, N]``."""

    def __init__(self, n: int) -> None:
        self.sums = torch.zeros(4, n)

    def see(self, p: Tensor, at: Tensor | None = None) -> None:
        """``p`` ``[N]``, of all or of those where ``at`` ``[N]`` is 1."""
        one = torch.ones_like(p) if at is None else at
        self.sums += torch.stack([one, one * p.clamp(min=1e-12).log(), one * p, one * p**2])

    def loss(self) -> Tensor:
        looks, log = self.sums[0], self.sums[1]
        return torch.where(looks > 0, -log / looks, torch.nan)

    def map(self) -> tuple[Tensor, Tensor]:
        """Confidence and variability."""
        looks, _, total, square = self.sums
        mean = torch.where(looks > 0, total / looks, torch.nan)
        return mean, (square / looks - mean**2).clamp(min=0).sqrt()


def _enough(passes: int, name: str = "passes") -> None:
    if not isinstance(passes, Integral) or passes < IGNORED + 2:
        raise TamisError(
            f"{name} is {passes}, but after the first every example is looked at twice: a whole number, at least 3."
        )


def _probabilities(matrix: Tensor, classes: int) -> None:
    """That the matrix is one to train through."""
    must = f"matrix must be [{classes}, {classes}], P(given | true), with rows of probabilities that sum to 1"
    shape = list(matrix.shape) if isinstance(matrix, Tensor) else type(matrix).__name__
    if shape != [classes, classes]:
        raise TamisError(f"{must}, but it is {shape}.")
    if not bool(((matrix.double().sum(1) - 1).abs() < 1e-3).all()) or bool((matrix < 0).any()):
        raise TamisError(f"{must}, but a row sums to something else or holds less than 0.")


def _part(progress: Callable[[float], None] | None, start: float, end: float) -> Callable[[float], None] | None:
    return None if progress is None else lambda fraction: progress(start + fraction * (end - start))
