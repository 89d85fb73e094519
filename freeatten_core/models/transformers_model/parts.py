"""A model with another part in the place of one of its own.

It shares the rest with the model, which stays as it is, so that several threads can use it.
"""

from __future__ import annotations

import copy
from functools import partial
from types import MethodType

from torch import nn

__all__ = ["replacing", "shallow"]


def replacing(module: nn.Module, old: nn.Module, new: nn.Module) -> nn.Module:
    """Shallow copies of a module and of what leads from it to `old`, which is replaced."""
    found = shallow(module)
    for name, child in module._modules.items():
        if child is old:
            found._modules[name] = new
        elif child is not None and any(each is old for each in child.modules()):
            found._modules[name] = replacing(child, old, new)
    return found


def shallow(module: nn.Module) -> nn.Module:
    """A copy whose parts, parameters and buffers can be replaced by others."""
    found = copy.copy(module)
    found._modules, found._buffers = dict(module._modules), dict(module._buffers)
    own = found.__dict__.get("_old_forward")
    if own is not None:  # accelerate's forward, which fetches weights, is bound to its module
        found.__dict__["_old_forward"] = MethodType(own.__func__, found)
        found.__dict__["forward"] = partial(found.__dict__["forward"].func, found)
    return found
