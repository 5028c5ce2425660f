"""A make-believe accelerator: tensors in this machine's memory that say they are on ``cuda``.

Machines that test have no GPU, and code that mixes devices works there. :func:`accelerator` makes it fail as on one:
what is made for ``cuda`` or moved there is an :class:`Elsewhere`, which no operation takes together with a tensor of
the CPU (but for numbers, indices and copies, as on CUDA), and which gives no array before ``.cpu()``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

HERE, THERE = torch.device("cpu"), torch.device("cuda", 0)
INDEXING = ("__getitem__", "__setitem__")
MIXED = (*INDEXING, "copy_", "backward", "__get__", "__set__", "_has_compatible_shallow_copy_type")
"""What takes tensors of both devices on CUDA, too."""

as_torch_sees_it = torch._C.DisableTorchFunctionSubclass


class Elsewhere(torch.Tensor):
    """A tensor that says it is on ``cuda``."""

    def __deepcopy__(self, memo: dict[int, Any]) -> torch.Tensor:
        if id(self) not in memo:
            copy = self.detach().clone().requires_grad_(self.requires_grad)
            memo[id(self)] = torch.nn.Parameter(copy) if isinstance(self, torch.nn.Parameter) else copy
        return memo[id(self)]

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, name = kwargs or {}, getattr(function, "__name__", "")
        read = getattr(function, "__self__", None) if name == "__get__" else None
        if read is torch.Tensor.device:
            return THERE
        if read is torch.Tensor.is_cuda:
            return True
        if read is torch.Tensor.grad:
            grad = super().__torch_function__(function, types, args, kwargs)
            return None if grad is None else there(grad)
        if name == "to":
            return moved(function, args, kwargs)
        if name == "cpu":
            return here(args[0])
        if name in ("numpy", "__array__"):
            raise TypeError("can't convert cuda:0 device type tensor to numpy; use Tensor.cpu() first")
        if name in INDEXING and not isinstance(args[0], Elsewhere):
            raise RuntimeError("indices should be either on cpu or on the same device as the indexed tensor (cpu)")
        if torch._C._functorch.peek_interpreter_stack() is not None:  # torch.func shows its functions bare tensors
            return super().__torch_function__(function, types, args, kwargs)
        tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
        if name not in MIXED and any(x.ndim and not isinstance(x, Elsewhere) for x in tensors):
            raise RuntimeError(f"{name}: expected all tensors to be on the same device, but found cuda:0 and cpu")
        return super().__torch_function__(function, types, args, kwargs)


class _Making(TorchFunctionMode):
    """What is made for ``cuda`` is made here, and says that it is there."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if getattr(function, "__name__", "") == "to" and isinstance(args[0], torch.Tensor):
            return moved(function, args, kwargs)
        wanted = _device(kwargs.get("device"))
        if wanted is None or wanted.type != "cuda":
            return function(*args, **kwargs)
        if kwargs.get("generator") is not None:
            raise RuntimeError("expected a 'cuda' device type for generator, but found 'cpu'")
        del kwargs["device"]
        with as_torch_sees_it():
            made = function(*tree_map(lambda x: here(x) if isinstance(x, Elsewhere) else x, args), **kwargs)
        return tree_map(lambda x: there(x) if isinstance(x, torch.Tensor) else x, made)


def there(x: torch.Tensor) -> torch.Tensor:
    """The same memory, on the make-believe device."""
    if isinstance(x, Elsewhere):
        return x
    with as_torch_sees_it():
        return x.as_subclass(Elsewhere)


def here(x: torch.Tensor) -> torch.Tensor:
    """A copy on the CPU."""
    with as_torch_sees_it():
        return x.as_subclass(torch.Tensor).clone()


def moved(function: Any, args: Any, kwargs: Any) -> torch.Tensor:
    """What ``Tensor.to`` gives: a copy wherever the device is another."""
    x, stays = args[0], isinstance(args[0], Elsewhere)
    target, given = THERE if stays else HERE, []
    for value in args[1:]:
        if isinstance(value, torch.Tensor):
            target, value = (THERE if isinstance(value, Elsewhere) else HERE), value.dtype
        elif _device(value) is not None:
            target, value = _device(value), HERE
        given.append(value)
    target = _device(kwargs.get("device")) or target
    with as_torch_sees_it():
        y = function(x, *given, **{key: value for key, value in kwargs.items() if key != "device"}) if args[1:] else x
        y = y.clone() if y is x and (target.type == "cuda") != stays else y
    return there(y) if target.type == "cuda" else here(y) if stays else y


@contextmanager
def accelerator() -> Iterator[str]:
    """Within it ``cuda`` is the make-believe device, without autocast; yields its name."""
    overwrites = torch.__future__.get_overwrite_module_params_on_conversion()
    before = [(torch.random, "fork_rng"), (torch, "autocast")]
    before += [(torch.cuda, name) for name in ("synchronize", "is_available", "get_device_name")]
    kept = [(owner, name, getattr(owner, name)) for owner, name in before]
    fork, autocast = torch.random.fork_rng, torch.autocast
    try:
        torch.__future__.set_overwrite_module_params_on_conversion(True)  # a moved network's parameters are Elsewhere
        torch.random.fork_rng = lambda devices=None, **more: fork([], **more)
        torch.autocast = lambda *_, **__: autocast("cpu", enabled=False)
        torch.cuda.synchronize = lambda device=None: None
        torch.cuda.is_available = lambda: True
        torch.cuda.get_device_name = lambda device=None: "make-believe"
        with _Making():
            yield "cuda"
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(overwrites)
        for owner, name, value in kept:
            setattr(owner, name, value)


def _device(value: Any) -> torch.device | None:
    try:
        return torch.device(value) if isinstance(value, (str, torch.device)) else None
    except RuntimeError:
        return None
