"""Four classifiers. Each gives ``features(x)`` ``[B, D]`` and ``forward(x) = head(features(x))`` ``[B, K]``."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from math import prod

import torch
from torch import Tensor, nn

from tamis.types import TamisError, generator

Shape = Sequence[int]


class Classifier(nn.Module):
    """A body that makes features and a linear head that makes logits.

    Attributes:
        body: ``[B, *shape] -> [B, D]``.
        head: ``nn.Linear``, ``[B, D] -> [B, K]``; ``head.scale`` multiplies the logits.
    """

    def __init__(self, body: nn.Module, dim: int, classes: int, scale: float = 1.0) -> None:
        super().__init__()
        self.body = body
        self.head = Head(dim, classes, scale)

    def features(self, x: Tensor) -> Tensor:
        """Penultimate features ``[B, D]``."""
        return self.body(x)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``[B, K]``."""
        return self.head(self.features(x))


class Head(nn.Linear):
    """A linear layer whose output is multiplied by a constant."""

    def __init__(self, dim: int, classes: int, scale: float) -> None:
        super().__init__(dim, classes)
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        logits = super().forward(x)
        return logits if self.scale == 1 else logits * self.scale


class Residual(nn.Module):
    """``x + inner(x)``."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return x + self.inner(x)


def mlp(shape: Shape, classes: int, width: int = 512) -> Classifier:
    """A multilayer perceptron: flatten, two layers of Linear-BatchNorm-ReLU, Linear. D = ``width``.

    Example:
        >>> mlp((1, 28, 28), 10)(torch.zeros(2, 1, 28, 28)).shape
        torch.Size([2, 10])
    """
    size = prod(shape)
    layers = [
        m for d in (size, width) for m in (nn.Linear(d, width, bias=False), nn.BatchNorm1d(width), nn.ReLU(inplace=True))
    ]
    return Classifier(nn.Sequential(nn.Flatten(), *layers), width, classes)


def convnet(shape: Shape, classes: int, width: int = 32) -> Classifier:
    """A small convolutional net for one CPU core. D = 2 ``width``, or 8 ``width``?
    """
    c = _channels(shape)
    body = nn.Sequential(
        *_conv(c, width, kernel=5, stride=2),
        *_conv(width, 2 * width, stride=2),
        *_conv(2 * width, 2 * width, stride=2),
        nn.Flatten(),
    )
    return Classifier(body, _dim(body, shape), classes)


def resnet9(shape: Shape, classes: int, width: int = 64) -> Classifier:
    w = width
    body = nn.Sequential(
        *_conv(_channels(shape), w),
        *_conv(w, 2 * w, pool=True),
        Residual(nn.Sequential(*_conv(2 * w, 2 * w), *_conv(2 * w, 2 * w))),
        *_conv(2 * w, 4 * w, pool=True),
        *_conv(4 * w, 8 * w, pool=True),
        Residual(nn.Sequential(*_conv(8 * w, 8 * w), *_conv(8 * w, 8 * w))),
        nn.AdaptiveMaxPool2d(1),
        nn.Flatten(),
    )
    return Classifier(body, 8 * w, classes, scale=0.125)


def _conv(inp, out, kernel=3, stride=1, pool=False):
    layers = [nn.Conv2d(inp, out, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(out), nn.ReLU(inplace=True)]
    return [*layers, nn.MaxPool2d(2)] if pool else layers


def _channels(shape: Shape) -> int:
    return shape[0]

def _dim(body, shape):
    with torch.no_grad():
        return body.eval()(torch.zeros(1, *shape)).shape[1]
