"""What a trained model says of examples, looked up without leaving a trace: logits, features, activations of layers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from tamis.types import TamisError

Models = nn.Module | Sequence[nn.Module]
"""One model, or several (seeds or checkpoints), over which a score is averaged."""


@contextmanager
def quiet(model: nn.Module) -> Iterator[None]:
    """Eval mode while this is open; afterwards modes, buffers and torch's generators are as they were, bit for bit.

    Example:
        >>> model = nn.Sequential(nn.Dropout(), nn.BatchNorm1d(2))
        >>> with quiet(model):
        ...     model.training
        False
        >>> model.training
        True

    Fails when: another thread trains the same model meanwhile.
    """
    modes = [(module, module.training) for module in model.modules()]
    buffers = [(m, name, b, b.clone()) for m in model.modules() for name, b in m._buffers.items() if b is not None]
    cuda = sorted({p.device.index for p in model.parameters() if p.is_cuda})
    caching = torch.is_autocast_cache_enabled()
    model.eval()
    torch.set_autocast_cache_enabled(False)  # older torch would keep weights cast without a gradient for the next step
    try:
        with torch.random.fork_rng(cuda):
            yield
    finally:
        torch.set_autocast_cache_enabled(caching)
        for module, training in modes:
            module.training = training
        with torch.no_grad():
            for module, name, buffer, before in buffers:
                buffer.copy_(before)
                module._buffers[name] = buffer


def logits(model: nn.Module, x: Tensor, batch: int = 256) -> Tensor:
    """Logits ``[N, K]`` float32 on the CPU, in eval mode and without a graph.

    Args:
        model: any ``[B, ...] -> [B, K]``. x: ``[N, ...]``, on any device. batch: examples a forward.

    Raises:
        TamisError: the model's output is not ``[B, K]``.

    Example:
        >>> logits(nn.Linear(3, 2), torch.zeros(5, 3), batch=2).shape
        torch.Size([5, 2])

    Fails when: a model's batches are of one fixed size: the last may be smaller.
    """
    device, out = device_of(model), []
    with quiet(model), torch.no_grad():
        for part in x.split(batch):
            z = model(part.to(device))
            if not isinstance(z, Tensor) or z.ndim != 2 or len(z) != len(part):
                found = list(z.shape) if isinstance(z, Tensor) else type(z).__name__
                raise TamisError(f"the model must give logits [{len(part)}, K], but it gave {found}.")
            out.append(z.float().cpu())
    return torch.cat(out)


def penultimate(model: nn.Module, x: Tensor, batch: int = 256) -> Tensor:
    """Penultimate features ``[N, D]`` float32 on the CPU: what goes into the last ``nn.Linear`` that a forward calls.

    In eval mode, without a graph; modes, buffers and generators are left as they were.

    Args:
        model: any module that calls an ``nn.Linear``. x: ``[N, ...]``, on any device. batch: examples a forward.

    Raises:
        TamisError: no linear layer was called, or it was not given ``[B, D]``.

    Example:
        >>> model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
        >>> penultimate(model, torch.zeros(5, 3)).shape
        torch.Size([5, 4])

    Fails when: the last linear layer called is not the classifier's (an auxiliary head, a projection for a loss).
    """
    name = last_linear(model, x[:1])
    return activations(model, x, [name], batch, inputs=True)[0]


def activations(
    model: nn.Module, x: Tensor, layers: Sequence[str], batch: int = 256, *, inputs: bool = False
) -> list[Tensor]:
    """What each named layer puts out, ``[N, D_l]`` float32 on the CPU, flattened; in eval mode, without a graph.

    Args:
        layers: names as in ``model.named_modules()``, such as ``"body.2"``. inputs: what goes in, instead.

    Raises:
        TamisError: a name that no module bears, one that the forward does not call, or one that gives no ``[B, ...]``.

    Example:
        >>> model = nn.Sequential(nn.Conv1d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4, 2))
        >>> [tuple(a.shape) for a in activations(model, torch.zeros(5, 1, 4), ["1", "3"])]
        [(5, 4), (5, 2)]

    Fails when: a layer is called several times a forward: its last call is taken.
    """
    known = dict(model.named_modules())
    if missing := [name for name in layers if name not in known]:
        raise TamisError(f"the model has no layer {missing[0]!r}; its layers are {', '.join(filter(None, known))}.")
    caught: dict[str, Tensor] = {}
    device, out = device_of(model), [[] for _ in layers]  # type: ignore[var-annotated]

    def keep(name: str, value: object) -> None:
        if isinstance(value, Tensor):
            caught[name] = value.detach().clone()  # a layer that works in place may edit it later in this forward

    handles = []
    for name in dict.fromkeys(layers):
        if inputs:
            hook = known[name].register_forward_pre_hook(
                lambda _, given, named, name=name: keep(name, first(given, named)), with_kwargs=True
            )
        else:
            hook = known[name].register_forward_hook(lambda _, __, given, name=name: keep(name, given))
        handles.append(hook)
    try:
        with quiet(model), torch.no_grad():
            for part in x.split(batch):
                caught.clear()
                model(part.to(device))
                for name, rows in zip(layers, out, strict=True):
                    if name not in caught or caught[name].ndim < 1 or len(caught[name]) != len(part):
                        raise TamisError(f"layer {name!r} has no tensor [{len(part)}, ...] in a forward of the model.")
                    rows.append(caught[name].flatten(1).float().cpu())
    finally:
        for handle in handles:
            handle.remove()
    return [torch.cat(rows) for rows in out]


def last_linear(model: nn.Module, x: Tensor) -> str:
    """The name of the last ``nn.Linear`` that a forward of ``x`` ``[B, ...]`` calls; ``""`` is the model itself.

    Raises:
        TamisError: none was called, or it was not given ``[B, D]``.

    Example:
        >>> last_linear(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)), torch.zeros(1, 3))
        '2'
    """
    called: list[tuple[str, int]] = []
    handles = [
        module.register_forward_pre_hook(
            lambda _, given, named, name=name: called.append((name, first(given, named).ndim)), with_kwargs=True
        )
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear)
    ]
    try:
        with quiet(model), torch.no_grad():
            model(x.to(device_of(model)))
    finally:
        for handle in handles:
            handle.remove()
    if not called:
        raise TamisError("penultimate features are what goes into an nn.Linear, but the model calls none.")
    name, dimensions = called[-1]
    if dimensions != 2:
        raise TamisError(
            f"the last nn.Linear ({name or 'the model'}) must be given [B, D], not {dimensions} dimensions."
        )
    return name


def first(given: tuple[Any, ...], named: Mapping[str, Any]) -> Any:
    """What a layer was called with first, by its place or by its name."""
    return next(iter((*given, *named.values())), None)


def device_of(model: nn.Module) -> torch.device:
    """Where the model's first parameter lies; the CPU where it has none."""
    return next((p.device for p in model.parameters()), torch.device("cpu"))


def several(models: Models) -> Sequence[nn.Module]:
    """One model as a list of one.

    Raises:
        TamisError: an empty list.
    """
    found = [models] if isinstance(models, nn.Module) else list(models)
    if not found:
        raise TamisError("at least one model is needed, but none was given.")
    return found


def check_labels(x: Tensor, y: Tensor, classes: int | None = None) -> None:
    """One int64 label in 0..classes-1 for each row of ``x``.

    Raises:
        TamisError: another shape or dtype, or a label out of range.
    """
    if y.dtype != torch.int64 or y.shape != x.shape[:1]:
        raise TamisError(f"labels must be [{len(x)}] int64, but they are {list(y.shape)} {y.dtype}.")
    if len(y) and (int(y.min()) < 0 or (classes is not None and int(y.max()) >= classes)):
        limit = f"0..{classes - 1}" if classes is not None else "0, 1, .."
        raise TamisError(f"labels must lie in {limit}, but they reach from {int(y.min())} to {int(y.max())}.")
