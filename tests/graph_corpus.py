"""Workflows whose prompts were recorded from ComfyUI's front end, see `tests/browser/test_canvas_graphs.py`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from graph_files import INPUTS, Sketch

SEED = [7, "fixed", 16, "b"]
CHANGED = [0.25, "hi", False, 3]
PICTURE = ("image", "IMAGE")
OUT = [("IMAGE", "IMAGE")]


def changing(name: str = "Changer", inputs: Sequence[tuple[str, str]] = (), **more: Any) -> Sketch:
    """A subgraph of one Change, whose inputs are the subgraph's."""
    inputs = inputs or (PICTURE, ("amount", "FLOAT"), ("text", "STRING"))
    sketch = Sketch(name, inputs, OUT)
    links = {known: (INPUTS, place) for place, (known, _) in enumerate(inputs)}
    return sketch.node(20, "Change", CHANGED, links, **more).out(0, 20, 0)


def around(kind: Any, values: Any = None, *, links: Any = None, aside: bool = False, **more: Any) -> Sketch:
    """Source 1 -> 5, of this kind -> Show 3, and beside it Source 1 -> Show 4."""
    sketch = Sketch().node(1, "Source", SEED).node(5, kind, values, links or {"image": (1, 0)}, **more)
    sketch.node(3, "Show", None, {"images": (5, 0)})
    return sketch.node(4, "Show", None, {"images": (1, 0)}) if aside else sketch


def nested(mode: int = 0, output_inside: bool = False, values: Any = (0.1, "nested")) -> Sketch:
    """A subgraph with one in it and a widget that is promoted twice."""
    inner = changing("Inner")
    if output_inside:
        inner.node(22, "Show", None, {"images": (20, 0)})
    outer = Sketch("Outer", [PICTURE, ("strength", "FLOAT")], OUT)
    outer.node(30, inner, list(values), {"image": (INPUTS, 0), "amount": (INPUTS, 1)}, mode=mode)
    return outer.node(31, "Change", [0.3, "mid", True, 1], {"image": (30, 0)}).out(0, 31, 0)


def proxies(values: Any, pairs: list[list[str]]) -> Sketch:
    """Two instances of a subgraph whose widgets are promoted in the older way."""
    kind = changing("Older", [PICTURE])
    sketch = Sketch().node(1, "Source", SEED)
    sketch.node(5, kind, values, {"image": (1, 0)}, properties={"proxyWidgets": pairs})
    sketch.node(6, kind, ["six"], {"image": (5, 0)}, properties={"proxyWidgets": [["20", "text"]]})
    return sketch.node(3, "Show", None, {"images": (6, 0)})


def nested_proxy(name: str) -> Sketch:
    inner = changing("Inner", [PICTURE, ("amount", "FLOAT")])
    outer = Sketch("Outer", [PICTURE], OUT).node(30, inner, [0.1], {"image": (INPUTS, 0)}).out(0, 30, 0)
    return around(outer, [0.9], properties={"proxyWidgets": [["30", name]]})


def twice(values: Any) -> Sketch:
    """One input of a subgraph for two widgets."""
    kind = Sketch("Twice", [PICTURE, ("amount", "FLOAT")], OUT)
    kind.node(20, "Change", [0.25, "a", True, 1], {"image": (INPUTS, 0), "amount": (INPUTS, 1)})
    kind.node(21, "Change", [0.5, "b", True, 1], {"image": (20, 0), "amount": (INPUTS, 1)})
    return around(kind.out(0, 21, 0), values)


def bypassed(links: dict[str, tuple[int, int]]) -> Sketch:
    sketch = Sketch().node(1, "Source", SEED).node(2, "Change", CHANGED, links, mode=4)
    sketch.node(7, "Change", [0.5, "x", True, 1], {"image": (2, 0), "mask": (2, 1)})
    return sketch.node(3, "Show", None, {"images": (7, 0)})


def bypassed_for_a_widget() -> Sketch:
    sketch = Sketch().node(1, "Source", SEED).node(8, "PrimitiveInt", [12, "fixed"])
    sketch.node(11, "Source", [1, "fixed", 5, "a"], {"seed": (8, 0)}, mode=4)
    sketch.node(2, "Change", CHANGED, {"image": (1, 0), "times": (11, 2)})
    return sketch.node(3, "Show", None, {"images": (2, 0)})


def muted_options() -> Sketch:
    sketch = Sketch().node(1, "Source", SEED, mode=2).node(12, "Source", SEED)
    sketch.node(2, "Change", CHANGED, {"image": (12, 0), "mask": (1, 1), "times": (1, 2)})
    return sketch.node(3, "Show", None, {"images": (2, 0)})


def through(*, reroute: bool) -> Sketch:
    """A subgraph that hands its input on."""
    kind = Sketch("Through", [PICTURE], OUT)
    if reroute:
        kind.node(25, "Reroute", None, {"": (INPUTS, 0)})
    return around(kind.out(0, 25 if reroute else INPUTS, 0))


def with_primitive(kind: Any, reroute: bool = False, values: Any = CHANGED) -> Sketch:
    sketch = Sketch().node(1, "Source", SEED).node(8, "PrimitiveNode", [33, "fixed"])
    sketch.node(9, "Reroute", None, {"": (8, 0)}) if reroute else None
    sketch.node(5, kind, values, {"image": (1, 0), "times": (9 if reroute else 8, 0)})
    return sketch.node(3, "Show", None, {"images": (5, 0)})


def two_uses() -> Sketch:
    kind, sketch = nested(), Sketch().node(1, "Source", SEED)
    sketch.node(5, kind, [0.9], {"image": (1, 0)}).node(6, kind, None, {"image": (5, 0)})
    return sketch.node(3, "Show", None, {"images": (6, 0)})


def whole() -> Sketch:
    sketch = Sketch(whole=True).node(1, "Source", SEED).node(2, "Change", CHANGED, {"image": (1, 0)})
    return sketch.node(3, "Show", None, {"images": (2, 0)}).node(9, "Note", ["x"])


TIMES = [PICTURE, ("times", "INT")]

CORPUS: dict[str, Callable[[], Sketch]] = {
    "plain": lambda: around("Change", CHANGED),
    "older list": lambda: around("Change", [0.25]),
    "an input for every widget": whole,
    "primitive": lambda: with_primitive("Change"),
    "bypass": lambda: bypassed({"image": (1, 0), "mask": (1, 1)}),
    "bypass with nothing to hand on": lambda: bypassed({"mask": (1, 1)}),
    "bypass for a widget": bypassed_for_a_widget,
    "muted on optional inputs": muted_options,
    "promoted": lambda: around(changing(), [0.75, "out"]),
    "promoted, the inside counts": lambda: around(changing()),
    "nested, used twice": two_uses,
    "nested and muted": lambda: around(nested(2), aside=True),
    "nested and bypassed": lambda: around(nested(4), aside=True),
    "nested, muted, an output inside": lambda: around(nested(2, output_inside=True), aside=True),
    "instance muted": lambda: around(changing(), [0.75, "out"], aside=True, mode=2),
    "instance bypassed": lambda: around(changing(), [0.75, "out"], aside=True, mode=4),
    "muted inside": lambda: around(changing(mode=2), [0.75, "out"], aside=True),
    "bypassed inside": lambda: around(changing(mode=4), [0.75, "out"], aside=True),
    "input to output by a reroute": lambda: through(reroute=True),
    "output of a subgraph without a link": lambda: around(Sketch("Empty", [PICTURE], OUT)),
    "one input for two widgets": lambda: twice([0.9]),
    "one input for two widgets, the inside counts": lambda: twice(None),
    "promoted and linked": lambda: around(changing("Times", TIMES), [9], links={"image": (1, 0), "times": (1, 2)}),
    "proxies": lambda: proxies([0.75, "out"], [["20", "amount"], ["20", "text"]]),
    "proxies, too few values": lambda: proxies([0.75], [["20", "amount"], ["20", "text"]]),
    "proxies of a preview": lambda: proxies([None, 0.75], [["20", "$$canvas-image-preview"], ["20", "amount"]]),
    "proxies and an input": lambda: around(
        changing("Both", [PICTURE, ("amount", "FLOAT")]),
        ["t", 0.9],
        properties={"proxyWidgets": [["20", "text"], ["-1", "amount"]]},
    ),
    "proxy of a subgraph inside": lambda: nested_proxy("amount"),
    "proxy with the older prefix": lambda: nested_proxy("20: amount"),
}
"""What the front end makes of these is in `tests/cli/front_end_prompts.json`."""
