"""Solids to be rendered: round cones, cones, ellipsoids and boxes, each in a material."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

Vector = tuple[float, float, float]

# The kinds of `_kernels`, which is imported only where it runs.
CONE, OPEN_CONE, BOX = 0, 1, 2
CLOTH, SKIN, FACE, HAIR, TORSO, SHOE, PROP, LEAVES = 0, 1, 2, 3, 4, 5, 6, 7
PART_WIDTH, MATERIAL_WIDTH = 24, 24
#: The cover of a solid that nothing covers: no point of it is so high.
NO_COVER = (1e9, 0.0)


@dataclass
class Parts:
    """Solids of figures and things with their materials, collected before :func:`pack`.

    Attributes:
        ends: Both ends of each solid and the direction that is its front.
        numbers: Its radii, kind, material, texture offset, scales, owner and cover.
        materials: Rows of ``MATERIAL_WIDTH`` numbers.
        owner: Whose the solids are that are added next: 0 things, 1 the person, 2 somebody else.
    """

    ends: list[tuple[Vector, Vector, Vector]] = field(default_factory=list)
    numbers: list[tuple[float, ...]] = field(default_factory=list)
    materials: list[np.ndarray] = field(default_factory=list)
    owner: int = 0

    def material(self, kind: int, first: np.ndarray, second: np.ndarray | None = None, **extra: float) -> int:
        """Add a material (colours in linear light) and return its number."""
        row = np.zeros(MATERIAL_WIDTH)
        row[0] = kind
        row[1:4] = first
        row[4:7] = first if second is None else second
        for slot, value in extra.items():
            row[int(slot[1:])] = value
        self.materials.append(row)
        return len(self.materials) - 1

    def add(
        self,
        a: Vector,
        b: Vector,
        ra: float,
        rb: float,
        material: int,
        *,
        wide: float = 1.0,
        deep: float = 1.0,
        front: Vector = (0.0, 1.0, 0.0),
        kind: int = CONE,
        offset: float = 0.0,
        cover: tuple[float, float] = NO_COVER,
    ) -> None:
        """Add a cone from ``a`` to ``b``, its section ``wide`` across and ``deep`` towards ``front``.

        Above the height ``cover[0]`` it wears the material ``cover[1]``: what pokes through a hem as a leg swings.
        """
        self.ends.append((a, b, front))
        self.numbers.append((ra, rb, kind, material, offset, wide, deep, 1.0, self.owner, *cover))

    def ball(
        self,
        centre: Vector,
        radii: Vector,
        material: int,
        *,
        up: Vector,
        front: Vector,
        offset: float = 0.0,
    ) -> None:
        """Add an ellipsoid."""
        self.ends.append((centre, (centre[0] + up[0], centre[1] + up[1], centre[2] + up[2]), front))
        # an ellipsoid is a cone of no length: the axis is only a direction
        self.numbers.append((1.0, 1.0, -1.0, material, offset, *radii, self.owner, *NO_COVER))

    def box(self, foot: Vector, size: Vector, material: int, *, up: Vector, front: Vector) -> None:
        """Add a box on ``foot``, the centre of its lower side; ``size`` is across, deep, high."""
        top = (foot[0] + up[0] * size[2], foot[1] + up[1] * size[2], foot[2] + up[2] * size[2])
        self.ends.append((foot, top, front))
        self.numbers.append((0.0, 0.0, BOX, material, 0.0, size[0] / 2, size[1] / 2, 1.0, self.owner, *NO_COVER))


def pack(parts: Parts) -> tuple[np.ndarray, np.ndarray]:
    """Parts and materials as the arrays the kernels take: ``(P, PART_WIDTH)`` and ``(M, MATERIAL_WIDTH)``."""
    packed = np.zeros((len(parts.ends), PART_WIDTH))
    if not len(packed):
        return packed, np.zeros((1, MATERIAL_WIDTH))
    ends = np.array(parts.ends)
    numbers = np.array(parts.numbers)
    a, axis, front = ends[:, 0], ends[:, 1] - ends[:, 0], ends[:, 2]
    length = np.sqrt((axis * axis).sum(1))
    z = axis / np.maximum(length, 1e-9)[:, None]
    y = front - (front * z).sum(1)[:, None] * z
    flat = (y * y).sum(1) < 1e-8  # the front lies along the part: any other direction does
    if flat.any():
        other = np.where(np.abs(z[:, :1]) > 0.9, (0.0, 1.0, 0.0), (1.0, 0.0, 0.0))
        y = np.where(flat[:, None], other - (other * z).sum(1)[:, None] * z, y)
    y /= np.sqrt((y * y).sum(1))[:, None]
    x = np.cross(y, z)
    ball = numbers[:, 2] < 0
    scale = numbers[:, 5:8]
    packed[:, 0:3] = a
    packed[:, 3:6] = x / scale[:, :1]
    packed[:, 6:9] = y / scale[:, 1:2]
    packed[:, 9:12] = z / scale[:, 2:3]
    packed[:, 12] = np.where(ball, 0.0, length)
    packed[:, 13:15] = numbers[:, 0:2]
    packed[:, 15] = np.where(ball, CONE, numbers[:, 2])
    packed[:, 16:18] = numbers[:, 3:5]
    packed[:, 18:21] = scale
    packed[:, 21:24] = numbers[:, 8:11]
    return packed, np.array(parts.materials)
