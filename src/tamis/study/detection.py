"""How well each difficulty score finds what is mislabeled: against all that is clean, and against the hardest of it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor, nn

from tamis.loop import Recipe, train
from tamis.models import Network as Model
from tamis.observe.features import activations, logits, penultimate
from tamis.observe.gradients import grand, grand_last_layer, vog
from tamis.observe.model_scores import MODEL_SCORES
from tamis.observe.neighbours import knn_agreement, knn_distance, prediction_depth
from tamis.observe.out_of_fold import normalized_margin, out_of_fold, out_of_fold_loss, self_confidence
from tamis.observe.scores import SCORES
from tamis.observe.second_split import second_split_forgetting_time
from tamis.providing import provide
from tamis.selection.policies import rho_loss, uniform
from tamis.types import Arrays, Kind, Truth, generator

Network = Callable[[int], Model]
CHECKPOINTS = 5  # of a run, evenly spaced: what VoG and GraNd are taken over
FOLDS = 5


@dataclass(frozen=True)
class Lab:
    """What the scores of models are computed with: data, a network by seed, and how it is trained."""

    data: Arrays
    network: Network
    recipe: Recipe
    passes: float
    seed: int

    def fit(
        self,
        part: Arrays,
        seed: int,
        passes: float,
        model: nn.Module | None = None,
        each: Callable[[nn.Module], None] | None = None,
        times: int = 0,
    ) -> nn.Module:
        """Train a network (or go on with ``model``) on ``part``; ``each`` is called ``times`` times, evenly spaced."""
        model = self.network(seed) if model is None else model
        done = 0

        def watch(fraction: float) -> None:
            nonlocal done
            if each is not None and fraction >= (done + 1) / times - 1e-9:
                done += 1
                each(model)

        train(
            model, part, part.take(torch.arange(1)), uniform(), budget=passes, unit="passes", recipe=self.recipe,
            seed=seed, points=1, record=(), progress=watch,
        )  # fmt: skip
        return model


def auroc(score: np.ndarray, positive: np.ndarray, negative: np.ndarray, higher_is_harder: bool) -> float | None:
    """Probability that a positive example scores harder than a negative one, ties counted half.

    Args:
        score: ``[N]``; NaN (never observed) is left out, infinities count as they stand. positive, negative: masks.

    Returns:
        In [0, 1], or None where one side is empty.

    Example:
        >>> auroc(np.array([3.0, 1.0, 2.0]), np.array([1, 0, 0], bool), np.array([0, 1, 1], bool), True)
        1.0
    """
    seen = ~np.isnan(score)
    p, n = positive & seen, negative & seen
    if not (p.any() and n.any()):
        return None
    values = np.concatenate([score[p], score[n]])
    ranks = rankdata(values if higher_is_harder else -values)
    wins = ranks[: p.sum()].sum() - p.sum() * (p.sum() + 1) / 2
    return float(wins / (p.sum() * n.sum()))


def detection(columns: dict[str, np.ndarray], truth: Truth, hard: np.ndarray) -> list[dict[str, Any]]:
    """One row a score: AUROC of mislabeled examples against all clean ones, and against the clean among ``hard``."""
    kind = truth.kind.cpu().numpy()
    mislabeled, clean = (kind & int(Kind.MISLABELED)) != 0, kind == int(Kind.CLEAN)
    rows = []
    for name, score in columns.items():
        if name in SCORES:
            made = SCORES[name]()
            harder, trainings = made.higher_is_harder, 0.0
        elif name in MODEL_SCORES:
            harder, trainings = MODEL_SCORES[name].higher_is_harder, MODEL_SCORES[name].trainings
        else:
            continue  # how often it was trained on is no score
        rows.append(
            {
                "score": name,
                "auroc": auroc(score, mislabeled, clean, harder),
                "auroc_hardest": auroc(score, mislabeled, clean & hard, harder),
                "trainings": trainings,
            }
        )
    return rows


def model_columns(model: nn.Module, lab: Lab) -> dict[str, np.ndarray]:
    """Every score of :data:`MODEL_SCORES` ``[N]``, of a run's final ``model`` or of the further ones it asks for."""
    x, y, n = lab.data.x, lab.data.y, len(lab.data.y)
    checkpoints: list[nn.Module] = []
    lab.fit(lab.data, lab.seed, lab.passes, each=lambda m: checkpoints.append(copy.deepcopy(m)), times=CHECKPOINTS)
    features = penultimate(model, x)
    predicted = logits(model, x).argmax(1).cpu()
    names = [name for name, module in model.named_modules() if isinstance(module, nn.ReLU)]
    layers = [x.flatten(1).cpu(), *(part.flatten(1) for part in activations(model, x, names))]
    probabilities = cross_validated(lab)
    irreducible = provide(rho_loss(halves=True), lab.data, lab.network, recipe=lab.recipe, seed=lab.seed)
    found = {
        "grand": grand(checkpoints[:2], x, y),
        "grand_last_layer": grand_last_layer(checkpoints[:2], x, y),
        "vog": vog(checkpoints, x, y),
        "irreducible_loss": irreducible.values["irreducible_loss"],
        "out_of_fold_loss": out_of_fold_loss(probabilities, y.cpu()),
        "self_confidence": self_confidence(probabilities, y.cpu()),
        "normalized_margin": normalized_margin(probabilities, y.cpu()),
        "knn_agreement": knn_agreement(features, y.cpu()),
        "knn_distance": knn_distance(features),
        "prediction_depth": prediction_depth(layers, y.cpu(), predicted),
        "second_split_forgetting_time": second_split(lab),
    }
    assert found.keys() == MODEL_SCORES.keys(), "every score of the table is measured"
    assert all(len(value) == n for value in found.values())
    return {name: value.cpu().float().numpy() for name, value in found.items()}


def cross_validated(lab: Lab) -> Tensor:
    """``[N, K]`` probabilities of every example by a model trained on the other folds."""

    def fit(x: Tensor, y: Tensor, held: Tensor) -> Tensor:
        model = lab.fit(Arrays(x, y, lab.data.classes), lab.seed, lab.passes)
        return logits(model, held).softmax(1).cpu()

    return out_of_fold(fit, lab.data.x, lab.data.y, FOLDS, generator=generator(lab.seed, "folds"))


def second_split(lab: Lab) -> Tensor:
    """SSFT of both halves: trained on one, then on the other, and what was forgotten after each pass."""
    order = torch.randperm(len(lab.data.y), generator=generator(lab.seed, "split"))
    found = torch.full((len(order),), torch.nan)
    halves = order.tensor_split(2)
    for own, other in (halves, halves[::-1]):
        mine = lab.data.take(own.to(lab.data.y.device))
        model = lab.fit(mine, lab.seed, lab.passes)
        wrong: list[Tensor] = []

        def forgotten(now: nn.Module, mine: Arrays = mine, wrong: list[Tensor] = wrong) -> None:
            wrong.append((logits(now, mine.x).argmax(1) != mine.y.cpu()).float())

        second = lab.data.take(other.to(lab.data.y.device))
        lab.fit(second, lab.seed + 1, lab.passes, model, forgotten, round(lab.passes))
        found[own] = second_split_forgetting_time(torch.stack(wrong))
    return found


_HARDEST: dict[tuple[Any, ...], np.ndarray] = {}


def hardest(key: tuple[Any, ...], make: Callable[[], Lab]) -> np.ndarray:
    """``[N]`` bool: the tenth with the lowest out-of-fold probability of its true label, by models trained on those.

    Args:
        key: what it is a function of; a process computes it once. make: the lab with the *clean* data.
    """
    if key not in _HARDEST:
        _HARDEST[key] = _lowest_tenth(make())
    return _HARDEST[key]


def _lowest_tenth(lab: Lab) -> np.ndarray:
    own = self_confidence(cross_validated(lab), lab.data.y.cpu()).numpy()
    return np.asarray(own <= np.quantile(own, 0.1))
