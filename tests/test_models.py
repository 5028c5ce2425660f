"""Models: known sizes, features and head, and one seed giving one network."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tamis.models import MODELS, build, convnet, resnet9, wide_resnet
from tamis.types import TamisError

SMALL = {"mlp": 16, "convnet": 4, "resnet9": 4, "wide_resnet": 1}


def draw(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


SHAPES = [(1, 8, 8), (1, 28, 28), (3, 32, 32)]


def test_the_table_is_what_is_tested() -> None:
    assert set(SMALL) == set(MODELS)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", SMALL)
def test_logits_are_the_head_of_the_features(name: str, shape: tuple[int, ...]) -> None:
    model = build(name, shape, 7, SMALL[name], seed=1).eval()
    x = draw(5, *shape)
    features = model.features(x)
    assert features.shape == (5, model.head.in_features)
    assert model(x).shape == (5, 7)
    assert torch.equal(model(x), model.head(features))


@pytest.mark.usefixtures("unchanged_globals")
@pytest.mark.parametrize("name", SMALL)
def test_one_seed_is_one_network_and_global_generators_stay(name: str) -> None:
    a, b, c = (build(name, (3, 32, 32), 10, SMALL[name], seed=s) for s in (1, 1, 2))
    same = [torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True)]
    assert all(same)
    assert len(same) > 4
    assert not torch.equal(a.head.weight, c.head.weight)


@pytest.mark.parametrize("name", SMALL)
def test_every_parameter_gets_a_finite_gradient(name: str) -> None:
    model = build(name, (3, 16, 16), 4, SMALL[name])
    loss = nn.functional.cross_entropy(model(draw(8, 3, 16, 16)), torch.arange(8) % 4)
    loss.backward()
    grads = {key: p.grad for key, p in model.named_parameters()}
    assert grads
    assert all(g is not None and g.isfinite().all() for g in grads.values())
    assert model.head.weight.grad.abs().max() > 0


@pytest.mark.parametrize("name", ["convnet", "resnet9", "wide_resnet"])
def test_convolutions_come_channels_last(name: str) -> None:
    weights = [p for p in build(name, (3, 32, 32), 10, SMALL[name]).parameters() if p.ndim == 4 and p.shape[1] > 1]
    assert weights
    assert all(w.is_contiguous(memory_format=torch.channels_last) for w in weights)


@pytest.mark.parametrize(
    ("name", "shape", "width", "parameters"),
    [
        ("mlp", (1, 28, 28), 512, 784 * 512 + 512 + 512 * 512 + 512 + 4 * 512 + 512 * 10 + 10),
        ("convnet", (1, 28, 28), 16, 25 * 16 + 9 * 16 * 32 + 9 * 32 * 32 + 2 * (16 + 32 + 32) + 128 * 10 + 10),
        ("resnet9", (3, 32, 32), 64, 6_573_130),
        ("wide_resnet", (3, 32, 32), 10, 36_479_194),
    ],
)
def test_parameter_counts_are_the_known_ones(name: str, shape: tuple[int, ...], width: int, parameters: int) -> None:
    with torch.device("meta"):
        model = MODELS[name](shape, 10, width)
    assert sum(p.numel() for p in model.parameters()) == parameters


def test_the_head_of_resnet9_is_scaled_by_an_eighth() -> None:
    head = resnet9((3, 8, 8), 10, 2).head
    x = draw(3, 16)
    assert torch.equal(head(x), 0.125 * nn.functional.linear(x, head.weight, head.bias))


def test_pooling_before_the_relu_changes_no_number() -> None:
    x = draw(4, 3, 8, 8)
    pool = nn.MaxPool2d(2)
    assert torch.equal(pool(x.relu()), pool(x).relu())
    kinds = [type(m) for m in convnet((1, 28, 28), 10).body]
    assert kinds[5:7] == [nn.MaxPool2d, nn.ReLU]


def test_dropout_of_a_wide_resnet_acts_in_training_only() -> None:
    plain, dropped = (wide_resnet((1, 8, 8), 2, 1, 10, d) for d in (0.0, 0.5))
    count = [sum(isinstance(m, nn.Dropout) for m in net.modules()) for net in (plain, dropped)]
    assert count == [0, 3]
    x = draw(2, 1, 8, 8)
    dropped.eval()
    assert torch.equal(dropped(x), dropped(x))
    dropped.train()
    with torch.random.fork_rng([]):
        assert not torch.equal(dropped(x), dropped(x))


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: build("resnet", (3, 32, 32), 10), 'there is no model "resnet"; did you mean "resnet9"'),
        (lambda: build("mlp", (4,), 10, width=0), "the width of mlp is 0, and must be at least 1"),
        (lambda: build("convnet", (30,), 10), r"convnet takes images .* example is \[30\]; use mlp"),
        (lambda: build("resnet9", (1, 4, 8), 10), "needs pictures of at least 8 x 8, but they are 4 x 8"),
        (lambda: wide_resnet((3, 32, 32), 10, depth=27), "depth is 27"),
        (lambda: wide_resnet((3, 32, 32), 10, dropout=1.0), "dropout is 1.0"),
    ],
)
def test_mistakes_are_answered_in_one_sentence(call, sentence: str) -> None:
    with pytest.raises(TamisError, match=sentence):
        call()
