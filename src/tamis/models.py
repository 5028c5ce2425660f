"""Small networks for studies, and the published ones: each gives logits ``[B, K]`` and its penultimate ``features``.

Every network is a :class:`Network`: a body that makes features ``[B, D]`` and a linear head, with
``forward(x) = head(features(x))``. A new one is a function that returns a ``Network``, and a row of :data:`MODELS`.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn

from tamis.types import TamisError

Shape = tuple[int, ...]


class Head(nn.Linear):
    """A linear layer whose output is multiplied by a constant: ``scale (W x + b)``."""

    def __init__(self, features: int, classes: int, scale: float = 1.0) -> None:
        super().__init__(features, classes)
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        logits = super().forward(x)
        return logits if self.scale == 1.0 else logits * self.scale


class Network(nn.Module):
    """A body that makes features and a linear head that makes logits.

    Attributes:
        body: ``[B, *shape] -> [B, D]``.
        head: ``[B, D] -> [B, K]``, linear; ``head.in_features`` is D.
    """

    def __init__(self, body: nn.Module, features: int, classes: int, scale: float = 1.0) -> None:
        super().__init__()
        self.body, self.head = body, Head(features, classes, scale)

    def features(self, x: Tensor) -> Tensor:
        """Penultimate features ``[B, D]``."""
        return self.body(x)  # type: ignore[no-any-return]

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``[B, K]``."""
        return self.head(self.features(x))  # type: ignore[no-any-return]


class Add(nn.Module):
    """A residual connection: ``shortcut(x) + branch(x)``."""

    def __init__(self, branch: nn.Module, shortcut: nn.Module | None = None) -> None:
        super().__init__()
        self.branch, self.shortcut = branch, shortcut or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut(x) + self.branch(x)  # type: ignore[no-any-return]


def mlp(shape: Shape, classes: int, width: int = 512) -> Network:
    """A multilayer perceptron: flatten, two layers of Linear-BatchNorm-ReLU, Linear. Takes any shape; D = ``width``.

    Args:
        shape: of one example, such as ``(1, 28, 28)`` or ``(30,)``. classes: K. width: of both hidden layers.

    Example:
        >>> mlp((1, 28, 28), 10)(torch.zeros(2, 1, 28, 28)).shape
        torch.Size([2, 10])

    Fails when: places matter; it sees a picture as a bag of numbered pixels.
    """
    body = nn.Sequential(nn.Flatten(), *_dense(math.prod(shape), width), *_dense(width, width))
    return Network(body, width, classes)


def convnet(shape: Shape, classes: int, width: int = 16) -> Network:
    """A strided 5 x 5 stem and two convolutions, for a core without a GPU. D = 8 ``width``.

    1.5 million multiplications a picture of 28 x 28 at width 16.

    Args:
        shape: ``(C, H, W)``, at least 4 x 4. classes: K. width: channels of the stem; twice that afterwards.

    Raises:
        TamisError: if an example is no picture, or a smaller one.

    Example:
        >>> net = convnet((1, 28, 28), 10)
        >>> net.features(torch.zeros(2, 1, 28, 28)).shape
        torch.Size([2, 128])

    Fails when: accuracy is the aim; it is made for many runs a minute.
    """
    channels = _channels(shape, "convnet", 4)
    body = nn.Sequential(
        nn.Conv2d(channels, width, 5, 2, 2, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True),
        *_conv(width, width * 2, pool=True),
        *_conv(width * 2, width * 2), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
    )  # fmt: skip
    return Network(body, width * 8, classes)


def resnet9(shape: Shape, classes: int, width: int = 64) -> Network:
    """ResNet-9: four stages of ``width``, 2, 4 and 8 times that; the second and fourth end in a residual block.

    The last maximum is taken over all places, so that 8 x 8, 28 x 28 and 32 x 32 fit alike; logits are scaled by 1/8.
    D = 8 ``width``.

    Args:
        shape: ``(C, H, W)``, at least 8 x 8. classes: K. width: channels of the first stage; 64 is the published one.

    Raises:
        TamisError: if an example is no picture, or a smaller one.

    Example:
        >>> resnet9((3, 32, 32), 10, width=4)(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 10])

    Fails when: a CPU trains it at width 64; width 16 costs a sixteenth of the multiplications.

    Reference: Page 2018, "How to train your ResNet" (the DAWNBench entry), with an ordinary stride-free stem.
    """
    channels, w = _channels(shape, "resnet9", 8), width
    body = nn.Sequential(
        *_conv(channels, w),
        *_conv(w, 2 * w, pool=True), Add(nn.Sequential(*_conv(2 * w, 2 * w), *_conv(2 * w, 2 * w))),
        *_conv(2 * w, 4 * w, pool=True),
        *_conv(4 * w, 8 * w, pool=True), Add(nn.Sequential(*_conv(8 * w, 8 * w), *_conv(8 * w, 8 * w))),
        nn.AdaptiveMaxPool2d(1), nn.Flatten(),
    )  # fmt: skip
    return Network(body, 8 * w, classes, scale=0.125)


def wide_resnet(shape: Shape, classes: int, width: int = 10, depth: int = 28, dropout: float = 0.0) -> Network:
    """WideResNet-``depth``-``width``: three stages of (depth - 4) / 6 pre-activated blocks. D = 64 ``width``.

    36,479,194 parameters for WRN-28-10 on CIFAR-10. Convolutions start from N(0, 2 / fan-out), the head's bias from 0.

    Args:
        shape: ``(C, H, W)``, at least 4 x 4. classes: K. width: the paper's widening factor k. depth: 6 n + 4.
        dropout: probability between the two convolutions of a block, in [0, 1); 0 leaves it out.

    Raises:
        TamisError: if an example is no picture, the depth is not 6 n + 4, or the dropout is outside [0, 1).

    Example:
        >>> sum(p.numel() for p in wide_resnet((3, 32, 32), 10, width=1, depth=10).parameters())
        77850

    Fails when: there is no GPU; one step of 28-10 takes a CPU core minutes.

    Reference: Zagoruyko & Komodakis 2016, arXiv:1605.07146.
    """
    channels = _channels(shape, "wide_resnet", 4)
    if depth < 10 or (depth - 4) % 6:
        raise TamisError(f"depth is {depth}, but a WideResNet has 6 n + 4 layers, such as 16, 22 or 28.")
    if not 0 <= dropout < 1:
        raise TamisError(f"dropout is {dropout}, and must be in [0, 1).")
    widths = (16, 16 * width, 32 * width, 64 * width)
    layers: list[nn.Module] = [nn.Conv2d(channels, 16, 3, 1, 1, bias=False)]
    for stage, (before, after) in enumerate(pairwise(widths)):
        for block in range((depth - 4) // 6):
            first = block == 0
            layers.append(_wide_block(before if first else after, after, 2 if stage and first else 1, dropout))
    layers += [nn.BatchNorm2d(widths[3]), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    network = Network(nn.Sequential(*layers), widths[3], classes)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    nn.init.zeros_(network.head.bias)
    return network


MODELS: dict[str, Callable[..., Network]] = {
    "mlp": mlp,
    "convnet": convnet,
    "resnet9": resnet9,
    "wide_resnet": wide_resnet,
}


def build(name: str, shape: Shape, classes: int, width: int | None = None, seed: int = 0) -> Network:
    """A network by name, initialised from ``seed``; every global generator is left as it was.

    Convolutions come in channels-last memory, which is faster on CPUs and on tensor cores.

    Args:
        name: a key of :data:`MODELS`. shape: of one example. classes: K. width: None for the network's own default.

    Raises:
        TamisError: if the name is unknown (with the nearest known one), or the network cannot take such examples.

    Example:
        >>> a, b = (build("mlp", (4,), 3, width=8, seed=1) for _ in range(2))
        >>> torch.equal(a.head.weight, b.head.weight)
        True
    """
    if name not in MODELS:
        near = difflib.get_close_matches(name, MODELS, 1, cutoff=0)[0]
        raise TamisError(f'there is no model "{name}"; did you mean "{near}"? (known: {", ".join(MODELS)})')
    if width is not None and width < 1:
        raise TamisError(f"the width of {name} is {width}, and must be at least 1.")
    with torch.random.fork_rng([]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would reseed the GPUs, too
        model = MODELS[name](tuple(shape), classes, **({} if width is None else {"width": width}))
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def _dense(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    return nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), nn.ReLU(inplace=True)


def _conv(inputs: int, outputs: int, pool: bool = False) -> tuple[nn.Module, ...]:
    """Pooled before the ReLU: the same numbers, since a maximum commutes with it, from a quarter of the work."""
    halved = (nn.MaxPool2d(2),) if pool else ()
    return nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs), *halved, nn.ReLU(inplace=True)


def _wide_block(inputs: int, outputs: int, stride: int, dropout: float) -> nn.Module:
    """A pre-activated block; where the shape changes, the shortcut starts from the activation too."""
    activate = nn.Sequential(nn.BatchNorm2d(inputs), nn.ReLU(inplace=True))
    branch = nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
        *([nn.Dropout(dropout)] if dropout else []),
        nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
    )
    if inputs != outputs or stride != 1:
        return nn.Sequential(activate, Add(branch, nn.Conv2d(inputs, outputs, 1, stride, bias=False)))
    return Add(nn.Sequential(activate, branch))


def _channels(shape: Shape, name: str, smallest: int) -> int:
    if len(shape) != 3:
        raise TamisError(f"{name} takes images [channels, height, width], but an example is {list(shape)}; use mlp.")
    if min(shape[1:]) < smallest:
        given = f"{shape[1]} x {shape[2]}"
        raise TamisError(f"{name} needs pictures of at least {smallest} x {smallest}, but they are {given}; use mlp.")
    return shape[0]
