"""Compiled inner loops of the renderer (numba); import this module only inside functions.

The arrays are laid out as :mod:`resight.synthesis.slots` says. A solid is a cone with round ends, a cone without ends,
or a box. Its local z axis runs along it, and its axes may be scaled, so that the section of a cone is an ellipse.

Lengths are metres, colours are linear light. Places in the picture are tangents: the offset to the right or up divided
by the distance along the camera's forward axis. Noise is a hash of the place, so the kernels have no random state.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from resight.common.kernels import jit as common_jit
from resight.synthesis.slots import (
    BOUND_BOTTOM,
    BOUND_LEFT,
    BOUND_RIGHT,
    BOUND_TOP,
    BOX,
    BRICKS,
    CHEQUERS,
    CLOTH,
    CONE,
    EYE_FORWARD,
    EYE_POSITION,
    EYE_RIGHT,
    EYE_UP,
    FACE,
    FACE_BEARD,
    FRAME_WIDTH,
    GREENERY,
    HAIR,
    LEAVES,
    LOGO_BAR,
    LOGO_DISC,
    MATERIAL_COLOUR,
    MATERIAL_KIND,
    MATERIAL_LINE,
    MATERIAL_PATTERN,
    MATERIAL_RADIUS,
    MATERIAL_SECOND_COLOUR,
    MATERIAL_SIDE,
    MATERIAL_SIZE,
    MATERIAL_SOLE,
    MATERIAL_THIRD_COLOUR,
    NO_LOGO,
    OPEN,
    PART_COVER_HEIGHT,
    PART_COVER_MATERIAL,
    PART_END_RADIUS,
    PART_LENGTH,
    PART_MATERIAL,
    PART_OFFSET,
    PART_ORIGIN,
    PART_OWNER,
    PART_SCALE,
    PART_SHAPE,
    PART_START_RADIUS,
    PART_X_AXIS,
    PART_Y_AXIS,
    PART_Z_AXIS,
    PATCHES,
    PATTERN_CHECKS,
    PATTERN_COLUMNS,
    PATTERN_DOTS,
    PATTERN_PLAIN,
    PATTERN_ROWS,
    PATTERN_SIDE,
    PATTERN_TWO_TONE,
    POSTERS,
    PROP,
    PROP_COLUMNS,
    PROP_ROWS,
    PROP_WINDOWS,
    RESPONSE_BLUR_ACROSS,
    RESPONSE_BLUR_DOWN,
    RESPONSE_CONTRAST,
    RESPONSE_MATRIX,
    RESPONSE_NOISE,
    RESPONSE_SATURATION,
    ROAD,
    SCENE_AMBIENT,
    SCENE_FLOOR,
    SCENE_GRAIN,
    SCENE_LIGHT,
    SCENE_SEED,
    SCENE_SKY,
    SCENE_SUN,
    SCENE_WALL,
    SCENE_WALL_HEIGHT,
    SCENE_WALL_Y,
    SHADOW_DARKNESS,
    SHADOW_END,
    SHADOW_RADIUS,
    SHADOW_START,
    SHOE,
    STRIPES,
    SURFACE_COLOUR,
    SURFACE_KIND,
    SURFACE_LINE_Y,
    SURFACE_SECOND_COLOUR,
    SURFACE_SIZE,
    TILES,
    TORSO,
    TORSO_BAG_SIDE,
    TORSO_COLLAR,
    TORSO_GAP,
    TORSO_LOGO,
    TORSO_NECK,
    TORSO_OPENING,
    TORSO_SHIRT,
    TORSO_STRAPS,
    WINDOW_LEFT,
    WINDOW_STEP_DOWN,
    WINDOW_STEP_RIGHT,
    WINDOW_TOP,
    WINDOWS,
    ZIPPED,
)

#: A division by zero gives ``inf`` or ``nan`` and is not checked for.
jit = partial(common_jit, error_model="numpy")


@jit()
def hash01(i: int, j: int, k: int) -> float:
    """A hash of three integers as a number from 0 to 1, 1 excluded."""
    h = (i * 374761393 + j * 668265263 + k * 1440662683 + 12345) & 0xFFFFFFFF
    h = ((h ^ (h >> 15)) * 2246822519) & 0xFFFFFFFF
    h = ((h ^ (h >> 13)) * 3266489917) & 0xFFFFFFFF
    return ((h ^ (h >> 16)) & 0xFFFFFF) / 16777216.0


@jit()
def value_noise(x: float, y: float, seed: int) -> float:
    """Smooth noise in the plane: a hash at the points of a grid of step 1, interpolated between them; 0 to 1."""
    i = int(np.floor(x))
    j = int(np.floor(y))
    fx = x - i
    fy = y - j
    fx = fx * fx * (3.0 - 2.0 * fx)
    fy = fy * fy * (3.0 - 2.0 * fy)
    a = hash01(i, j, seed)
    b = hash01(i + 1, j, seed)
    c = hash01(i, j + 1, seed)
    d = hash01(i + 1, j + 1, seed)
    return (a + (b - a) * fx) + ((c + (d - c) * fx) - (a + (b - a) * fx)) * fy


@jit()
def vector(numbers: np.ndarray, slot: int) -> tuple[float, float, float]:
    """The three numbers from a slot on."""
    return numbers[slot], numbers[slot + 1], numbers[slot + 2]


@jit()
def ray(eye: np.ndarray, u: float, v: float) -> tuple[float, float, float]:
    """The direction through a place of the picture.

    Args:
        eye: A view, for world coordinates, or a row of frames, for the coordinates of that solid.
        u: Tangent to the right.
        v: Tangent upwards.
    """
    return (
        eye[EYE_FORWARD] + u * eye[EYE_RIGHT] + v * eye[EYE_UP],
        eye[EYE_FORWARD + 1] + u * eye[EYE_RIGHT + 1] + v * eye[EYE_UP + 1],
        eye[EYE_FORWARD + 2] + u * eye[EYE_RIGHT + 2] + v * eye[EYE_UP + 2],
    )


@jit()
def prepare_parts(parts: np.ndarray, view: np.ndarray) -> np.ndarray:
    """The camera in the coordinates of every solid, and the rectangle of the picture in which the solid lies.

    Args:
        parts: ``(P, PART_WIDTH)`` solids.
        view: ``(VIEW_WIDTH,)`` camera. Its window is not read.

    Returns:
        ``(P, FRAME_WIDTH)`` frames. The left bound of a solid behind the camera is greater than its right one.
    """
    frames = np.empty((parts.shape[0], FRAME_WIDTH))
    eye_x, eye_y, eye_z = vector(view, EYE_POSITION)
    for p in range(parts.shape[0]):
        part = parts[p]
        px, py, pz = vector(part, PART_ORIGIN)
        for r in range(3):
            a, b, c = vector(part, PART_X_AXIS + 3 * r)
            frames[p, EYE_POSITION + r] = a * (eye_x - px) + b * (eye_y - py) + c * (eye_z - pz)
            for q in range(3):
                dx, dy, dz = vector(view, EYE_FORWARD + 3 * q)
                frames[p, EYE_FORWARD + 3 * q + r] = a * dx + b * dy + c * dz
        left = np.inf
        right = -np.inf
        bottom = np.inf
        top = -np.inf
        shape = part[PART_SHAPE]
        wide, deep, high = vector(part, PART_SCALE)
        ax, ay, az = vector(part, PART_X_AXIS)
        bx, by, bz = vector(part, PART_Y_AXIS)
        cx, cy, cz = vector(part, PART_Z_AXIS)
        corners = 8 if shape == BOX else 2
        for corner in range(corners):
            # a row of the matrix is an axis divided by its scale, so the axis times its scale is row · scale²
            if shape == BOX:
                sx = (1.0 if corner & 1 else -1.0) * wide * wide
                sy = (1.0 if corner & 2 else -1.0) * deep * deep
                along = part[PART_LENGTH] if corner & 4 else 0.0
                radius = 0.0
            else:
                sx = 0.0
                sy = 0.0
                along = part[PART_LENGTH] if corner else 0.0
                radius = (part[PART_END_RADIUS] if corner else part[PART_START_RADIUS]) * max(wide, deep, high)
            sz = along * high * high
            x = px + sx * ax + sy * bx + sz * cx - eye_x
            y = py + sx * ay + sy * by + sz * cy - eye_y
            z = pz + sx * az + sy * bz + sz * cz - eye_z
            depth = x * view[EYE_FORWARD] + y * view[EYE_FORWARD + 1] + z * view[EYE_FORWARD + 2]
            near = depth - radius
            if near < 0.2:
                left, right, bottom, top = -1e3, 1e3, -1e3, 1e3
                if depth + radius < 0.2:
                    left, right, bottom, top = 1.0, -1.0, 1.0, -1.0
                break
            u = (x * view[EYE_RIGHT] + y * view[EYE_RIGHT + 1] + z * view[EYE_RIGHT + 2]) / depth
            v = (x * view[EYE_UP] + y * view[EYE_UP + 1] + z * view[EYE_UP + 2]) / depth
            reach = radius / near * (1.0 + 0.3 * (abs(u) + abs(v)))
            left = min(left, u - reach)
            right = max(right, u + reach)
            bottom = min(bottom, v - reach)
            top = max(top, v + reach)
        frames[p, BOUND_LEFT] = left
        frames[p, BOUND_RIGHT] = right
        frames[p, BOUND_BOTTOM] = bottom
        frames[p, BOUND_TOP] = top
    return frames


@jit()
def hit_cone(
    ox: float, oy: float, oz: float, dx: float, dy: float, dz: float, length: float, ra: float, rb: float, ends: bool
) -> float:
    """The first intersection of a ray with a cone along the z axis.

    The cone is the hull of spheres whose centre and radius run linearly from one end to the other. On its surface
    both f(X, t) = |X − c(t)|² − r(t)² and ∂f/∂t are 0; without t, this is a quadratic equation in the ray's parameter.

    Args:
        ox: x of the ray's start.
        oy: y of it.
        oz: z of it.
        dx: x of the ray's direction, which need not have length 1.
        dy: y of it.
        dz: z of it.
        length: Length of the axis.
        ra: Radius of the sphere at z = 0.
        rb: Radius of the sphere at z = ``length``.
        ends: Whether the cone has its round ends. Without them it is open at both ends.

    Returns:
        The ray's parameter there, or -1 if there is no intersection in front of the start.
    """
    dr = rb - ra
    best = -1.0
    c2 = dx * dx + dy * dy + dz * dz
    c1 = ox * dx + oy * dy + oz * dz
    oo = ox * ox + oy * oy + oz * oz
    a2 = length * length - dr * dr
    if a2 > 1e-12:
        b0 = oz * length + ra * dr
        b1 = dz * length
        qa = b1 * b1 - a2 * c2
        qb = b0 * b1 - a2 * c1
        qc = b0 * b0 - a2 * (oo - ra * ra)
        disc = qb * qb - qa * qc
        if disc >= 0.0 and qa != 0.0:
            root = np.sqrt(disc)
            for side in range(2):
                s = (-qb + root) / qa if side == 0 else (-qb - root) / qa
                if ends:
                    t = (b0 + s * b1) / a2
                    if side == 0 and 0.0 <= t <= 1.0 and s > 0.0:
                        best = s
                else:
                    z = oz + s * dz
                    if 0.0 <= z <= length and s > 0.0 and (best < 0.0 or s < best):
                        best = s
    if ends:
        for end in range(2):
            z0 = length if end else 0.0
            r = rb if end else ra
            k1 = c1 - z0 * dz
            k0 = oo - 2.0 * oz * z0 + z0 * z0 - r * r
            disc = k1 * k1 - c2 * k0
            if disc >= 0.0:
                s = (-k1 - np.sqrt(disc)) / c2
                if s > 0.0 and (best < 0.0 or s < best):
                    best = s
    return best


@jit()
def hit_box(ox: float, oy: float, oz: float, dx: float, dy: float, dz: float, length: float) -> float:
    """Where a ray enters the box with x and y from -1 to 1 and z from 0 to ``length``.

    Args and returns as for :func:`hit_cone`.
    """
    near = 0.0
    far = np.inf
    for axis in range(3):
        o = ox if axis == 0 else (oy if axis == 1 else oz)
        d = dx if axis == 0 else (dy if axis == 1 else dz)
        low = 0.0 if axis == 2 else -1.0
        high = length if axis == 2 else 1.0
        if abs(d) < 1e-12:
            if o < low or o > high:
                return -1.0
        else:
            t0 = (low - o) / d
            t1 = (high - o) / d
            if t0 > t1:
                t0, t1 = t1, t0
            near = max(near, t0)
            far = min(far, t1)
    return near if near <= far and near > 0.0 else -1.0


@jit()
def rasterise(
    parts: np.ndarray, frames: np.ndarray, view: np.ndarray, first: int, depth: np.ndarray, ident: np.ndarray
) -> None:
    """Draws solids into a depth buffer.

    Args:
        parts: ``(P, PART_WIDTH)`` solids.
        frames: ``(P, FRAME_WIDTH)`` from :func:`prepare_parts`.
        view: ``(VIEW_WIDTH,)`` camera with its window.
        first: Index of the first solid to draw; those before it are left out.
        depth: ``(H, W)`` float64 distances along the forward axis, ``inf`` where nothing is; updated.
        ident: ``(H, W)`` int16 indices of the visible solids, -1 where nothing is; updated.
    """
    rows, columns = depth.shape
    window_left, window_top = view[WINDOW_LEFT], view[WINDOW_TOP]
    step_right, step_down = view[WINDOW_STEP_RIGHT], view[WINDOW_STEP_DOWN]
    for p in range(first, parts.shape[0]):
        frame = frames[p]
        left, right = frame[BOUND_LEFT], frame[BOUND_RIGHT]
        if left > right:
            continue
        c0 = max(0, int(np.floor((left - window_left) / step_right)))
        c1 = min(columns, int(np.ceil((right - window_left) / step_right)) + 1)
        r0 = max(0, int(np.floor((window_top - frame[BOUND_TOP]) / step_down)))
        r1 = min(rows, int(np.ceil((window_top - frame[BOUND_BOTTOM]) / step_down)) + 1)
        shape = parts[p, PART_SHAPE]
        length = parts[p, PART_LENGTH]
        ra = parts[p, PART_START_RADIUS]
        rb = parts[p, PART_END_RADIUS]
        ox, oy, oz = vector(frame, EYE_POSITION)
        for row in range(r0, r1):
            v = window_top - (row + 0.5) * step_down
            for column in range(c0, c1):
                u = window_left + (column + 0.5) * step_right
                dx, dy, dz = ray(frame, u, v)
                if shape == BOX:
                    s = hit_box(ox, oy, oz, dx, dy, dz, length)
                else:
                    s = hit_cone(ox, oy, oz, dx, dy, dz, length, ra, rb, shape == CONE)
                if 0.2 < s < depth[row, column]:
                    depth[row, column] = s
                    ident[row, column] = p


@jit()
def count_owner(ident: np.ndarray, parts: np.ndarray, owner: int) -> int:
    """How many samples show a solid of an owner.

    Args:
        ident: ``(H, W)`` from :func:`rasterise`.
        parts: ``(P, PART_WIDTH)`` solids.
        owner: ``OWNER_THING``, ``OWNER_PERSON`` or ``OWNER_COMPANION``.
    """
    total = 0
    for row in range(ident.shape[0]):
        for column in range(ident.shape[1]):
            p = ident[row, column]
            if p >= 0 and parts[p, PART_OWNER] == owner:
                total += 1
    return total


@jit()
def pattern_mix(kind: float, u: float, v: float, size: float) -> float:
    """Share of the second colour that a pattern of cloth has at a place, 0 to 1.

    Args:
        kind: ``PATTERN_ROWS``, ``PATTERN_COLUMNS``, ``PATTERN_CHECKS`` or ``PATTERN_DOTS``.
        u: Metres around the limb.
        v: Metres up.
        size: Size of the pattern; 1 is a period of 8.5 cm.
    """
    step = 0.085 * size
    if kind == PATTERN_ROWS:
        return 1.0 if v / step - np.floor(v / step) < 0.5 else 0.0
    if kind == PATTERN_COLUMNS:
        return 1.0 if u / step - np.floor(u / step) < 0.45 else 0.0
    if kind == PATTERN_CHECKS:
        a = v / step - np.floor(v / step) < 0.5
        b = u / step - np.floor(u / step) < 0.5
        return 1.0 if a and b else (0.5 if a or b else 0.0)
    if kind == PATTERN_DOTS:
        row = np.floor(v / step)
        x = u / step + 0.5 * (row % 2.0)
        fx = x - np.floor(x) - 0.5
        fv = v / step - row - 0.5
        return 1.0 if fx * fx + fv * fv < 0.1 else 0.0
    return 0.0


@jit()
def surface_colour(
    material: np.ndarray, x: float, y: float, z: float, nx: float, ny: float, nz: float, out: np.ndarray
) -> None:
    """The colour of a material at a place of a solid.

    Args:
        material: ``(MATERIAL_WIDTH,)``.
        x: Place in local coordinates, in metres: across.
        y: Towards the front.
        z: Along the axis, the offset of the texture included.
        nx: Local unit normal: across.
        ny: Towards the front.
        nz: Along the axis.
        out: ``(3,)`` linear light, written.
    """
    kind = material[MATERIAL_KIND]
    r, g, b = vector(material, MATERIAL_COLOUR)
    r2, g2, b2 = vector(material, MATERIAL_SECOND_COLOUR)
    if kind in (CLOTH, TORSO):
        pattern = material[MATERIAL_PATTERN]
        mix = 0.0
        if pattern == PATTERN_TWO_TONE:
            mix = 1.0 if z > material[MATERIAL_LINE] else 0.0
        elif pattern == PATTERN_SIDE:
            mix = 1.0 if abs(ny) < 0.3 and x * material[MATERIAL_SIDE] > 0.0 else 0.0
        elif pattern != PATTERN_PLAIN:
            mix = pattern_mix(pattern, np.arctan2(nx, ny) * material[MATERIAL_RADIUS], z, material[MATERIAL_SIZE])
        r += (r2 - r) * mix
        g += (g2 - g) * mix
        b += (b2 - b) * mix
    if kind == TORSO:
        neck, opening, logo = material[TORSO_NECK], material[TORSO_OPENING], material[TORSO_LOGO]
        bag_side = material[TORSO_BAG_SIDE]
        ax = abs(x)
        if ny > 0.0:
            vee = 0.055 * max(0.0, (z - neck + 0.14) / 0.14)
            if opening == OPEN:
                edge = material[TORSO_GAP] * (0.75 + 0.5 * max(0.0, min(1.0, (z + 0.1) / (neck + 0.1))))
                if ax < max(edge, vee):
                    r, g, b = vector(material, TORSO_SHIRT)
                elif ax < max(edge, vee) + 0.012:
                    r, g, b = 0.6 * r, 0.6 * g, 0.6 * b
            elif opening == ZIPPED:
                if ax < vee:
                    r, g, b = vector(material, TORSO_SHIRT)
                elif ax < 0.008:
                    r, g, b = 0.45 * r + 0.02, 0.45 * g + 0.02, 0.45 * b + 0.02
            elif ax < 0.6 * vee:
                r, g, b = vector(material, TORSO_SHIRT)
            if logo != NO_LOGO and opening != OPEN:
                lz = z - (neck - 0.21)
                inside = False
                if logo == LOGO_DISC:
                    inside = x * x + lz * lz < 0.0049
                elif logo == LOGO_BAR:
                    inside = ax < 0.1 and abs(lz) < 0.032
                else:
                    inside = ax < 0.065 and abs(lz) < 0.065
                if inside:
                    r, g, b = vector(material, MATERIAL_THIRD_COLOUR)
        if material[TORSO_COLLAR] > 0.0 and z > neck - 0.02:
            r, g, b = 0.7 * r, 0.7 * g, 0.7 * b
        if material[TORSO_STRAPS] > 0.0 and ny > -0.2 and 0.065 < ax < 0.115 and z > 0.14:
            r, g, b = vector(material, MATERIAL_THIRD_COLOUR)
            if logo != NO_LOGO:  # the third colour is the logo's, so the straps are black
                r, g, b = 0.012, 0.012, 0.014
        if bag_side != 0.0:
            # the strap runs from the opposite shoulder down to the hip on the bag's side
            across = x * bag_side
            if abs(across - 0.17 + 0.68 * (z + 0.05)) < 0.024:
                r, g, b = 0.02, 0.018, 0.016
    elif kind == FACE:
        # z is the height above the chin
        ax = abs(x)
        if ny > 0.2:
            if z > 0.075 and z < 0.098 and abs(ax - 0.034) < 0.017:
                r, g, b = 0.28 * r, 0.26 * g, 0.26 * b
            elif z >= 0.102 and z < 0.112 and abs(ax - 0.034) < 0.02:
                r, g, b = 0.45 * r, 0.42 * g, 0.4 * b
            elif abs(z - 0.016) < 0.009 and ax < 0.026:
                r, g, b = 0.75 * r, 0.45 * g, 0.45 * b
            elif z > 0.03 and z < 0.045 and ax < 0.014:
                r, g, b = 0.72 * r, 0.68 * g, 0.66 * b
        lips = ax < 0.022 and abs(z - 0.016) < 0.008
        if material[FACE_BEARD] > 0.0 and ny > -0.25 and z < 0.035 - 0.02 * ny and not lips:
            r, g, b = 0.35 * r + 0.65 * r2, 0.35 * g + 0.65 * g2, 0.35 * b + 0.65 * b2
    elif kind == HAIR:
        strand = 0.75 + 0.5 * value_noise(x * 90.0 + 40.0 * nx, y * 90.0, 7) * (0.7 + 0.3 * np.sin(9.0 * z))
        r, g, b = r * strand, g * strand, b * strand
    elif kind == SHOE:
        if y < material[MATERIAL_SOLE]:
            r, g, b = r2, g2, b2
    elif kind == PROP:
        pattern, size = material[MATERIAL_PATTERN], material[MATERIAL_SIZE]
        mix = 0.0
        if pattern == PROP_WINDOWS:
            mix = 1.0 if z > material[MATERIAL_LINE] else 0.0
        elif pattern == PROP_ROWS:
            mix = 1.0 if (z / size) - np.floor(z / size) < 0.5 else 0.0
        elif pattern == PROP_COLUMNS:
            mix = 1.0 if ((x + y) / size) - np.floor((x + y) / size) < 0.5 else 0.0
        dirt = 0.85 + 0.3 * value_noise(5.0 * x + 3.0 * y, 5.0 * z, 11)
        r = (r + (r2 - r) * mix) * dirt
        g = (g + (g2 - g) * mix) * dirt
        b = (b + (b2 - b) * mix) * dirt
    elif kind == LEAVES:
        leaf = value_noise(14.0 * x + 9.0 * y, 14.0 * z + 5.0 * y, 5)
        leaf = 0.45 + 1.1 * leaf * value_noise(31.0 * x, 29.0 * (z + y), 6) * 1.6
        r, g, b = r * leaf, g * leaf, b * leaf
    out[0] = r
    out[1] = g
    out[2] = b


@jit()
def scene_colour(scene: np.ndarray, x: float, y: float, z: float, wall: bool, out: np.ndarray) -> None:
    """The colour of the floor or the wall at a place.

    Args:
        scene: ``(SCENE_WIDTH,)``.
        x: Metres to the right.
        y: Metres away from the camera; not read for the wall.
        z: Metres up; not read for the floor.
        wall: Whether it is the wall.
        out: ``(3,)`` linear light, written.
    """
    base = SCENE_WALL if wall else SCENE_FLOOR
    kind = scene[base + SURFACE_KIND]
    size = scene[base + SURFACE_SIZE]
    seed = int(scene[SCENE_SEED]) + (77 if wall else 0)
    u = x / size
    v = (z if wall else y) / size
    r, g, b = vector(scene, base + SURFACE_COLOUR)
    r2, g2, b2 = vector(scene, base + SURFACE_SECOND_COLOUR)
    mix = 0.0
    shade = 1.0
    cu = np.floor(u)
    cv = np.floor(v)
    fu = u - cu
    fv = v - cv
    if kind == TILES:  # on a wall, panels
        if fu < 0.05 or fv < 0.05:
            mix = 1.0
        shade = 0.9 + 0.2 * hash01(int(cu), int(cv), seed)
    elif kind == CHEQUERS:
        mix = (cu + cv) % 2.0
    elif kind == BRICKS:
        fu = u + 0.5 * (cv % 2.0)
        cu = np.floor(fu)
        fu -= cu
        fv = v * 2.0 - np.floor(v * 2.0)
        cv = np.floor(v * 2.0)
        fu = u + 0.5 * (cv % 2.0)
        cu = np.floor(fu)
        fu -= cu
        if fu < 0.06 or fv < 0.12:
            mix = 1.0
        shade = 0.8 + 0.4 * hash01(int(cu), int(cv), seed)
    elif kind == STRIPES:  # a crossing, the edge of a platform, a shutter
        mix = 1.0 if (fv if wall else fu) < 0.45 else 0.0
    elif kind == GREENERY:  # grass, a hedge
        blade = value_noise(x * 23.0, (z if wall else y) * 17.0, seed)
        shade = 0.5 + 0.75 * blade + 0.4 * (value_noise(x * 3.1, (z if wall else y) * 3.1, seed + 1) - 0.5)
        mix = 0.5 * value_noise(x * 1.3, (z if wall else y) * 1.3, seed + 2)
    elif kind in (ROAD, WINDOWS):
        if wall:
            if 0.2 < fu < 0.8 and 0.25 < fv < 0.85:
                mix = 1.0
                shade = 0.7 + 0.6 * hash01(int(cu), int(cv), seed)
        elif abs(y - scene[base + SURFACE_LINE_Y]) < 0.09:
            mix = 1.0
    elif kind in (PATCHES, POSTERS):
        pick = hash01(int(cu), int(cv) if not wall else 0, seed)
        if wall:
            if 0.12 < fu < 0.88 and 0.5 < z < 2.3:
                inner = value_noise(u * 6.0, z * 4.0, seed + int(17.0 * pick))
                r = 0.9 * hash01(int(cu), 1, seed) * (0.4 + inner)
                g = 0.9 * hash01(int(cu), 2, seed) * (0.4 + inner)
                b = 0.9 * hash01(int(cu), 3, seed) * (0.4 + inner)
        else:
            mix = max(0.0, 2.0 * value_noise(u * 1.7, v * 1.7, seed) - 0.9)
    r += (r2 - r) * mix
    g += (g2 - g) * mix
    b += (b2 - b) * mix
    grain = scene[SCENE_GRAIN]
    along = z if wall else y
    shade *= 1.0 + grain * (value_noise(x * 1.9, along * 1.9, seed + 3) - 0.5)
    shade *= 1.0 + 0.6 * grain * (value_noise(x * 9.0, along * 9.0, seed + 4) - 0.5)
    out[0] = r * shade
    out[1] = g * shade
    out[2] = b * shade


@jit()
def shade_samples(
    parts: np.ndarray,
    materials: np.ndarray,
    frames: np.ndarray,
    view: np.ndarray,
    scene: np.ndarray,
    shadows: np.ndarray,
    depth: np.ndarray,
    ident: np.ndarray,
    image: np.ndarray,
) -> None:
    """Colours every sample and averages 2×2 samples into a pixel.

    Args:
        parts: ``(P, PART_WIDTH)`` solids.
        materials: ``(M, MATERIAL_WIDTH)``.
        frames: ``(P, FRAME_WIDTH)`` from :func:`prepare_parts`.
        view: ``(VIEW_WIDTH,)`` camera with its window.
        scene: ``(SCENE_WIDTH,)`` background, light and sky.
        shadows: ``(S, SHADOW_WIDTH)`` shadows on the ground.
        depth: ``(2H, 2W)`` from :func:`rasterise`.
        ident: ``(2H, 2W)`` from :func:`rasterise`.
        image: ``(H, W, 3)`` float64 linear light, written.
    """
    rows, columns = depth.shape
    colour = np.empty(3)
    eye_x, eye_y, eye_z = vector(view, EYE_POSITION)
    lx, ly, lz = vector(scene, SCENE_LIGHT)
    sun, ambient = scene[SCENE_SUN], scene[SCENE_AMBIENT]
    wall_y, wall_height = scene[SCENE_WALL_Y], scene[SCENE_WALL_HEIGHT]
    for row in range(image.shape[0]):
        for column in range(image.shape[1]):
            image[row, column, 0] = 0.0
            image[row, column, 1] = 0.0
            image[row, column, 2] = 0.0
    for row in range(rows):
        v = view[WINDOW_TOP] - (row + 0.5) * view[WINDOW_STEP_DOWN]
        for column in range(columns):
            u = view[WINDOW_LEFT] + (column + 0.5) * view[WINDOW_STEP_RIGHT]
            dx, dy, dz = ray(view, u, v)
            p = ident[row, column]
            weight = 0.25
            if p < 0:
                # where all four samples of a pixel are background, two are enough
                top, side = row & -2, column & -2
                if ident[top, side] + ident[top, side + 1] + ident[top + 1, side] + ident[top + 1, side + 1] == -4:
                    if (row + column) & 1:
                        continue
                    weight = 0.5
            light = 1.0
            tint = 0.0
            if p >= 0:
                s = depth[row, column]
                frame = frames[p]
                part = parts[p]
                length, ra, rb = part[PART_LENGTH], part[PART_START_RADIUS], part[PART_END_RADIUS]
                fx, fy, fz = ray(frame, u, v)
                px = frame[EYE_POSITION] + s * fx
                py = frame[EYE_POSITION + 1] + s * fy
                pz = frame[EYE_POSITION + 2] + s * fz
                if part[PART_SHAPE] == BOX:
                    half = 0.5 * length
                    ex = abs(px)
                    ey = abs(py)
                    ez = abs(pz - half) / max(half, 1e-9)
                    nx, ny, nz = 0.0, 0.0, 0.0
                    if ex >= ey and ex >= ez:
                        nx = 1.0 if px > 0 else -1.0
                    elif ey >= ez:
                        ny = 1.0 if py > 0 else -1.0
                    else:
                        nz = 1.0 if pz > half else -1.0
                else:
                    dr = rb - ra
                    a2 = length * length - dr * dr
                    t = (pz * length + ra * dr) / a2 if a2 > 1e-12 else (1.0 if rb > ra else 0.0)
                    t = max(0.0, min(1.0, t))
                    nx, ny, nz = px, py, pz - t * length
                # the normal in world coordinates: the transposed matrix times the local normal
                gx = part[PART_X_AXIS] * nx + part[PART_Y_AXIS] * ny + part[PART_Z_AXIS] * nz
                gy = part[PART_X_AXIS + 1] * nx + part[PART_Y_AXIS + 1] * ny + part[PART_Z_AXIS + 1] * nz
                gz = part[PART_X_AXIS + 2] * nx + part[PART_Y_AXIS + 2] * ny + part[PART_Z_AXIS + 2] * nz
                norm = 1.0 / max(1e-12, np.sqrt(gx * gx + gy * gy + gz * gz))
                gx *= norm
                gy *= norm
                gz *= norm
                if gx * dx + gy * dy + gz * dz > 0.0:  # the inner side of a hem
                    gx, gy, gz = -gx, -gy, -gz
                    tint = 0.5
                norm = 1.0 / max(1e-12, np.sqrt(nx * nx + ny * ny + nz * nz))
                covered = eye_z + s * dz > part[PART_COVER_HEIGHT]
                material = materials[int(part[PART_COVER_MATERIAL] if covered else part[PART_MATERIAL])]
                kind = material[MATERIAL_KIND]
                x = px * part[PART_SCALE]
                y = py * part[PART_SCALE + 1]
                z = pz * part[PART_SCALE + 2] + part[PART_OFFSET]
                surface_colour(material, x, y, z, nx * norm, ny * norm, nz * norm, colour)
                if kind in (CLOTH, TORSO):
                    # folds: noise that is stretched along the limb turns the normal a little
                    seed = int(part[PART_MATERIAL])
                    fold = value_noise(x * 22.0 + 7.0 * y, z * 9.0 + 12.0 * y, seed + 3) - 0.5
                    bend = value_noise(x * 9.0 - 8.0 * y, z * 26.0 + 4.0 * x, seed + 9) - 0.5
                    gx += 0.45 * fold
                    gz += 0.4 * bend
                    norm = 1.0 / np.sqrt(gx * gx + gy * gy + gz * gz)
                    gx *= norm
                    gy *= norm
                    gz *= norm
                # solids close in front hide a part of the sky
                hidden = 0.0
                reach = max(1.0, 0.055 / (s * view[WINDOW_STEP_RIGHT]))
                for tap in range(6):
                    ang = 1.0471975512 * tap + 0.5
                    far = reach * (1.0 if tap % 2 else 1.8)
                    rr = row + int(np.round(far * np.sin(ang)))
                    cc = column + int(np.round(far * np.cos(ang)))
                    if 0 <= rr < rows and 0 <= cc < columns:
                        nearer = s - depth[rr, cc]
                        if 0.025 < nearer < 0.6:
                            hidden += min(1.0, nearer / 0.1)
                hidden /= 6.0
                facing = -(gx * dx + gy * dy + gz * dz) / np.sqrt(dx * dx + dy * dy + dz * dz)
                lambert = gx * lx + gy * ly + gz * lz
                direct = max(0.0, lambert * 0.85 + 0.15)
                sky = 0.62 + 0.38 * gz
                limb = 0.68 + 0.32 * min(1.0, max(0.0, 1.6 * facing))
                light = (ambient * sky * (1.0 - 0.75 * hidden) + sun * direct * (1.0 - 0.5 * hidden)) * limb
                light *= 1.0 - tint
                if kind in (SHOE, HAIR, PROP):
                    # a weak highlight where the normal is close to the half vector
                    away = np.sqrt(dx * dx + dy * dy + dz * dz)
                    hx, hy, hz = lx - dx / away, ly - dy / away, lz - dz / away
                    shine = (gx * hx + gy * hy + gz * hz) / max(1e-9, np.sqrt(hx * hx + hy * hy + hz * hz))
                    if shine > 0.0:
                        shine = 0.06 * sun * shine**20
                        colour[0] += shine
                        colour[1] += shine
                        colour[2] += shine
            else:
                s_wall = (wall_y - eye_y) / dy if dy > 1e-6 else np.inf
                s_floor = -eye_z / dz if dz < -1e-6 else np.inf
                if s_floor < s_wall:
                    x = eye_x + s_floor * dx
                    y = eye_y + s_floor * dy
                    scene_colour(scene, x, y, 0.0, False, colour)
                    shade = 1.0
                    for k in range(shadows.shape[0]):
                        ax, ay = shadows[k, SHADOW_START], shadows[k, SHADOW_START + 1]
                        ex, ey = shadows[k, SHADOW_END] - ax, shadows[k, SHADOW_END + 1] - ay
                        t = ((x - ax) * ex + (y - ay) * ey) / max(1e-9, ex * ex + ey * ey)
                        t = max(0.0, min(1.0, t))
                        qx, qy = x - ax - t * ex, y - ay - t * ey
                        distance = np.sqrt(qx * qx + qy * qy) / shadows[k, SHADOW_RADIUS]
                        if distance < 1.0:
                            fall = 1.0 - distance * distance
                            shade = min(shade, 1.0 - shadows[k, SHADOW_DARKNESS] * min(1.0, 1.7 * fall * fall))
                    light = ambient * (0.5 + 0.5 * shade) + sun * max(0.0, lz) * shade
                    # near the wall it is darker
                    light *= 1.0 - 0.3 * np.exp(-max(0.0, wall_y - y) * 1.5)
                elif s_wall < np.inf and (wall_height <= 0.0 or eye_z + s_wall * dz < wall_height):
                    x = eye_x + s_wall * dx
                    z = eye_z + s_wall * dz
                    scene_colour(scene, x, 0.0, z, True, colour)
                    light = ambient * 0.75 + sun * max(0.0, -ly) + 0.08 * sun
                    light *= 1.0 - 0.3 * np.exp(-max(0.0, z) * 3.0)
                else:
                    colour[0], colour[1], colour[2] = vector(scene, SCENE_SKY)
                    light = 1.0
            target = image[row // 2, column // 2]
            target[0] += weight * light * colour[0]
            target[1] += weight * light * colour[1]
            target[2] += weight * light * colour[2]


@jit()
def blur_rows(image: np.ndarray, sigma: float, along_columns: bool) -> np.ndarray:
    """Gaussian blur in one direction; beyond an edge its pixels are repeated.

    Args:
        image: ``(H, W, 3)`` float64.
        sigma: σ in pixels.
        along_columns: Whether it blurs from left to right; otherwise from top to bottom.

    Returns:
        ``(H, W, 3)`` float64, a new array.
    """
    height, width, _ = image.shape
    reach = int(np.ceil(2.5 * sigma))
    weights = np.empty(2 * reach + 1)
    total = 0.0
    for k in range(-reach, reach + 1):
        weights[k + reach] = np.exp(-0.5 * (k / sigma) ** 2)
        total += weights[k + reach]
    result = np.zeros(image.shape)
    for row in range(height):
        for column in range(width):
            for k in range(-reach, reach + 1):
                r = row if along_columns else min(height - 1, max(0, row + k))
                c = min(width - 1, max(0, column + k)) if along_columns else column
                weight = weights[k + reach] / total
                for channel in range(3):
                    result[row, column, channel] += weight * image[r, c, channel]
    return result


@jit()
def develop(image: np.ndarray, response: np.ndarray, seed: int, out: np.ndarray) -> None:
    """Turns light into a picture: blur, exposure and white balance, tone curve, saturation, noise, resizing.

    Args:
        image: ``(h, w, 3)`` float64 linear light at native resolution.
        response: ``(RESPONSE_WIDTH,)`` lens and sensor.
        seed: Seed of the noise.
        out: ``(H, W, 3)`` uint8 picture, written; resized bilinearly from ``(h, w)``.
    """
    if response[RESPONSE_BLUR_DOWN] > 0.2:
        image = blur_rows(image, response[RESPONSE_BLUR_DOWN], False)
    if response[RESPONSE_BLUR_ACROSS] > 0.2:
        image = blur_rows(image, response[RESPONSE_BLUR_ACROSS], True)
    height, width, _ = image.shape
    native = np.empty(image.shape)
    noise, contrast, saturation = response[RESPONSE_NOISE], response[RESPONSE_CONTRAST], response[RESPONSE_SATURATION]
    for row in range(height):
        for column in range(width):
            r, g, b = vector(image[row, column], 0)
            grey = 0.0
            for channel in range(3):
                from_red, from_green, from_blue = vector(response, RESPONSE_MATRIX + 3 * channel)
                value = max(0.0, from_red * r + from_green * g + from_blue * b)
                value = value / (1.0 + 0.12 * value * value)  # compresses highlights
                value = value**0.4545
                value = 0.45 * (value / 0.45) ** contrast
                native[row, column, channel] = value
                grey += (0.3 if channel == 0 else (0.59 if channel == 1 else 0.11)) * value
            for channel in range(3):
                value = grey + saturation * (native[row, column, channel] - grey)
                if noise > 0.0:
                    k = (row * width + column) * 3 + channel
                    bell = hash01(k, 1, seed) + hash01(k, 2, seed) + hash01(k, 3, seed) - 1.5
                    value += 2.0 * bell * noise * (1.2 - 0.4 * value)
                native[row, column, channel] = min(1.0, max(0.0, value))
    rows, columns, _ = out.shape
    for row in range(rows):
        y = (row + 0.5) * height / rows - 0.5
        y = min(height - 1.0, max(0.0, y))
        r0 = min(int(y), max(0, height - 2))
        fy = y - r0
        r1 = min(r0 + 1, height - 1)
        for column in range(columns):
            x = (column + 0.5) * width / columns - 0.5
            x = min(width - 1.0, max(0.0, x))
            c0 = min(int(x), max(0, width - 2))
            fx = x - c0
            c1 = min(c0 + 1, width - 1)
            for channel in range(3):
                top = native[r0, c0, channel] * (1.0 - fx) + native[r0, c1, channel] * fx
                low = native[r1, c0, channel] * (1.0 - fx) + native[r1, c1, channel] * fx
                out[row, column, channel] = np.uint8(255.0 * (top * (1.0 - fy) + low * fy) + 0.5)
