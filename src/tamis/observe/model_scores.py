"""The table of difficulty scores that a pass of training does not give: they need models, features or predictions.

Each is a pure function, with its formula and its limits in its own docstring; scores of passes stand in
:data:`tamis.observe.scores.SCORES`. A further one costs one function and one row of :data:`MODEL_SCORES`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from tamis.observe import gradients, neighbours, out_of_fold, second_split


@dataclass(frozen=True)
class ModelScore:
    """A difficulty score ``[N]`` from what a model says, or several do.

    Attributes:
        name: of its column in a table.
        function: what computes it.
        higher_is_harder: its orientation; False where the lowest values are the hardest or most suspicious.
        reference: who published it.
        needs: the function's arguments without a default.
        forwards, backwards: of an example, for each model (or checkpoint, or epoch looked at).
        trainings: of a model on the whole set that come on top of the run itself, with the defaults.
        holds: memory while it is computed; D features, K classes, T models or epochs, P parameters, k neighbours.

    Example:
        >>> row = MODEL_SCORES["self_confidence"]
        >>> row.higher_is_harder, row.needs, row.cost
        (False, ('probabilities', 'y'), '1 forward per example; 4 trainings')
    """

    name: str
    function: Callable[..., Tensor]
    higher_is_harder: bool
    reference: str
    needs: tuple[str, ...]
    forwards: int
    backwards: int = 0
    trainings: float = 0.0
    each: str = ""
    holds: str = "4 bytes per example"

    @property
    def cost(self) -> str:
        """In words, for a list."""
        passes = " and ".join(filter(None, [_count(self.forwards, "forward"), _count(self.backwards, "backward")]))
        where = f"{passes} per example" + (f" and {self.each}" if self.each else "")
        return "; ".join(filter(None, [where, _count(self.trainings, "training")]))


def _count(number: float, what: str) -> str:
    return f"{number:g} {what}{'s' * (number != 1)}" if number else ""


_ROWS = (
    ModelScore(
        "grand", gradients.grand, True, "Paul et al. 2021, arXiv:2107.07075", ("models", "x", "y"),
        1, 1, each="model", holds="4 P bytes per example of a batch",
    ),
    ModelScore(
        "grand_last_layer", gradients.grand_last_layer, True, "Paul et al. 2021, arXiv:2107.07075",
        ("models", "x", "y"), 1, each="model", holds="4 D K bytes per example of a batch",
    ),
    ModelScore(
        "vog", gradients.vog, True, "Agarwal et al. 2022, arXiv:2008.11600", ("checkpoints", "x", "y"),
        1, 1, each="checkpoint", holds="4 T bytes for each number of an input of a batch",
    ),
    ModelScore(
        "irreducible_loss", out_of_fold.irreducible_loss, True, "Mindermann et al. 2022, arXiv:2206.07137",
        ("models", "x", "y"), 1, each="model", trainings=1, holds="4 K bytes per example",
    ),
    ModelScore(
        "out_of_fold_loss", out_of_fold.out_of_fold_loss, True, "cf. Chen et al. 2019, arXiv:1905.05040",
        ("probabilities", "y"), 1, trainings=4, holds="4 K bytes per example",
    ),
    ModelScore(
        "self_confidence", out_of_fold.self_confidence, False, "Northcutt et al. 2021, arXiv:1911.00068",
        ("probabilities", "y"), 1, trainings=4, holds="4 K bytes per example",
    ),
    ModelScore(
        "normalized_margin", out_of_fold.normalized_margin, False, "Northcutt et al. 2021, arXiv:1911.00068",
        ("probabilities", "y"), 1, trainings=4, holds="8 K bytes per example",
    ),
    ModelScore(
        "knn_agreement", neighbours.knn_agreement, False, "Zhu et al. 2022, arXiv:2110.06283",
        ("features", "y"), 1, holds="4 D + 8 k bytes per example",
    ),
    ModelScore(
        "knn_distance", neighbours.knn_distance, True, "Kuan & Mueller 2022, arXiv:2207.03061",
        ("features",), 1, holds="4 D + 8 k bytes per example",
    ),
    ModelScore(
        "prediction_depth", neighbours.prediction_depth, True, "Baldock et al. 2021, arXiv:2106.09647",
        ("layers", "y", "predicted"), 1, holds="4 D bytes per example and layer",
    ),
    ModelScore(
        "second_split_forgetting_time", second_split.second_split_forgetting_time, False,
        "Maini et al. 2022, arXiv:2210.15031", ("wrong",), 1, each="epoch", trainings=2, holds="4 T bytes per example",
    ),
)  # fmt: skip

MODEL_SCORES: dict[str, ModelScore] = {row.name: row for row in _ROWS}
"""All of them, by name."""
