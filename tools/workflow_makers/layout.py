"""Where nodes, groups and notes go on a canvas: columns inside titled groups, groups side by side or stacked.

Nothing overlaps, by construction: a column grows downwards, the next column starts to its right, and a group ends where
its lowest node ends once its pictures have arrived.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil
from typing import Any

SLOT, ROW, TITLE = 20, 24, 30
"""Heights in pixels of a socket, a widget and a node's title bar, as the front end draws them."""
TEXT = 90
"""Height of a text widget of several lines."""
PICTURE = 340
"""Height of a node that is there to show a picture."""
ROOM = 250
"""What is kept free under a node that grows by a picture while it runs."""
CURVE = 150
"""And what more under one that draws its losses."""
GAP = 30
"""Between a node and the title of the next one, and between columns."""
MARGIN, HEAD = 24, 50
"""Between a group's frame and its nodes, and above them for the group's own title."""
BETWEEN = 60
"""Between two groups."""

Rectangle = tuple[int, int, int, int]
"""Left, top, right, bottom."""


def node_height(sockets: int, widgets: int, texts: int = 0) -> int:
    """Least height in pixels of a node's body, without its title.

    Args:
        sockets: rows of inputs and outputs, whichever are more.
        widgets: all widgets.
        texts: how many of them hold several lines.
    """
    return SLOT * max(sockets, 1) + ROW * (widgets - texts) + TEXT * texts + 16


def note_height(text: str, width: int) -> int:
    """Height in pixels of a note that shows all of its text."""
    per_line = max(1, (width - 30) // 7)
    lines = sum(max(1, ceil(len(line) / per_line)) for line in text.splitlines())
    return 22 * lines + 46


@dataclass
class GroupFrame:
    """A group while it is filled: where its next node goes, and how far it reaches."""

    title: str
    colour: str
    left: int
    top: int
    width: int
    """Of the nodes in the current column."""
    x: int = field(init=False)
    y: int = field(init=False)
    right: int = field(init=False)
    bottom: int = field(init=False)

    def __post_init__(self) -> None:
        self.x, self.y = self.left + MARGIN, self.top + HEAD + TITLE
        self.right, self.bottom = self.x + self.width, self.y

    def column(self, width: int) -> None:
        """Goes on at the top of a new column."""
        self.x, self.y, self.width = self.right + GAP, self.top + HEAD + TITLE, width

    def place(self, height: int, room: int = 0) -> tuple[list[int], list[int]]:
        """Position and size of the next node, with room under it."""
        position, size = [self.x, self.y], [self.width, height]
        self.right = max(self.right, self.x + self.width)
        self.bottom = max(self.bottom, self.y + height + room)
        self.y += height + room + GAP + TITLE
        return position, size

    @property
    def rectangle(self) -> Rectangle:
        """The frame, with its margin."""
        return self.left, self.top, self.right + MARGIN, self.bottom + MARGIN

    def entry(self, key: int) -> dict[str, Any]:
        """The group as the file has it."""
        left, top, right, bottom = self.rectangle
        return {
            "id": key,
            "title": self.title,
            "bounding": [left, top, right - left, bottom - top],
            "color": self.colour,
            "flags": {},
        }
