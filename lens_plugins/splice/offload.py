"""Weights that accelerate keeps elsewhere, brought in for a moment."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from accelerate.hooks import AlignDevicesHook, SequentialHook
from torch import nn

__all__ = ["aligned"]


@contextmanager
def aligned(module: nn.Module) -> Iterator[None]:
    """The module's own parameters and buffers on the device that it computes on, if they are offloaded.

    accelerate's `align_module_device` does the same, except for a module whose offloading hook is one of several, as
    that of a whole model is.
    """
    hook = getattr(module, "_hf_hook", None)
    hooks = hook.hooks if isinstance(hook, SequentialHook) else (hook,)
    offloading = [one for one in hooks if isinstance(one, AlignDevicesHook) and one.offload]
    for one in offloading:
        one.pre_forward(module)
    try:
        yield
    finally:
        for one in offloading:
            one.post_forward(module, None)
