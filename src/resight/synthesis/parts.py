"""Solids to be rendered: round cones, open cones, ellipsoids and boxes, each with a material."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from resight.synthesis.slots import (
    BALL,
    BOX,
    CONE,
    MATERIAL_COLOUR,
    MATERIAL_KIND,
    MATERIAL_SECOND_COLOUR,
    MATERIAL_WIDTH,
    OWNER_THING,
    PART_LENGTH,
    PART_ORIGIN,
    PART_SCALE,
    PART_SHAPE,
    PART_START_RADIUS,
    PART_WIDTH,
    PART_X_AXIS,
    PART_Y_AXIS,
    PART_Z_AXIS,
)

Vector = tuple[float, float, float]

#: Cover of a solid that nothing covers: no point is this high.
NO_COVER = (1e9, 0)


class Numbers(NamedTuple):
    """What a solid has besides its place, in the order of the slots from ``PART_START_RADIUS`` on.

    Attributes:
        start_radius: Radius at the start of the axis, in metres before scaling.
        end_radius: Radius at its end.
        shape: ``CONE``, ``OPEN_CONE``, ``BOX`` or ``BALL``.
        material: Index of the material.
        offset: Metres added to the position along the axis before the texture is looked up.
        wide: Scale across.
        deep: Scale towards the front.
        high: Scale along the axis.
        owner: ``OWNER_THING``, ``OWNER_PERSON`` or ``OWNER_COMPANION``.
        cover_height: Height above the ground in metres from which ``cover_material`` replaces ``material``.
        cover_material: Index of that material.
    """

    start_radius: float
    end_radius: float
    shape: int
    material: int
    offset: float
    wide: float
    deep: float
    high: float
    owner: int
    cover_height: float
    cover_material: int


class Shadow(NamedTuple):
    """A soft shadow around a line on the ground, in the order of the ``SHADOW_…`` slots.

    Attributes:
        start_x: Start of the line, in metres.
        start_y: Start of the line.
        end_x: End of the line.
        end_y: End of the line.
        radius: Distance from the line at which the shadow stops, in metres.
        darkness: Share of the sunlight that the middle of the shadow loses, 0 to 1.
    """

    start_x: float
    start_y: float
    end_x: float
    end_y: float
    radius: float
    darkness: float


@dataclass
class Parts:
    """Solids of figures and things with their materials, collected before :func:`pack`.

    Attributes:
        ends: For each solid the start and the end of its axis, in metres, and the direction of its front.
        numbers: For each solid the rest.
        materials: For each material an array of shape ``(MATERIAL_WIDTH,)``.
        owner: Owner of the solids that are added next.
    """

    ends: list[tuple[Vector, Vector, Vector]] = field(default_factory=list)
    numbers: list[Numbers] = field(default_factory=list)
    materials: list[np.ndarray] = field(default_factory=list)
    owner: int = OWNER_THING

    def material(
        self,
        kind: int,
        first: np.ndarray,
        second: np.ndarray | None = None,
        slots: Mapping[int, float] | None = None,
    ) -> int:
        """Adds a material.

        Args:
            kind: ``CLOTH``, ``SKIN``, ``FACE``, ``HAIR``, ``TORSO``, ``SHOE``, ``PROP`` or ``LEAVES``.
            first: ``(3,)`` colour in linear light.
            second: ``(3,)`` second colour; the first one if not given.
            slots: Values of further slots, by ``MATERIAL_…``, ``FACE_…`` or ``TORSO_…``.

        Returns:
            The index of the material.
        """
        row = np.zeros(MATERIAL_WIDTH)
        row[MATERIAL_KIND] = kind
        row[MATERIAL_COLOUR : MATERIAL_COLOUR + 3] = first
        row[MATERIAL_SECOND_COLOUR : MATERIAL_SECOND_COLOUR + 3] = first if second is None else second
        for slot, value in (slots or {}).items():
            row[slot] = value
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
        cover: tuple[float, int] = NO_COVER,
    ) -> None:
        """Adds a cone from ``a`` to ``b``.

        Args:
            a: Start of the axis, in metres.
            b: End of the axis.
            ra: Radius at ``a``.
            rb: Radius at ``b``.
            material: Index of its material.
            wide: Scale of the section across.
            deep: Scale of the section towards the front.
            front: Direction of the front.
            kind: ``CONE`` (round ends) or ``OPEN_CONE`` (no ends).
            offset: Metres added to the position along the axis before the texture is looked up.
            cover: Height above the ground and index of the material that is shown above it. It hides a leg that would
                poke through a hem as it swings.
        """
        self.ends.append((a, b, front))
        self.numbers.append(Numbers(ra, rb, kind, material, offset, wide, deep, 1.0, self.owner, *cover))

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
        """Adds an ellipsoid.

        Args:
            centre: Its centre, in metres.
            radii: Radii across, towards the front and along ``up``.
            material: Index of its material.
            up: Unit vector of its axis.
            front: Direction of its front.
            offset: As in :meth:`add`.
        """
        self.ends.append((centre, (centre[0] + up[0], centre[1] + up[1], centre[2] + up[2]), front))
        self.numbers.append(Numbers(1.0, 1.0, BALL, material, offset, *radii, self.owner, *NO_COVER))

    def box(self, foot: Vector, size: Vector, material: int, *, up: Vector, front: Vector) -> None:
        """Adds a box.

        Args:
            foot: Centre of its lower side, in metres.
            size: Width, depth and height.
            material: Index of its material.
            up: Unit vector from the lower to the upper side.
            front: Direction of the depth.
        """
        wide, deep, high = size
        top = (foot[0] + up[0] * high, foot[1] + up[1] * high, foot[2] + up[2] * high)
        self.ends.append((foot, top, front))
        self.numbers.append(Numbers(0.0, 0.0, BOX, material, 0.0, wide / 2, deep / 2, 1.0, self.owner, *NO_COVER))


def pack(parts: Parts) -> tuple[np.ndarray, np.ndarray]:
    """Solids and materials as the arrays that the kernels read (see :mod:`resight.synthesis.slots`).

    Returns:
        ``(P, PART_WIDTH)`` solids and ``(M, MATERIAL_WIDTH)`` materials, both float64.
    """
    packed = np.zeros((len(parts.ends), PART_WIDTH))
    if not len(packed):
        return packed, np.zeros((1, MATERIAL_WIDTH))
    ends = np.array(parts.ends)
    a, axis, front = ends[:, 0], ends[:, 1] - ends[:, 0], ends[:, 2]
    length = np.sqrt((axis * axis).sum(1))
    z = axis / np.maximum(length, 1e-9)[:, None]
    y = front - (front * z).sum(1)[:, None] * z
    flat = (y * y).sum(1) < 1e-8  # the front is along the axis: any other direction will do
    if flat.any():
        other = np.where(np.abs(z[:, :1]) > 0.9, (0.0, 1.0, 0.0), (1.0, 0.0, 0.0))
        y = np.where(flat[:, None], other - (other * z).sum(1)[:, None] * z, y)
    y /= np.sqrt((y * y).sum(1))[:, None]
    x = np.cross(y, z)
    packed[:, PART_ORIGIN : PART_ORIGIN + 3] = a
    packed[:, PART_LENGTH] = length
    packed[:, PART_START_RADIUS:] = parts.numbers
    wide, deep, high = packed[:, PART_SCALE : PART_SCALE + 3, None].swapaxes(0, 1)
    packed[:, PART_X_AXIS : PART_X_AXIS + 3] = x / wide
    packed[:, PART_Y_AXIS : PART_Y_AXIS + 3] = y / deep
    packed[:, PART_Z_AXIS : PART_Z_AXIS + 3] = z / high
    # an ellipsoid is a cone of length 0: its axis is only a direction
    ball = packed[:, PART_SHAPE] == BALL
    packed[ball, PART_LENGTH] = 0.0
    packed[ball, PART_SHAPE] = CONE
    return packed, np.array(parts.materials)
