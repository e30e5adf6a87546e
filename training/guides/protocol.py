"""What a guide of fine-tuning is: something that says how far a prediction is from what its source picture means."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor


class Guide(Protocol):
    """An additional loss of the generator, read off the pictures. `finetune(guides=...)` takes any number of them."""

    name: str
    """What it looks at, such as `identity`; its column in the loss table is `guide <name>`. One of a kind in a run."""
    weight: float
    """How strongly it pulls, 0 or more. The loss table holds the value without it."""
    identity: str
    """What a run has to have in common to be resumed: the weights' hash and every setting, as one short text."""

    def __call__(self, prediction: Tensor, source: Tensor) -> Tensor:
        """A scalar of at least 0, smaller where the pictures agree.

        prediction  `[N, 3, R, R]` in about -1..1, from the generator being trained; the gradient goes to it.
        source      `[N, 3, R, R]` in about -1..1, the same faces from the source; no gradient.

        Both are float32 on the device of the training. It must be deterministic and draw no random numbers.
        """
        ...


def check_guides(guides: Sequence[Guide]) -> None:
    """Raises ValueError with a sentence when guides share a name or pull the wrong way."""
    names = [guide.name for guide in guides]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"Two guides are called {', '.join(twice)}; plug each kind in once.")
    for guide in guides:
        if not guide.weight >= 0.0:
            raise ValueError(f"The guide {guide.name} has the weight {guide.weight}; it has to be 0 or more.")


def column(guide: Guide) -> str:
    """The guide's name in the loss table."""
    return f"guide {guide.name}"


def guides_identity(guides: Sequence[Guide]) -> dict[str, str]:
    """What a run's guides add to the settings it is resumed by."""
    return {column(guide): f"{guide.identity} x {guide.weight}" for guide in guides}
