"""Ready to train: data, recipe and network of a gathering, tried before the first step is paid."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from numbers import Integral

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from tamis.loop import Recipe
from tamis.observe.features import check_labels, quiet
from tamis.types import Arrays, TamisError

Network = Callable[[int], nn.Module]


def ready(data: Arrays, network: Network, recipe: Recipe | None, seed: int, folds: int = 0) -> tuple[Recipe, Network]:
    """The recipe to train by, and ``network`` as one that tries what it gives on a batch before it hands it out.

    Args:
        recipe: None is :meth:`~tamis.loop.Recipe.sized`. folds: 0 where one network learns from all. Where there are
            folds, the networks of ``seed`` and of the next are made to see that they are two, and let go.

    Raises:
        TamisError: data, a batch, folds or a network that do not fit.
    """
    _check_data(data)
    n = len(data.y)
    wanted = recipe or Recipe.sized(n)
    if folds != 0 and not (isinstance(folds, Integral) and 2 <= folds <= n):
        raise TamisError(
            f"folds is {folds}, but it must be a whole number between 2 and the number of examples, {n} (or 0, where "
            "gather_evidence is to stop after one run)."
        )
    if n - (-(-n // folds) if folds else 0) < wanted.batch:
        few = f"{n} examples in {folds} folds leave" if folds else f"{n} examples are"
        raise TamisError(
            f"{few} less than a batch of {wanted.batch} to train on; lower the batch of the recipe, as in "
            "recipe=Recipe.scaled(8)."
        )
    _check_callable(network, seed)

    def tried(seed: int) -> nn.Module:
        return _tried(network(seed), data, wanted.batch, seed)

    if folds:
        with torch.random.fork_rng(cuda(data)):  # the networks to come begin where they would have begun
            one, other = tried(seed), tried(seed + 1)
        mine = {id(parameter) for parameter in one.parameters() if parameter.requires_grad}
        if any(id(parameter) in mine for parameter in other.parameters()):
            raise TamisError(
                f"for seeds {seed} and {seed + 1} the network has the same parameters to train, and then no look would "
                "be out of fold; make a fresh network at every call."
            )
    return wanted, tried


def _check_data(data: Arrays) -> None:
    x, y = getattr(data, "x", None), getattr(data, "y", None)
    if not isinstance(x, Tensor) or not isinstance(y, Tensor) or x.ndim < 1:
        told = f"x is {_named(x)} and y is {_named(y)}" if hasattr(data, "y") else f"they are {_named(data)}"
        raise TamisError(
            f"data must be Arrays(x, y, classes) of tensors x [N, ...] and y [N], but {told}; torch.from_numpy makes a "
            "tensor of an array."
        )
    if data.classes < 2:
        raise TamisError(f"classes is {data.classes}, but a wrong label is that of another class: at least 2.")
    check_labels(x, y, data.classes)


def _check_callable(network: Network, seed: int) -> None:
    try:
        fits = callable(network) and not isinstance(network, nn.Module)
        if fits:
            inspect.signature(network).bind(seed)
    except TypeError:
        fits = False
    except ValueError:  # it has no signature to ask
        fits = True
    if not fits:
        raise TamisError(
            f"network is {_named(network)}, but it must be a function of the seed that makes a fresh torch.nn.Module, "
            "such as lambda seed: build(seed)."
        )


def _tried(model: nn.Module, data: Arrays, batch: int, seed: int) -> nn.Module:
    """The model itself, if it gives logits for a batch of the data; nothing is left of the trial."""
    if not isinstance(model, nn.Module):
        raise TamisError(f"network gave {_named(model)} for seed {seed}, but it must make a fresh torch.nn.Module.")
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise TamisError("the network has nothing to train: no parameter of it requires a gradient.")
    if any(is_lazy(value) for value in (*model.parameters(), *model.buffers())):
        return model  # a forward would leave a trace: it gives it its shape
    x = data.x[:batch]
    try:
        with quiet(model), torch.no_grad():
            z = model(x)
    except (TamisError, torch.cuda.OutOfMemoryError):
        raise
    except Exception as error:  # whatever a layer makes of what it cannot take
        said = str(error).partition("\n")[0] or type(error).__name__
        raise TamisError(f"the network takes no inputs {list(x.shape)} {x.dtype} on {x.device}: {said}") from error
    if not isinstance(z, Tensor) or z.shape != (len(x), data.classes) or not z.is_floating_point():
        raise TamisError(
            f"the network must give logits [{len(x)}, {data.classes}], one for each class, but it gave {_named(z)}."
        )
    return model


def _named(value: object) -> str:
    if isinstance(value, Tensor):
        return f"{list(value.shape)} {value.dtype}"
    kind = type(value)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__.split('.')[0]}.{kind.__name__}"


def cuda(data: Arrays) -> list[torch.device]:
    """Whose generators, beside the CPU's, a network for these data draws from."""
    return [data.x.device] if data.x.is_cuda else []
