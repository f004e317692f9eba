"""Direct labels: each beside what it names, over nothing else."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from matplotlib import rcParams
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.text import Annotation

from physgrad.plot.view import visible_parts

FONT_SIZE = 10.0
LONGEST_TEXT, MOST_LABELS = 40, 6
# In points: how far a label may be from its anchor, from the first choice on, and from
# where on a thin line leads to it.
DISTANCES = (7.0, 11.0, 16.0, 22.0, 30.0, 40.0, 52.0, 68.0, 86.0)
LEADER_FROM = 16.0
DIRECTIONS = 48
# In points: what a marker, a line and a label keep free around them.
MARKER_RADIUS, LINE_RADIUS, LABEL_ROOM = 5.0, 2.0, 1.5
# In points: room around a label of which more is no better; inside the frame.
ROOM_ENOUGH, FRAME_MARGIN = 14.0, 5.0
# In points: how far apart the samples of a line are.
SAMPLING, LEADER_SAMPLES = 3.0, 8
# What it costs a label to lie on a marker or on another label; and on a line, or nearer
# to what another label names than to its own. One point of distance costs 1, the
# direction away from the preferred one up to twice TURN.
ON_MARKER, ON_LINE, TURN = 1e4, 150.0, 5.0


@dataclasses.dataclass(frozen=True)
class Label:
    """A text that belongs to a point."""

    text: str
    """What it names."""
    anchor: np.ndarray
    """In data coordinates, shape (2,)."""
    color: str
    direction: np.ndarray
    """Where it would best lie, seen from the anchor; shape (2,), any length."""
    kind: str
    """Its `gid`: what it names."""
    size: float = FONT_SIZE
    """In points."""
    after: str = ""
    """What is said of it, written behind the name."""


class Obstacles:
    """What labels must not cover: markers, lines and other labels, in pixels."""

    def __init__(self, ax: Axes):
        self.ax = ax
        figure = ax.get_figure(root=True)
        self.scale = figure.dpi / 72 if figure is not None else 1.0
        box = ax.get_window_extent()
        self.frame = np.array([[box.x0, box.y0], [box.x1, box.y1]])
        self.markers = np.empty((0, 2))
        self._samples: list[np.ndarray] = []
        self.boxes = np.empty((0, 4))

    def pixels(self, points: float) -> float:
        """A length in points (1/72 inch) as pixels."""
        return points * self.scale

    def frame_contains(self, pixels: np.ndarray) -> np.ndarray:
        """Whether each point, shape (.., 2), lies in the axes."""
        return np.all((pixels >= self.frame[0]) & (pixels <= self.frame[1]), axis=-1)

    def add_markers(self, data: np.ndarray) -> None:
        """Keep points free; data coordinates, shape (n, 2)."""
        pixels = self.ax.transData.transform(data)
        self.markers = np.concatenate(
            [self.markers, pixels[self.frame_contains(pixels)]]
        )

    def add_line(self, data: np.ndarray) -> None:
        """Keep a line through points free; data coordinates, shape (n, 2)."""
        pixels = self.ax.transData.transform(data)
        here, way = pixels[:-1], np.diff(pixels, axis=0)
        first, last = visible_parts(here, way, *self.frame)
        lengths = np.hypot(*way.T) * np.maximum(last - first, 0.0)
        counts = (lengths / self.pixels(SAMPLING)).astype(int) + 2
        for k in np.flatnonzero(last >= first):
            parts = np.linspace(first[k], last[k], counts[k])[:, None]
            self._samples.append(here[k] + parts * way[k])

    def add_leader(self, here: np.ndarray, there: np.ndarray) -> None:
        """Keep a straight line between two points free; pixels."""
        self._samples.append(np.linspace(here, there, LEADER_SAMPLES))

    @property
    def lines(self) -> np.ndarray:
        """Samples of all lines, shape (n, 2), in pixels."""
        if len(self._samples) > 1:
            self._samples = [np.concatenate(self._samples)]
        return self._samples[0] if self._samples else np.empty((0, 2))

    def add_box(self, center: np.ndarray, size: np.ndarray) -> None:
        """Keep a rectangle free, with some room around it; pixels."""
        room = size + 2 * self.pixels(LABEL_ROOM)
        self.boxes = np.concatenate([self.boxes, [[*center, *room]]])

    def fits(self, centers: np.ndarray, size: np.ndarray) -> np.ndarray:
        """Whether rectangles of one size at the centers, shape (n, 2), are inside."""
        half = size / 2 + self.pixels(FRAME_MARGIN)
        return self.frame_contains(centers - half) & self.frame_contains(centers + half)

    def from_markers(self, centers: np.ndarray, size: np.ndarray) -> np.ndarray:
        """How far rectangles are from the next marker or label; (n,), 0: they touch."""
        markers = _distance(centers, size, self.markers) - self.pixels(MARKER_RADIUS)
        boxes = _distance(centers, size, self.boxes[:, :2], self.boxes[:, 2:])
        return np.maximum(np.minimum(markers, boxes), 0.0)

    def from_lines(self, centers: np.ndarray, size: np.ndarray) -> np.ndarray:
        """How far rectangles are from the next line; (n,), 0: they touch."""
        lines = _distance(centers, size, self.lines) - self.pixels(LINE_RADIUS)
        return np.maximum(lines, 0.0)


def plain(text: str) -> str:
    """A user's text in one line of printable characters, shortened if long.

    >>> plain("a\\nb")
    'a b'
    """
    text = "".join(c if c.isprintable() else " " for c in str(text))
    return text if len(text) <= LONGEST_TEXT else text[: LONGEST_TEXT - 1] + "…"


def clearest(
    candidates: np.ndarray,
    size: np.ndarray,
    obstacles: Obstacles,
    others: np.ndarray,
    near: np.ndarray | None = None,
) -> np.ndarray | None:
    """Of the candidate centers the one farthest from everything; None if all touch.

    Pixels; candidates of shape (n, 2). `others` are points that should be far off, too,
    but need not be, (m, 2). Among those with room enough it is the one closest to
    `near`, (2,).
    """
    candidates = candidates[obstacles.fits(candidates, size)]
    if len(candidates) == 0:
        return None
    enough = obstacles.pixels(ROOM_ENOUGH)
    room = np.minimum(
        obstacles.from_markers(candidates, size), obstacles.from_lines(candidates, size)
    )
    apart = _distance(candidates, size, others)
    score = np.minimum(room, enough) + np.minimum(apart, enough / 2)
    if near is not None:
        far = np.hypot(*(candidates - near).T) / np.ptp(obstacles.frame)
        score = score - 0.5 * enough * far
    score[room <= 0] = -np.inf
    best = int(np.argmax(score))
    return candidates[best] if room[best] > 0 else None


def place_labels(
    ax: Axes, labels: Sequence[Label], obstacles: Obstacles, most: int = MOST_LABELS
) -> list[Annotation] | None:
    """Write labels beside their anchors; None, and none, if one would cover anything.

    Each goes to the nearest free place, in the direction it prefers. More than `most`
    are not tried: there a legend is quicker to read.
    """
    if len(labels) > most:
        return None
    written = []
    before = obstacles.boxes
    anchors = ax.transData.transform(
        np.array([label.anchor for label in labels]).reshape(-1, 2)
    )
    for number, label in enumerate(labels):
        size, anchor = size_of(ax, label), anchors[number]
        rivals = np.delete(anchors, number, axis=0)
        spot, distance, cost = _best_place(
            anchor, label.direction, size, obstacles, rivals
        )
        if cost >= ON_MARKER:
            for note in written:
                note.remove()
            obstacles.boxes = before
            return None
        offset = (spot - anchor) / obstacles.scale
        leader = None
        if distance >= LEADER_FROM:
            corner = _nearest(anchor, spot[None], size)[0]
            leader = 0.5 + (corner - spot) / size
            obstacles.add_leader(anchor, corner)
        written.append(_written(ax, label, offset, leader))
        obstacles.add_box(spot, size)
    return written


def size_of(ax: Axes, label: Label) -> np.ndarray:
    """Width and height of a label, in pixels."""
    text = ax.text(
        0, 0, label.text + label.after, fontsize=label.size, parse_math=False
    )
    text.set_usetex(False)
    _, size = extent(text)
    text.remove()
    return size


def extent(artist: Artist) -> tuple[np.ndarray, np.ndarray]:
    """Center and size of what is drawn, in pixels."""
    low, high = np.asarray(artist.get_window_extent())
    return (low + high) / 2, high - low


def _written(
    ax: Axes, label: Label, offset: np.ndarray, leader: np.ndarray | None
) -> Annotation:
    """The label, `offset` points from its anchor; `leader`: where in it a line ends."""
    arrow = dict(
        arrowstyle="-",
        color=label.color,
        linewidth=0.8,
        shrinkA=1,
        shrinkB=MARKER_RADIUS,
        relpos=tuple(leader) if leader is not None else (0.5, 0.5),
    )
    return ax.annotate(
        label.text + label.after,
        tuple(label.anchor),
        xytext=tuple(offset),
        textcoords="offset points",
        color=label.color,
        fontsize=label.size,
        ha="center",
        va="center",
        gid=label.kind,
        zorder=6,
        parse_math=False,
        usetex=False,
        annotation_clip=False,
        bbox=dict(facecolor=ax.get_facecolor(), edgecolor="none", alpha=0.7, pad=0.8),
        arrowprops=None if leader is None else arrow,
    )


def _best_place(
    anchor: np.ndarray,
    direction: np.ndarray,
    size: np.ndarray,
    obstacles: Obstacles,
    rivals: np.ndarray,
) -> tuple[np.ndarray, float, float]:
    """The cheapest center for a label (pixels), its distance (points) and its cost.

    `rivals`: what other labels name, (n, 2); without a line that leads to its own, a
    label next to one of them would be taken for theirs.
    """
    angles = np.arange(DIRECTIONS) * 2 * np.pi / DIRECTIONS
    around = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    length = float(np.hypot(*direction)) or 1.0
    turn = TURN * (1 - around @ (direction / length))
    # the center of a rectangle whose nearest point is at the distance asked for
    shift = np.clip(around * np.max(size), -size / 2, size / 2)
    best = (anchor, 0.0, np.inf)
    for distance in DISTANCES:
        centers = anchor + around * obstacles.pixels(distance) + shift
        cost = distance + turn
        cost += ON_MARKER * (obstacles.from_markers(centers, size) <= 0)
        cost += ON_LINE * (obstacles.from_lines(centers, size) <= 0)
        if distance >= LEADER_FROM:
            cost += ON_LINE * _leads_across(anchor, centers, size, obstacles)
        else:
            own = _distance(centers, size, anchor[None])
            cost += ON_LINE * (_distance(centers, size, rivals) < own)
        cost[~obstacles.fits(centers, size)] = np.inf
        place = int(np.argmin(cost))
        if cost[place] < best[2]:
            best = (centers[place], distance, float(cost[place]))
    return best


def _nearest(anchor: np.ndarray, centers: np.ndarray, size: np.ndarray) -> np.ndarray:
    """The point of each rectangle that is nearest to the anchor, (n, 2)."""
    return centers + np.clip(anchor - centers, -size / 2, size / 2)


def _leads_across(
    anchor: np.ndarray, centers: np.ndarray, size: np.ndarray, obstacles: Obstacles
) -> np.ndarray:
    """Whether the line from the anchor to each rectangle crosses a label, (n,)."""
    parts = np.linspace(0.2, 0.9, LEADER_SAMPLES)[:, None, None]
    corners = _nearest(anchor, centers, size)
    samples = (anchor + parts * (corners - anchor)).reshape(-1, 2)
    boxes = obstacles.boxes
    away = _distance(samples, np.zeros(2), boxes[:, :2], boxes[:, 2:])
    return np.any(away.reshape(LEADER_SAMPLES, -1) <= 0, axis=0)


def _distance(
    centers: np.ndarray,
    size: np.ndarray,
    others: np.ndarray,
    sizes: np.ndarray | float = 0.0,
) -> np.ndarray:
    """From each rectangle to the nearest of the others (points, or rectangles)."""
    if len(others) == 0:
        return np.full(len(centers), np.inf)
    gap = np.abs(centers[:, None] - others[None]) - (size + sizes) / 2
    return np.min(np.hypot(*np.moveaxis(np.maximum(gap, 0.0), -1, 0)), axis=1)


def merged(
    ax: Axes, labels: Sequence[Label], paths: Sequence[np.ndarray]
) -> list[Label]:
    """One label for runs that look the same on the page, such as two inverses."""
    pixels = [ax.transData.transform(path.astype(float)) for path in paths]
    groups: list[list[int]] = []
    for number, path in enumerate(pixels):
        for group in groups:
            first = pixels[group[0]]
            if first.shape == path.shape and np.allclose(first, path, atol=1.0):
                group.append(number)
                break
        else:
            groups.append([number])
    return [_together([labels[number] for number in group]) for group in groups]


def _together(labels: Sequence[Label]) -> Label:
    """One label for several, in the color of text where theirs differ."""
    alike = len({label.color for label in labels}) == 1
    same = len({label.after for label in labels}) == 1  # said once for all of them
    texts = [label.text if same else label.text + label.after for label in labels]
    return dataclasses.replace(
        labels[0],
        text=listed(texts),
        color=labels[0].color if alike else rcParams["text.color"],
        after=labels[0].after if same else "",
    )


def listed(names: Sequence[str]) -> str:
    """Names in a sentence.

    >>> listed(["a"]), listed(["a", "b"]), listed(["a", "b", "c"])
    ('a', 'a and b', 'a, b and c')
    """
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last
