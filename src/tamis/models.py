"""Small networks for studies: each gives logits ``[B, K]``, and its penultimate ``features`` ``[B, D]``."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from tamis.types import TamisError


class Network(nn.Module):
    """A body that gives features ``[B, D]`` and a linear head on top: logits = head(features) * scale."""

    def __init__(self, body: nn.Module, features: int, classes: int, scale: float = 1.0) -> None:
        super().__init__()
        self.body, self.head, self.scale = body, nn.Linear(features, classes), scale

    def features(self, x: Tensor) -> Tensor:
        """Penultimate features ``[B, D]``."""
        return self.body(x)  # type: ignore[no-any-return]

    def forward(self, x: Tensor) -> Tensor:
        logits = self.head(self.features(x))
        return logits if self.scale == 1.0 else logits * self.scale


class Add(nn.Module):
    """A residual connection: shortcut(x) + branch(x)."""

    def __init__(self, branch: nn.Module, shortcut: nn.Module | None = None) -> None:
        super().__init__()
        self.branch, self.shortcut = branch, shortcut or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut(x) + self.branch(x)  # type: ignore[no-any-return]


def mlp(shape: tuple[int, ...], classes: int, width: int = 512) -> Network:
    """Two hidden layers of ``width`` with batch norm and ReLU.

    Example:
        >>> mlp((1, 28, 28), 10)(torch.zeros(2, 1, 28, 28)).shape
        torch.Size([2, 10])
    """
    inputs = math.prod(shape)
    body = nn.Sequential(nn.Flatten(), *_dense(inputs, width), *_dense(width, width))
    return Network(body, width, classes)


def convnet(shape: tuple[int, ...], classes: int, width: int = 16) -> Network:
    """A strided stem and two convolutions: about 1.5 million multiplications an image at width 16, for a core without a GPU."""
    channels = _channels(shape, "convnet")
    body = nn.Sequential(
        nn.Conv2d(channels, width, 5, 2, 2, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
        *_conv(width, width * 2), nn.MaxPool2d(2),
        *_conv(width * 2, width * 2), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
    )  # fmt: skip
    return Network(body, width * 8, classes)


def resnet9(shape: tuple[int, ...], classes: int, width: int = 64) -> Network:
    """ResNet-9: four stages of ``width``, 2, 4 and 8 times that, the second and fourth with a residual block."""
    channels, w = _channels(shape, "resnet9"), width
    body = nn.Sequential(
        *_conv(channels, w),
        *_conv(w, 2 * w), nn.MaxPool2d(2), Add(nn.Sequential(*_conv(2 * w, 2 * w), *_conv(2 * w, 2 * w))),
        *_conv(2 * w, 4 * w), nn.MaxPool2d(2),
        *_conv(4 * w, 8 * w), nn.MaxPool2d(2), Add(nn.Sequential(*_conv(8 * w, 8 * w), *_conv(8 * w, 8 * w))),
        nn.AdaptiveMaxPool2d(1), nn.Flatten(),
    )  # fmt: skip
    return Network(body, 8 * w, classes, scale=0.125)


def wide_resnet(shape: tuple[int, ...], classes: int, width: int = 10, depth: int = 28) -> Network:
    """WideResNet-``depth``-``width`` (28-10: 36.5 million parameters on CIFAR-10).

    Reference: Zagoruyko & Komodakis 2016, arXiv:1605.07146.
    """
    channels = _channels(shape, "wide_resnet")
    if (depth - 4) % 6:
        raise TamisError(f"depth is {depth}, but a WideResNet has 6 n + 4 layers, such as 16, 22 or 28.")
    widths = (16, 16 * width, 32 * width, 64 * width)
    layers: list[nn.Module] = [nn.Conv2d(channels, 16, 3, 1, 1, bias=False)]
    for stage, (before, after) in enumerate(zip(widths, widths[1:], strict=False)):
        for block in range((depth - 4) // 6):
            layers.append(_wide_block(before if block == 0 else after, after, 2 if stage and block == 0 else 1))
    layers += [nn.BatchNorm2d(widths[3]), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return Network(nn.Sequential(*layers), widths[3], classes)


MODELS: dict[str, Callable[..., Network]] = {
    "mlp": mlp, "convnet": convnet, "resnet9": resnet9, "wide_resnet": wide_resnet,
}  # fmt: skip


def build(name: str, shape: tuple[int, ...], classes: int, width: int | None = None, seed: int = 0) -> Network:
    """A network by name, initialised from ``seed`` without touching the global generator.

    Convolutions come in channels-last memory, which is faster on CPUs and on tensor cores.

    Raises:
        TamisError: an unknown name (with the nearest known one), inputs that a model cannot take.
    """
    if name not in MODELS:
        near = difflib.get_close_matches(name, MODELS, 1, cutoff=0)[0]
        raise TamisError(f"there is no model {name!r}; did you mean {near!r}?")
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        model = MODELS[name](shape, classes, **({} if width is None else {"width": width}))
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def _dense(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    return nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), nn.ReLU()


def _conv(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()


def _wide_block(inputs: int, outputs: int, stride: int) -> nn.Module:
    """A pre-activated block; where the shape changes, the shortcut starts from the activation too."""
    activate = nn.Sequential(nn.BatchNorm2d(inputs), nn.ReLU())
    branch = nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
        nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
    )
    if inputs != outputs or stride != 1:
        return nn.Sequential(activate, Add(branch, nn.Conv2d(inputs, outputs, 1, stride, bias=False)))
    return Add(nn.Sequential(activate, branch))


def _channels(shape: tuple[int, ...], name: str) -> int:
    if len(shape) != 3:
        raise TamisError(f"{name} takes images [channels, height, width], but an example has shape {list(shape)}; use mlp.")
    return shape[0]
