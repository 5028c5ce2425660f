"""Scores: the table, what they need, and that each is oriented as it says on examples whose hardness is known."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn.functional as F

from tamis.observe import scores, signals
from tamis.observe.reducers import Mean
from tamis.observe.scores import SCORES, Score, default
from tamis.observe.step_cost import microseconds
from tamis.types import Observation, TamisError

torch.set_num_threads(1)
ALL = pytest.mark.parametrize("name", sorted(SCORES))
EPOCHS, EACH = 12, 20


def test_the_table_is_the_public_list() -> None:
    functions = {
        k for k, v in vars(scores).items()
        if callable(v) and not k.startswith("_") and getattr(v, "__module__", "") == scores.__name__
    }  # fmt: skip
    assert functions - {"Score", "default"} == set(SCORES)
    assert len(SCORES) == 17
    assert all(SCORES[name] is getattr(scores, name) for name in SCORES)


@ALL
def test_a_score_is_documented_and_carries_its_own_name(name: str) -> None:
    score = SCORES[name]()
    assert score.name == name
    assert score == SCORES[name]()
    assert score.reference
    assert score.phase == "train"
    text = SCORES[name].__doc__ or ""
    assert ("Higher" if score.higher_is_harder else "Lower") in text.split("Fails when")[0]
    assert "Fails when:" in text
    assert "Reference:" in text
    with pytest.raises(dataclasses.FrozenInstanceError):
        score.name = "other"  # type: ignore[misc]


@ALL
def test_needs_are_exactly_what_the_signal_reads(name: str) -> None:
    score = SCORES[name]()
    whole = Observation(torch.tensor([0]), torch.ones(1), torch.ones(1, 3), torch.tensor([1]), torch.ones(1, 2))
    optional = {"logits", "target", "features"}
    score.signal(whole._replace(**dict.fromkeys(optional - set(score.needs))))
    for need in score.needs:
        with pytest.raises(TamisError, match=need):
            score.signal(whole._replace(**{need: None}))


def test_the_default_is_what_a_sieve_is_said_to_record() -> None:
    assert [score.name for score in default()] == ["last_loss", "mean_loss", "aum", "correctness"]


def dynamics() -> list[Observation]:
    """Three kinds of 20 examples of class 0 among three classes: easy, learnt late, and mislabeled (never learnt).

    The gap between the true class and the others grows by one an epoch for the easy; for the late it swings around
    zero, falling back a few times; of the mislabeled the model predicts the true class 1, ever more surely, until the
    loss of the given label rises.
    """
    noise = torch.Generator().manual_seed(0)
    label = torch.zeros(3 * EACH, dtype=torch.int64)
    seen = []
    for t in range(EPOCHS):
        gap = torch.cat([
            torch.full((EACH,), 3.0 + 0.5 * t),
            torch.full((EACH,), (0.5 if t % 3 == 2 else -0.5) + 0.05 * t),
            torch.full((EACH,), -0.3 * (t + 1)),
        ])  # fmt: skip
        z = torch.zeros(3 * EACH, 3)
        z[:, 0] = gap.clamp(min=0) + 0.01 * torch.rand(3 * EACH, generator=noise)
        z[:, 1] = (-gap).clamp(min=0)
        loss = F.cross_entropy(z, label, reduction="none")
        order = torch.randperm(3 * EACH, generator=noise)
        for piece in order.split(16):
            seen.append(Observation(piece, loss[piece], z[piece], label[piece], step=len(seen)))
    return seen


def values(score: Score) -> torch.Tensor:
    state = score.reducer.init(3 * EACH)
    for observation in dynamics():
        score.reducer.update(state, observation.index, score.signal(observation))
    return score.reducer.compute(state)


@pytest.mark.parametrize("name", sorted(set(SCORES) - {"times_observed", "loss_slope"}))
def test_orientation_ranks_late_examples_above_easy_ones(name: str) -> None:
    # loss_slope has nothing left to fall on an easy example: its docstring says so.
    score = SCORES[name]()
    easy, late, _ = (values(score) * (1 if score.higher_is_harder else -1)).split(EACH)
    assert bool((late[:, None] > easy[None]).all())


@pytest.mark.parametrize("name", sorted(set(SCORES) - {"times_observed", "entropy", "variability"}))
def test_orientation_ranks_mislabeled_examples_above_late_ones(name: str) -> None:
    # entropy and variability cannot see a surely mispredicted example: their docstrings say so.
    score = SCORES[name]()
    _, late, mislabeled = (values(score) * (1 if score.higher_is_harder else -1)).split(EACH)
    assert bool((mislabeled[:, None] >= late[None]).all())
    assert float(mislabeled.mean()) > float(late.mean()) or not bool(late.isfinite().all())


def test_a_steps_cost_is_taken_on_one_thread_and_their_number_put_back() -> None:
    threads: list[int] = []

    def signal(seen: Observation) -> torch.Tensor:
        threads.append(torch.get_num_threads())
        return signals.loss(seen)

    torch.set_num_threads(2)
    try:
        assert microseconds(Score("own", signal, Mean(), True, "nobody"), batch=8, repeats=1) > 0
        assert (set(threads), torch.get_num_threads()) == ({1}, 2)
    finally:
        torch.set_num_threads(1)


def test_times_observed_counts_visits() -> None:
    assert values(scores.times_observed()).tolist() == [EPOCHS] * 3 * EACH
