"""What a policy needs beyond losses: declared, provided, charged, and used."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import tamis
from tamis.loop import Given, Recipe, look, train
from tamis.observe import signals
from tamis.observe.relative import ClassWeightedReducibleLoss, reducible_loss
from tamis.providing import provide
from tamis.selection import policies
from tamis.selection.cost import ASSUMED
from tamis.types import Arrays, Costs, Observation, TamisError

N, D, K, B = 240, 8, 3, 16
X = torch.randn(N, D, generator=torch.Generator().manual_seed(0))
Y = (X @ torch.randn(D, K, generator=torch.Generator().manual_seed(1))).argmax(1)
DATA = Arrays(X, Y, K)
RECIPE = Recipe(batch=B)


def network(seed: int) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(D, 64), nn.ReLU(), nn.Linear(64, K))


def run(policy: tamis.Policy, budget: float = 4, data: Arrays = DATA, given: Given | None = None) -> tamis.Record:
    given = provide(policy, data, network, clean=data, recipe=RECIPE) if given is None else given
    return train(network(0), data, data, policy, budget=budget, recipe=RECIPE, given=given, points=2)


def test_a_holdout_is_charged_and_never_trained_on() -> None:
    policy = policies.rho_loss(keep=0.5, holdout=0.25)
    given = provide(policy, DATA, network, recipe=RECIPE)
    assert given.exclude is not None
    held = given.exclude.numpy()
    assert held.sum() == N // 4
    assert given.costs == Costs(candidates=480, forwards=N, backwards=480, steps=30)  # 10 passes of 3 batches
    record = run(policy, 6, given=given)
    assert record.examples["trained"][held].sum() == 0
    assert (record.examples["trained"][~held] > 0).mean() > 0.5
    last = record.points[-1]
    assert last.costs.backwards - given.costs.backwards == record.examples["trained"].sum()
    assert 6 <= last.cost < 6.2, "the reference model is paid out of the budget"
    assert last.cost == pytest.approx(ASSUMED.cost(last.costs, N))


def test_the_irreducible_loss_is_that_of_a_model_that_never_saw_the_example() -> None:
    """Labels by chance: a model fits what it saw and is at a loss about the rest."""
    chance = DATA._replace(y=torch.randint(K, (N,), generator=torch.Generator().manual_seed(3)))
    need = policies.rho_loss(halves=True)
    need = need.__class__(**{**vars(need), "needs": tamis.selection.policy.Needs(irreducible=_halves(60))})
    halves = provide(need, chance, network, recipe=RECIPE)
    assert halves.exclude is None
    assert halves.values["irreducible_loss"].mean() > 1.3
    own = network(1)
    train(own, chance, chance, policies.uniform(), budget=60, unit="passes", recipe=RECIPE, points=1)
    assert look(own, chance, (signals.loss,))[1]["loss"].mean() < 0.6


def _halves(passes: float) -> tamis.selection.policy.Irreducible:
    return tamis.selection.policy.Irreducible(halves=True, passes=passes)


def test_what_is_learnable_is_preferred_to_what_is_noise() -> None:
    noisy = torch.zeros(N, dtype=torch.bool)
    noisy[torch.randperm(N, generator=torch.Generator().manual_seed(2))[:72]] = True
    data = DATA._replace(y=torch.where(noisy, (Y + 1) % K, Y))
    shares = {}
    for policy in (policies.rho_loss(keep=0.25, holdout=0.3), policies.top_k(keep=0.25)):
        trained = run(policy, 12, data).examples["trained"]
        shares[policy.label.split("(")[0]] = trained[noisy.numpy()].sum() / trained.sum()
    assert shares["rho_loss"] < 0.3 < shares["top_k"]


class Fond(nn.Module):
    """A network that is sure of one class and learns nothing to speak of."""

    def __init__(self, favourite: int) -> None:
        super().__init__()
        self.favourite, self.unused = favourite, nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        return F.one_hot(torch.full((len(x),), self.favourite), K) * 20.0 + 0 * self.unused


def test_co_teaching_trains_each_network_on_what_the_other_finds_easy() -> None:
    policy = policies.co_teaching(forget=0.7, passes=1e-9)
    given = Given(peers=(Fond(2),))
    record = train(Fond(1), DATA, DATA, policy, budget=4, recipe=RECIPE, given=given, points=1)
    counts = torch.zeros(K).index_add_(0, Y, torch.from_numpy(record.examples["trained"]).float())
    assert counts[2] > 0.8 * counts.sum(), "the first is given what its peer, who is sure of class 2, finds easy"
    costs, trained = record.points[-1].costs, record.examples["trained"].sum()
    assert costs.backwards == 2 * trained
    assert 4 <= record.points[-1].cost < 4.5


def test_a_policy_without_what_it_needs_is_refused_in_a_sentence() -> None:
    with pytest.raises(TamisError, match="trains 2 networks, but 1 were given"):
        train(network(0), DATA, DATA, policies.co_teaching(), budget=1)
    with pytest.raises(TamisError, match="needs given"):
        tamis.Sieve(N, policies.rho_loss(), budget=1)
    with pytest.raises(TamisError, match="clean reference set"):
        provide(policies.reducr(), DATA, network, recipe=RECIPE)
    with pytest.raises(TamisError, match="at least a batch"):
        provide(policies.rho_loss(holdout=0.01), DATA, network, recipe=RECIPE)
    with pytest.raises(TamisError, match="before it trains"):
        run(policies.rho_loss(), budget=1)
    with pytest.raises(TamisError, match="nothing to train on"):
        tamis.Sieve(N, "uniform", budget=1, exclude=torch.ones(N, dtype=torch.bool))
    with pytest.raises(TamisError, match="no linear layer"):
        _one_batch(policies.divbs(keep=1.0), Fond(0))
    with pytest.raises(TamisError, match="pictures"):
        _one_batch(policies.selective_backprop_composer(start=0.0), network(0))


def _one_batch(policy: tamis.Policy, model: nn.Module) -> None:
    sieve = tamis.Sieve(N, policy, budget=1)
    for drawn in sieve.batches(B):
        index = torch.tensor(drawn)
        sieve.select(model, index, X[index], Y[index])


def test_stale_losses_are_forwarded_in_every_second_pass() -> None:
    sieve, model, forwards = (
        tamis.Sieve(N, policies.selective_backprop(stale=2), budget=5, unit="passes"),
        network(0),
        [],
    )
    while not sieve.done:
        for drawn in sieve.batches(B):
            index = torch.tensor(drawn)
            chosen = sieve.select(model, index, X[index], Y[index])
            if chosen is not None:
                sieve.loss(chosen.index, model(chosen.x), chosen.y)
        forwards.append(sieve.costs.forwards)
    assert forwards == [0, N, N, 2 * N, 2 * N]


def test_a_scaled_look_costs_no_more_than_it_says_and_changes_the_priorities() -> None:
    pictures = torch.rand(B, 1, 8, 8)
    seen: list[tuple[int, ...]] = []

    class Any(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(tuple(x.shape[2:]))
            return x.mean((2, 3)) * torch.ones(1, K)

    sieve = tamis.Sieve(B, policies.selective_backprop_composer(keep=0.5, start=0.0, interrupt=0), budget=9)
    for drawn in sieve.batches(B // 2):
        sieve.select(Any(), torch.tensor(drawn), pictures[drawn], torch.zeros(B // 2, dtype=torch.int64))
    assert seen == [(4, 4)]
    assert sieve.costs.forwards == B


def test_infobatch_steps_along_the_plain_mean_of_weight_times_loss() -> None:
    sieve, model = tamis.Sieve(N, policies.infobatch(), budget=3), nn.Linear(D, K)
    before, weights = torch.full((N,), torch.nan), []
    for epoch in range(2):
        below = before < before.double().mean()
        for drawn in sieve.batches(B):
            index = torch.tensor(drawn)
            losses = F.cross_entropy(model(X[index]), Y[index], reduction="none").detach()
            weight = 1 + below[index].float()
            loss = sieve.loss(index, model(X[index]), Y[index])
            assert float(loss.detach()) == pytest.approx(float((losses * weight).mean()), rel=1e-5)
            weights += weight.tolist() if epoch else []
        before = sieve.recorder.compute(tamis.scores.last_loss())
    assert set(weights) == {1.0, 2.0}
    assert len(weights) < N, "some were left out"


def test_a_refresh_looks_at_the_highest_and_is_charged() -> None:
    sieve, model = tamis.Sieve(N, policies.online_batch_selection(refresh=0.1), budget=9, unit="passes"), network(0)
    score = sieve.policy.priority
    assert isinstance(score, tamis.Score)
    for _ in range(2):
        looked: list[int] = []
        known = sieve.recorder.compute(score).nan_to_num(torch.inf)
        for drawn in sieve.batches(B):
            index = torch.tensor(drawn)
            chosen = sieve.select(model, index, X[index], Y[index])
            if chosen is None:
                looked += drawn
                continue
            sieve.loss(chosen.index, model(chosen.x), chosen.y)
        assert len(looked) == round(0.1 * N)
        rest = torch.ones(N, dtype=torch.bool).index_fill(0, torch.tensor(looked), False)
        assert known[looked].min() >= known[rest].max()
    assert sieve.costs.forwards == 2 * round(0.1 * N)
    eye = F.cross_entropy(model(X[looked]), Y[looked], reduction="none").detach()
    assert torch.allclose(sieve.recorder.compute(score)[looked], eye, atol=1e-6), "the latest known loss is the look's"


def test_a_batch_that_is_there_for_a_look_is_not_trained_on() -> None:
    sieve, model = tamis.Sieve(N, policies.online_batch_selection(refresh=0.1), budget=9, unit="passes"), network(0)
    with pytest.raises(TamisError, match="for a look"):
        for drawn in sieve.batches(B):
            index = torch.tensor(drawn)
            sieve.loss(index, model(X[index]), Y[index])


def test_the_mixture_filter_leaves_the_noise_out_after_its_warm_up() -> None:
    noisy = torch.zeros(N, dtype=torch.bool)
    noisy[:72] = True
    data = DATA._replace(y=torch.where(noisy, (Y + 1) % K, Y))
    trained = run(policies.mixture_filter(warmup=2), 12, data).examples["trained"]
    assert trained[noisy.numpy()].mean() < 0.6 * trained[~noisy.numpy()].mean()


def test_class_weights_grow_with_the_loss_of_the_class() -> None:
    given = {"irreducible_loss": torch.tensor([0.5, 2.0]), "class_loss": torch.tensor([0.0, 2.0])}
    seen = Observation(torch.arange(2), torch.tensor([1.5, 1.0]), None, torch.tensor([1, 0]), given=given)
    assert reducible_loss(seen).tolist() == [1.0, -1.0]
    weight = 2 * torch.tensor([0.0, 1.0]).softmax(0)
    assert ClassWeightedReducibleLoss(0.5)(seen).tolist() == pytest.approx([float(weight[1]), 0.0])
    with pytest.raises(TamisError, match="irreducible loss"):
        reducible_loss(seen._replace(given=None))


def test_a_reference_set_is_looked_at_between_passes_and_remembered() -> None:
    policy = policies.reducr(keep=1.0)
    sieve = tamis.Sieve(N, policy, budget=9, given={"irreducible_loss": torch.zeros(N)})
    model = network(0)
    sieve.refer(model, X[:30], Y[:30])
    losses = F.cross_entropy(model(X[:30]), Y[:30], reduction="none").detach()
    kept = sieve.state_dict()["given"]
    assert float(kept["reference_loss"]) == pytest.approx(float(losses.mean()))
    assert float(kept["class_loss"][1]) == pytest.approx(float(losses[Y[:30] == 1].mean()))
    assert sieve.costs.forwards == 30
    index = torch.tensor(next(iter(sieve.batches(B))))
    chosen = sieve.select(model, index, X[index], Y[index])
    assert chosen is not None
    sieve.refer(model, X[:30], Y[:30])
    assert sieve.costs.forwards == 30 + B, "in the middle of a pass a reference is not looked at again"
