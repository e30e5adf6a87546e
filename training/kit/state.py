"""What changes while training, by name: saved and restored in one way, whatever it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


class State:
    """Networks, optimisers, averages, random generators, tensors that stay in place, and other states.

    Everything but generators and tensors has `state_dict` and `load_state_dict`.
    """

    def __init__(self, **parts: Any) -> None:
        self.parts = parts

    def state_dict(self) -> dict[str, Any]:
        """All parts by name, as `torch.save` takes them."""
        return {name: _saved(part) for name, part in self.parts.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues from what `state_dict` gave."""
        for name, part in self.parts.items():
            if isinstance(part, torch.Generator):
                part.set_state(state[name])
            elif isinstance(part, Tensor):
                with torch.no_grad():
                    part.copy_(state[name])
            else:
                part.load_state_dict(state[name])


class Attributes:
    """Plain values and tensors that are attributes of an object, for `State`; tensors go back to `device`."""

    def __init__(self, owner: Any, *names: str, device: torch.device | str = "cpu") -> None:
        self.owner, self.names, self.device = owner, names, device

    def state_dict(self) -> dict[str, Any]:
        """The values by name."""
        return {name: getattr(self.owner, name) for name in self.names}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Sets them."""
        for name in self.names:
            setattr(self.owner, name, self._placed(state[name]))

    def _placed(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._placed(one) for one in value]
        return value.to(self.device) if isinstance(value, Tensor) else value


def _saved(part: Any) -> Any:
    if isinstance(part, torch.Generator):
        return part.get_state()
    return part.detach() if isinstance(part, Tensor) else part.state_dict()
