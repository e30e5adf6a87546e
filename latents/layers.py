"""Which codes of W+ something acts on, as people write it: `0-7`, `0-3,8`, `coarse`."""

from __future__ import annotations

NAMED = {"coarse": (0, 4), "middle": (4, 8), "fine": (8, None)}
"""The groups of StyleGAN (Karras et al., arXiv 1812.04948): 4-8 px decide pose and shape, 16-32 px features, the rest
colours."""


def parse_layers(text: str, num_ws: int) -> tuple[int, ...]:
    """The indices, in 0..num_ws-1 and ascending, that `text` names; nothing, or `all`, names every one.

    Accepted are numbers, ranges with both ends included, and `coarse`, `middle`, `fine`, separated by commas. A range
    may reach beyond the last code (`8-17` is `8-13` in a generator with 14), a single number may not.

    Raises:
        ValueError: it cannot be read, or names no code of this generator.
    """
    found: set[int] = set()
    for part in (piece.strip().lower() for piece in text.split(",")):
        if part in ("", "all"):
            if part or text.strip() == "":
                found.update(range(num_ws))
            continue
        if part in NAMED:
            first, stop = NAMED[part]
            found.update(range(num_ws)[first:stop])
            continue
        start, dash, end = (piece.strip() for piece in part.partition("-"))
        if not start.isdecimal() or (dash and not end.isdecimal()):
            raise ValueError(
                f"`{text}` does not say which layers. Write numbers and ranges such as 0-7 or 0-3,8, or coarse, "
                "middle, fine or all."
            )
        first, last = int(start), int(end or start)
        if first > last or first >= num_ws:
            raise ValueError(f"The layers `{part}` do not exist: this generator has the layers 0 to {num_ws - 1}.")
        found.update(range(first, min(last, num_ws - 1) + 1))
    return tuple(sorted(found))


def describe_layers(layers: tuple[int, ...]) -> str:
    """`(0, 1, 2, 5)` as `0-2,5`, which `parse_layers` reads."""
    runs: list[list[int]] = []
    for layer in layers:
        if runs and layer == runs[-1][1] + 1:
            runs[-1][1] = layer
        else:
            runs.append([layer, layer])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)
