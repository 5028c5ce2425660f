"""Difficulty scores from gradients of a model: GraNd, of all parameters or the last layer's, and VoG."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from tamis.observe.features import Models, check_labels, device_of, last_linear, logits, quiet, several
from tamis.types import TamisError


def grand(models: Models, x: Tensor, y: Tensor, batch: int = 32) -> Tensor:
    """Norm of the gradient (GraNd) of an example's cross-entropy with respect to all parameters. Higher is harder.

    Formula: ``chi(x, y) = E_t ||grad_w l(f_w(x), y)||_2``, the mean over ``models``: seeds, some epochs into training.

    Args:
        models: one or several, in eval mode while this lasts; gradients go to no ``.grad``.
        x: ``[N, ...]``. y: ``[N]`` int64.
        batch: examples at a time; each holds one gradient, so memory is ``batch`` times the model's size.

    Returns:
        ``[N]`` float32 on the CPU, at least 0.

    Raises:
        TamisError: labels of a wrong shape or dtype, or no model.

    Example:
        >>> model = nn.Linear(2, 2)
        >>> _ = nn.init.zeros_(model.weight), nn.init.zeros_(model.bias)
        >>> grand(model, torch.tensor([[3.0, 0.0]]), torch.tensor([0]))  # ||p - y|| sqrt(||x||^2 + 1)
        tensor([2.2361])

    Fails when: taken at initialisation: that version is reported not to reproduce (Kirsch 2023, arXiv:2303.14753); or
    read as "worth learning": mislabeled examples score highest. A model that torch.func cannot map fails in its words.

    Reference: Paul et al. 2021, arXiv:2107.07075.
    """
    return _mean_norm(models, x, y, batch, last=False)


def grand_last_layer(models: Models, x: Tensor, y: Tensor, batch: int = 256) -> Tensor:
    """GraNd with respect to the last linear layer's parameters alone. Higher is harder.

    Formula: ``||p - y||_2 sqrt(||h||^2 + 1)`` for a linear classifier with a bias on features h; computed from the
    gradient itself, so that a scaled or otherwise altered head is right, too.

    Args:
        models: as for :func:`grand`; the layer is the last ``nn.Linear`` that a forward calls.
        x: ``[N, ...]``. y: ``[N]`` int64. batch: examples at a time.

    Returns:
        ``[N]`` float32 on the CPU, at least 0.

    Raises:
        TamisError: as for :func:`grand`, or no linear layer is called.

    Example:
        >>> model = nn.Linear(2, 2)
        >>> _ = nn.init.zeros_(model.weight), nn.init.zeros_(model.bias)
        >>> grand_last_layer(model, torch.tensor([[3.0, 0.0]]), torch.tensor([0]))
        tensor([2.2361])

    Fails when: as for :func:`grand`; and long feature vectors pass for hard examples.

    Reference: Paul et al. 2021, arXiv:2107.07075; the last layer as in Katharopoulos & Fleuret 2018, arXiv:1803.00942.
    """
    return _mean_norm(models, x, y, batch, last=True)


def vog(checkpoints: Sequence[nn.Module], x: Tensor, y: Tensor, batch: int = 256) -> Tensor:
    """Variance of gradients (VoG) over checkpoints, normalised per class. Higher is harder.

    Formula: ``S_t`` the gradient of the label's logit with respect to the input at checkpoint t, ``mu`` its mean over
    the T checkpoints, ``VoG = mean over pixels of sqrt((1/T) sum_t (S_t - mu)^2)``; then, among the examples of a
    label, less their mean and divided by their (population) standard deviation.

    Args:
        checkpoints: T of one run, at least two; of its first epochs, or of its last.
        x: ``[N, ...]`` float. y: ``[N]`` int64, the given labels. batch: examples at a time.

    Returns:
        ``[N]`` float32 on the CPU, in standard deviations of its class; 0 where a class does not vary.

    Raises:
        TamisError: fewer than two checkpoints, inputs that are not floating, or labels of a wrong shape or dtype.

    Example:
        >>> def model(weight):
        ...     layer = nn.Linear(1, 2, bias=False)
        ...     layer.weight.data.copy_(torch.tensor(weight))
        ...     return layer
        >>> both = [model([[1.0], [0.0]]), model([[3.0], [0.0]])]
        >>> input_gradient_deviation(both, torch.ones(2, 1), torch.tensor([0, 1]))
        tensor([1., 0.])
        >>> vog(both, torch.ones(2, 1), torch.tensor([0, 1]))
        tensor([0., 0.])

    Fails when: mislabeled examples are sought: it is a weak score of them, and early in training even turned round; or
    a class has a few examples.

    Reference: Agarwal et al. 2022, arXiv:2008.11600.
    """
    raw = input_gradient_deviation(checkpoints, x, y, batch)
    classes = int(y.max()) + 1 if len(y) else 0
    y = y.cpu()
    count = torch.bincount(y, minlength=classes).clamp(min=1)
    above = raw - (raw.new_zeros(classes).index_add_(0, y, raw) / count)[y]
    spread = (raw.new_zeros(classes).index_add_(0, y, above.square()) / count).sqrt()[y]
    tiny = spread <= 1e-6 * raw.abs()  # rounding alone
    return torch.where(tiny, 0.0, above / torch.where(tiny, 1.0, spread)).float()


def input_gradient_deviation(checkpoints: Sequence[nn.Module], x: Tensor, y: Tensor, batch: int = 256) -> Tensor:
    """:func:`vog` before it is normalised per class: ``[N]`` float32, in logits per unit of the input."""
    if len(checkpoints) < 2:
        raise TamisError(f"a variance over checkpoints needs at least two of them, but there are {len(checkpoints)}.")
    if not x.is_floating_point():
        raise TamisError(f"a gradient with respect to the input needs floating inputs, but they are {x.dtype}.")
    check_labels(x, y)
    if not len(x):
        return torch.zeros(0)
    check_labels(x, y, logits(checkpoints[0], x[:1]).shape[1])
    out = []
    for part, label in zip(x.split(batch), y.split(batch), strict=True):
        gradients = torch.stack([_input_gradient(model, part, label) for model in checkpoints])
        out.append(gradients.double().std(0, correction=0).mean(1))
    return torch.cat(out).float()


def _input_gradient(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """``[B, P]`` gradient of each example's label logit with respect to its input."""
    device = device_of(model)
    weights = {name: p.detach() for name, p in model.named_parameters()}
    with quiet(model), torch.enable_grad():
        x = x.to(device).detach().requires_grad_()
        z = functional_call(model, weights, (x,))
        (gradient,) = torch.autograd.grad(z.gather(1, y.to(device)[:, None]).sum(), x)
    return gradient.flatten(1).cpu()


def _mean_norm(models: Models, x: Tensor, y: Tensor, batch: int, last: bool) -> Tensor:
    check_labels(x, y)
    if not len(x):
        return torch.zeros(0)
    found = several(models)
    check_labels(x, y, logits(found[0], x[:1]).shape[1])
    return torch.stack([_norms(model, x, y, batch, last) for model in found]).mean(0)


def _norms(model: nn.Module, x: Tensor, y: Tensor, batch: int, last: bool) -> Tensor:
    """``[N]`` norm of each example's gradient, of all parameters or the last linear layer's."""
    prefix = last_linear(model, x[:1]) if last else ""
    layer = model.get_submodule(prefix)
    every = {name: p.detach() for name, p in model.named_parameters()}
    wanted = {f"{prefix}.{name}" if prefix else name for name, _ in layer.named_parameters()}
    free = {name: p for name, p in every.items() if name in wanted}
    fixed = {name: p for name, p in every.items() if name not in wanted}
    buffers = dict(model.named_buffers())

    def loss(weights: dict[str, Tensor], one: Tensor, label: Tensor) -> Tensor:
        own = {name: buffer.clone() for name, buffer in buffers.items()}  # a forward may edit them
        z = functional_call(model, {**fixed, **weights, **own}, (one[None],))
        return F.cross_entropy(z.float(), label[None])

    of_each = vmap(grad(loss), in_dims=(None, 0, 0), randomness="different")
    device, out = device_of(model), []
    with quiet(model):
        for part, label in zip(x.split(batch), y.split(batch), strict=True):
            gradients = of_each(free, part.to(device), label.to(device))
            squares = [g.flatten(1).float().square().sum(1) for g in gradients.values()]
            out.append(torch.stack(squares).sum(0).sqrt().cpu())
    return torch.cat(out)
