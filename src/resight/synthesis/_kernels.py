"""Compiled inner loops of the synthetic world (numba); import this module only inside functions.

A figure is an array of *parts*, one row of :data:`PART_WIDTH` numbers each, made by
:func:`resight.synthesis.parts.pack`. A part is a cone with round ends, a cone without ends, or a box, in a local
frame whose z axis runs along it and whose axes may be scaled, so that a cone's section is an ellipse.

All kernels release the interpreter lock and use no random state: noise is a hash of the place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np

#: Numbers a part: origin 0–2, rows of the world-to-local matrix 3–11, length 12, radii 13–14, kind 15, material 16,
#: texture offset 17, scales 18–20, owner 21,
#: height above which another material covers it 22, that material 23.
PART_WIDTH = 24
CONE, OPEN_CONE, BOX = 0, 1, 2
#: Numbers a material: kind 0, colours 1–3, 4–6 and 7–9, pattern 10, its size 11, then what the kind needs.
MATERIAL_WIDTH = 24
CLOTH, SKIN, FACE, HAIR, TORSO, SHOE, PROP, LEAVES = 0, 1, 2, 3, 4, 5, 6, 7
#: Numbers a scene: see :func:`resight.synthesis.cameras.Camera.scene_array`.
SCENE_WIDTH = 40


def _jit(**options: Any) -> Callable[[Any], Any]:
    """``numba.njit`` that releases the lock and caches on disk where some folder can be written."""

    def wrap(function: Any) -> Any:
        try:
            return numba.njit(nogil=True, cache=True, error_model="numpy", **options)(function)
        except RuntimeError:  # neither the package's folder nor the user's cache folder is writable
            return numba.njit(nogil=True, error_model="numpy", **options)(function)

    return wrap


@_jit()
def hash01(i: int, j: int, k: int) -> float:
    """A number from 0 to 1 that looks random, fixed by three integers."""
    h = (i * 374761393 + j * 668265263 + k * 1440662683 + 12345) & 0xFFFFFFFF
    h = ((h ^ (h >> 15)) * 2246822519) & 0xFFFFFFFF
    h = ((h ^ (h >> 13)) * 3266489917) & 0xFFFFFFFF
    return ((h ^ (h >> 16)) & 0xFFFFFF) / 16777216.0


@_jit()
def value_noise(x: float, y: float, seed: int) -> float:
    """Smooth noise in the plane, 0 to 1, changing over a distance of about 1."""
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


@_jit()
def prepare_parts(parts: np.ndarray, view: np.ndarray) -> np.ndarray:
    """Each part's frame of the camera: local camera position, forward, right and up, then its box of samples.

    Args:
        parts: ``(P, PART_WIDTH)``.
        view: ``(16,)``: camera position 0–2, forward 3–5, right 6–8, up 9–11, left and top edge of the picture 12–13,
            step of a sample to the right and down 14–15, these four as tangents.

    Returns:
        ``(P, 16)``: 0–2 position, 3–5 forward, 6–8 right, 9–11 up, 12–15 tangents of left, right, bottom, top.
    """
    frames = np.empty((parts.shape[0], 16))
    for p in range(parts.shape[0]):
        w = parts[p]
        for r in range(3):
            a = w[3 + 3 * r]
            b = w[4 + 3 * r]
            c = w[5 + 3 * r]
            frames[p, r] = a * (view[0] - w[0]) + b * (view[1] - w[1]) + c * (view[2] - w[2])
            for q in range(3):
                o = 3 + 3 * q
                frames[p, o + r] = a * view[o] + b * view[o + 1] + c * view[o + 2]
        left = np.inf
        right = -np.inf
        bottom = np.inf
        top = -np.inf
        kind = w[15]
        corners = 8 if kind == 2.0 else 2
        for corner in range(corners):
            # Rows of the matrix are axes divided by their scales, so an axis times its scale is row · scale².
            if kind == 2.0:
                sx = (1.0 if corner & 1 else -1.0) * w[18] * w[18]
                sy = (1.0 if corner & 2 else -1.0) * w[19] * w[19]
                along = w[12] if corner & 4 else 0.0
                radius = 0.0
            else:
                sx = 0.0
                sy = 0.0
                along = w[12] if corner else 0.0
                radius = (w[14] if corner else w[13]) * max(w[18], w[19], w[20])
            sz = along * w[20] * w[20]
            x = w[0] + sx * w[3] + sy * w[6] + sz * w[9] - view[0]
            y = w[1] + sx * w[4] + sy * w[7] + sz * w[10] - view[1]
            z = w[2] + sx * w[5] + sy * w[8] + sz * w[11] - view[2]
            depth = x * view[3] + y * view[4] + z * view[5]
            near = depth - radius
            if near < 0.2:
                left, right, bottom, top = -1e3, 1e3, -1e3, 1e3
                if depth + radius < 0.2:
                    left, right, bottom, top = 1.0, -1.0, 1.0, -1.0
                break
            u = (x * view[6] + y * view[7] + z * view[8]) / depth
            v = (x * view[9] + y * view[10] + z * view[11]) / depth
            reach = radius / near * (1.0 + 0.3 * (abs(u) + abs(v)))
            left = min(left, u - reach)
            right = max(right, u + reach)
            bottom = min(bottom, v - reach)
            top = max(top, v + reach)
        frames[p, 12] = left
        frames[p, 13] = right
        frames[p, 14] = bottom
        frames[p, 15] = top
    return frames


@_jit()
def hit_cone(
    ox: float, oy: float, oz: float, dx: float, dy: float, dz: float, length: float, ra: float, rb: float, ends: bool
) -> float:
    """Where a ray meets a cone with round ends (spheres of ``ra`` at 0, of ``rb`` at ``length``), or -1.

    The surface is the envelope of spheres whose centre and radius run linearly from one end to the other: of
    f(X, t) = |X − c(t)|² − r(t)² both f and ∂f/∂t vanish, which is one quadratic in the ray's parameter.
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


@_jit()
def hit_box(ox: float, oy: float, oz: float, dx: float, dy: float, dz: float, length: float) -> float:
    """Where a ray enters the box of x and y from -1 to 1 and z from 0 to ``length``, or -1."""
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


@_jit()
def rasterise(
    parts: np.ndarray, frames: np.ndarray, view: np.ndarray, first: int, depth: np.ndarray, ident: np.ndarray
) -> None:
    """Draw parts from number ``first`` on into a depth buffer.

    Args:
        parts: ``(P, PART_WIDTH)``.
        frames: Of :func:`prepare_parts`.
        view: Likewise.
        first: First part to draw.
        depth: ``(H, W)`` float64 distances along the forward axis, ``inf`` where nothing is; updated.
        ident: ``(H, W)`` int16 numbers of the parts seen, -1 where nothing is; updated.
    """
    rows, columns = depth.shape
    for p in range(first, parts.shape[0]):
        f = frames[p]
        if f[12] > f[13]:
            continue
        c0 = max(0, int(np.floor((f[12] - view[12]) / view[14])))
        c1 = min(columns, int(np.ceil((f[13] - view[12]) / view[14])) + 1)
        r0 = max(0, int(np.floor((view[13] - f[15]) / view[15])))
        r1 = min(rows, int(np.ceil((view[13] - f[14]) / view[15])) + 1)
        kind = parts[p, 15]
        length = parts[p, 12]
        ra = parts[p, 13]
        rb = parts[p, 14]
        for row in range(r0, r1):
            v = view[13] - (row + 0.5) * view[15]
            for column in range(c0, c1):
                u = view[12] + (column + 0.5) * view[14]
                dx = f[3] + u * f[6] + v * f[9]
                dy = f[4] + u * f[7] + v * f[10]
                dz = f[5] + u * f[8] + v * f[11]
                if kind == 2.0:
                    s = hit_box(f[0], f[1], f[2], dx, dy, dz, length)
                else:
                    s = hit_cone(f[0], f[1], f[2], dx, dy, dz, length, ra, rb, kind == 0.0)
                if 0.2 < s < depth[row, column]:
                    depth[row, column] = s
                    ident[row, column] = p


@_jit()
def count_owner(ident: np.ndarray, parts: np.ndarray, owner: float) -> int:
    """How many samples show a part of an owner."""
    total = 0
    for row in range(ident.shape[0]):
        for column in range(ident.shape[1]):
            p = ident[row, column]
            if p >= 0 and parts[p, 21] == owner:
                total += 1
    return total


@_jit()
def pattern_mix(kind: float, u: float, v: float, size: float) -> float:
    """How much of the second colour a pattern has at a place: 0 or 1 (metres; ``v`` up, ``u`` around)."""
    step = 0.085 * size
    if kind == 1.0:  # horizontal stripes
        return 1.0 if v / step - np.floor(v / step) < 0.5 else 0.0
    if kind == 2.0:  # vertical stripes
        return 1.0 if u / step - np.floor(u / step) < 0.45 else 0.0
    if kind == 3.0:  # checks
        a = v / step - np.floor(v / step) < 0.5
        b = u / step - np.floor(u / step) < 0.5
        return 1.0 if a and b else (0.5 if a or b else 0.0)
    if kind == 4.0:  # dots
        row = np.floor(v / step)
        x = u / step + 0.5 * (row % 2.0)
        fx = x - np.floor(x) - 0.5
        fv = v / step - row - 0.5
        return 1.0 if fx * fx + fv * fv < 0.1 else 0.0
    return 0.0


@_jit()
def surface_colour(
    m: np.ndarray, x: float, y: float, z: float, nx: float, ny: float, nz: float, out: np.ndarray
) -> None:
    """The colour of a material at a place of its part (metres, local axes; linear light), written to ``out[:3]``."""
    kind = m[0]
    r, g, b = m[1], m[2], m[3]
    if kind in (CLOTH, TORSO):
        pattern = m[10]
        mix = 0.0
        if pattern == 5.0:  # two-tone: another colour above a line
            mix = 1.0 if z > m[12] else 0.0
        elif pattern == 6.0:  # a stripe along both sides
            mix = 1.0 if abs(ny) < 0.3 and x * m[12] > 0.0 else 0.0
        elif pattern > 0.0:
            mix = pattern_mix(pattern, np.arctan2(nx, ny) * m[13], z, m[11])
        r += (m[4] - r) * mix
        g += (m[5] - g) * mix
        b += (m[6] - b) * mix
    if kind == TORSO:
        # 14 opening (0 shut, 1 zip, 2 open), 15 height of the neck, 16 half width of the opening, 17 straps,
        # 18 logo, 19 bag strap's side, 20 collar; 21–23 what shows in the opening.
        neck = m[15]
        ax = abs(x)
        if ny > 0.0:
            vee = 0.055 * max(0.0, (z - neck + 0.14) / 0.14)
            if m[14] == 2.0:
                edge = m[16] * (0.75 + 0.5 * max(0.0, min(1.0, (z + 0.1) / (neck + 0.1))))
                if ax < max(edge, vee):
                    r, g, b = m[21], m[22], m[23]
                elif ax < max(edge, vee) + 0.012:
                    r, g, b = 0.6 * r, 0.6 * g, 0.6 * b
            elif m[14] == 1.0:
                if ax < vee:
                    r, g, b = m[21], m[22], m[23]
                elif ax < 0.008:
                    r, g, b = 0.45 * r + 0.02, 0.45 * g + 0.02, 0.45 * b + 0.02
            elif ax < 0.6 * vee:
                r, g, b = m[21], m[22], m[23]
            if m[18] > 0.0 and m[14] != 2.0:
                lz = z - (neck - 0.21)
                inside = False
                if m[18] == 1.0:
                    inside = x * x + lz * lz < 0.0049
                elif m[18] == 2.0:
                    inside = ax < 0.1 and abs(lz) < 0.032
                else:
                    inside = ax < 0.065 and abs(lz) < 0.065
                if inside:
                    r, g, b = m[7], m[8], m[9]
        if m[20] > 0.0 and z > neck - 0.02:
            r, g, b = 0.7 * r, 0.7 * g, 0.7 * b
        if m[17] > 0.0 and ny > -0.2 and 0.065 < ax < 0.115 and z > 0.14:
            r, g, b = m[7 + 0], m[8], m[9]
            if m[18] > 0.0:  # the print has taken the third colour: straps are black then
                r, g, b = 0.012, 0.012, 0.014
        if m[19] != 0.0:
            # from the far shoulder down to the hip on the bag's side
            across = x * m[19]
            if abs(across - 0.17 + 0.68 * (z + 0.05)) < 0.024:
                r, g, b = 0.02, 0.018, 0.016
    elif kind == FACE:
        # z counts from the chin; 10: beard, 4–6 its colour.
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
        if m[10] > 0.0 and ny > -0.25 and z < 0.035 - 0.02 * ny and not (ax < 0.022 and abs(z - 0.016) < 0.008):
            r, g, b = 0.35 * r + 0.65 * m[4], 0.35 * g + 0.65 * m[5], 0.35 * b + 0.65 * m[6]
    elif kind == HAIR:
        strand = 0.75 + 0.5 * value_noise(x * 90.0 + 40.0 * nx, y * 90.0, 7) * (0.7 + 0.3 * np.sin(9.0 * z))
        r, g, b = r * strand, g * strand, b * strand
    elif kind == SHOE:
        if y < m[12]:  # the sole, on the lower side
            r, g, b = m[4], m[5], m[6]
    elif kind == PROP:
        mix = 0.0
        if m[10] == 1.0:  # a row of windows
            mix = 1.0 if z > m[12] else 0.0
        elif m[10] == 2.0:
            mix = 1.0 if (z / m[11]) - np.floor(z / m[11]) < 0.5 else 0.0
        elif m[10] == 3.0:
            mix = 1.0 if ((x + y) / m[11]) - np.floor((x + y) / m[11]) < 0.5 else 0.0
        dirt = 0.85 + 0.3 * value_noise(5.0 * x + 3.0 * y, 5.0 * z, 11)
        r = (r + (m[4] - r) * mix) * dirt
        g = (g + (m[5] - g) * mix) * dirt
        b = (b + (m[6] - b) * mix) * dirt
    elif kind == LEAVES:
        leaf = value_noise(14.0 * x + 9.0 * y, 14.0 * z + 5.0 * y, 5)
        leaf = 0.45 + 1.1 * leaf * value_noise(31.0 * x, 29.0 * (z + y), 6) * 1.6
        r, g, b = r * leaf, g * leaf, b * leaf
    out[0] = r
    out[1] = g
    out[2] = b


@_jit()
def scene_colour(scene: np.ndarray, x: float, y: float, z: float, wall: bool, out: np.ndarray) -> None:
    """The colour of the floor or of the wall at a place (metres, linear light), written to ``out[:3]``."""
    base = 16 if wall else 2
    kind = scene[base]
    size = scene[base + 1]
    seed = int(scene[0]) + (77 if wall else 0)
    u = x / size
    v = (z if wall else y) / size
    r, g, b = scene[base + 2], scene[base + 3], scene[base + 4]
    mix = 0.0
    shade = 1.0
    cu = np.floor(u)
    cv = np.floor(v)
    fu = u - cu
    fv = v - cv
    if kind == 1.0:  # tiles, or panels of a wall
        if fu < 0.05 or fv < 0.05:
            mix = 1.0
        shade = 0.9 + 0.2 * hash01(int(cu), int(cv), seed)
    elif kind == 2.0:  # a chequered floor
        mix = (cu + cv) % 2.0
    elif kind == 3.0:  # bricks
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
    elif kind == 4.0:  # stripes: a crossing, a platform's edge, a shutter
        mix = 1.0 if (fv if wall else fu) < 0.45 else 0.0
    elif kind == 5.0:  # grass, hedge
        blade = value_noise(x * 23.0, (z if wall else y) * 17.0, seed)
        shade = 0.5 + 0.75 * blade + 0.4 * (value_noise(x * 3.1, (z if wall else y) * 3.1, seed + 1) - 0.5)
        mix = 0.5 * value_noise(x * 1.3, (z if wall else y) * 1.3, seed + 2)
    elif kind == 6.0:  # a road with a painted line, or windows in a wall
        if wall:
            if 0.2 < fu < 0.8 and 0.25 < fv < 0.85:
                mix = 1.0
                shade = 0.7 + 0.6 * hash01(int(cu), int(cv), seed)
        elif abs(y - scene[base + 8]) < 0.09:
            mix = 1.0
    elif kind == 7.0:  # posters and shop windows along a wall; worn patches on a floor
        pick = hash01(int(cu), int(cv) if not wall else 0, seed)
        if wall:
            if 0.12 < fu < 0.88 and 0.5 < z < 2.3:
                inner = value_noise(u * 6.0, z * 4.0, seed + int(17.0 * pick))
                r = 0.9 * hash01(int(cu), 1, seed) * (0.4 + inner)
                g = 0.9 * hash01(int(cu), 2, seed) * (0.4 + inner)
                b = 0.9 * hash01(int(cu), 3, seed) * (0.4 + inner)
        else:
            mix = max(0.0, 2.0 * value_noise(u * 1.7, v * 1.7, seed) - 0.9)
    r += (scene[base + 5] - r) * mix
    g += (scene[base + 6] - g) * mix
    b += (scene[base + 7] - b) * mix
    grain = scene[1]
    along = z if wall else y
    shade *= 1.0 + grain * (value_noise(x * 1.9, along * 1.9, seed + 3) - 0.5)
    shade *= 1.0 + 0.6 * grain * (value_noise(x * 9.0, along * 9.0, seed + 4) - 0.5)
    out[0] = r * shade
    out[1] = g * shade
    out[2] = b * shade


@_jit()
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
    """Colour every sample and average 2×2 of them into a pixel.

    Args:
        parts: ``(P, PART_WIDTH)``.
        materials: ``(M, MATERIAL_WIDTH)``.
        frames: Of :func:`prepare_parts`.
        view: Likewise.
        scene: ``(SCENE_WIDTH,)``: background, light and sky.
        shadows: ``(S, 6)`` shadows on the ground: x, y of both ends, radius, darkness.
        depth: ``(2H, 2W)`` of :func:`rasterise`.
        ident: Likewise.
        image: ``(H, W, 3)`` float64 linear light, written.
    """
    rows, columns = depth.shape
    colour = np.empty(3)
    lx, ly, lz, sun, ambient = scene[30], scene[31], scene[32], scene[33], scene[34]
    for row in range(image.shape[0]):
        for column in range(image.shape[1]):
            image[row, column, 0] = 0.0
            image[row, column, 1] = 0.0
            image[row, column, 2] = 0.0
    for row in range(rows):
        v = view[13] - (row + 0.5) * view[15]
        for column in range(columns):
            u = view[12] + (column + 0.5) * view[14]
            dx = view[3] + u * view[6] + v * view[9]
            dy = view[4] + u * view[7] + v * view[10]
            dz = view[5] + u * view[8] + v * view[11]
            p = ident[row, column]
            weight = 0.25
            if p < 0:
                # a pixel of background alone takes two samples of the four
                top, side = row & -2, column & -2
                if ident[top, side] + ident[top, side + 1] + ident[top + 1, side] + ident[top + 1, side + 1] == -4:
                    if (row + column) & 1:
                        continue
                    weight = 0.5
            light = 1.0
            tint = 0.0
            if p >= 0:
                s = depth[row, column]
                f = frames[p]
                w = parts[p]
                px = f[0] + s * (f[3] + u * f[6] + v * f[9])
                py = f[1] + s * (f[4] + u * f[7] + v * f[10])
                pz = f[2] + s * (f[5] + u * f[8] + v * f[11])
                if w[15] == 2.0:
                    half = 0.5 * w[12]
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
                    dr = w[14] - w[13]
                    a2 = w[12] * w[12] - dr * dr
                    t = (pz * w[12] + w[13] * dr) / a2 if a2 > 1e-12 else (1.0 if w[14] > w[13] else 0.0)
                    t = max(0.0, min(1.0, t))
                    nx, ny, nz = px, py, pz - t * w[12]
                # the normal in the world: transposed matrix times the local one
                gx = w[3] * nx + w[6] * ny + w[9] * nz
                gy = w[4] * nx + w[7] * ny + w[10] * nz
                gz = w[5] * nx + w[8] * ny + w[11] * nz
                norm = 1.0 / max(1e-12, np.sqrt(gx * gx + gy * gy + gz * gz))
                gx *= norm
                gy *= norm
                gz *= norm
                if gx * dx + gy * dy + gz * dz > 0.0:  # the inside of a hem
                    gx, gy, gz = -gx, -gy, -gz
                    tint = 0.5
                norm = 1.0 / max(1e-12, np.sqrt(nx * nx + ny * ny + nz * nz))
                m = materials[int(w[23] if view[2] + s * dz > w[22] else w[16])]
                x = px * w[18]
                y = py * w[19]
                z = pz * w[20] + w[17]
                surface_colour(m, x, y, z, nx * norm, ny * norm, nz * norm, colour)
                if m[0] == CLOTH or m[0] == TORSO:
                    # folds: noise drawn out along the limb turns the normal a little
                    fold = value_noise(x * 22.0 + 7.0 * y, z * 9.0 + 12.0 * y, int(w[16]) + 3) - 0.5
                    bend = value_noise(x * 9.0 - 8.0 * y, z * 26.0 + 4.0 * x, int(w[16]) + 9) - 0.5
                    gx += 0.45 * fold
                    gz += 0.4 * bend
                    norm = 1.0 / np.sqrt(gx * gx + gy * gy + gz * gz)
                    gx *= norm
                    gy *= norm
                    gz *= norm
                # what stands close in front hides some of the sky
                hidden = 0.0
                reach = max(1.0, 0.055 / (s * view[14]))
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
                if m[0] == SHOE or m[0] == HAIR or m[0] == PROP:
                    # a little shine where the half vector meets the normal
                    length = np.sqrt(dx * dx + dy * dy + dz * dz)
                    hx, hy, hz = lx - dx / length, ly - dy / length, lz - dz / length
                    shine = (gx * hx + gy * hy + gz * hz) / max(1e-9, np.sqrt(hx * hx + hy * hy + hz * hz))
                    if shine > 0.0:
                        shine = 0.06 * sun * shine**20
                        colour[0] += shine
                        colour[1] += shine
                        colour[2] += shine
            else:
                wall_y = scene[26]
                s_wall = (wall_y - view[1]) / dy if dy > 1e-6 else np.inf
                s_floor = -view[2] / dz if dz < -1e-6 else np.inf
                if s_floor < s_wall:
                    x = view[0] + s_floor * dx
                    y = view[1] + s_floor * dy
                    scene_colour(scene, x, y, 0.0, False, colour)
                    shade = 1.0
                    for k in range(shadows.shape[0]):
                        ax, ay, bx, by = shadows[k, 0], shadows[k, 1], shadows[k, 2], shadows[k, 3]
                        ex, ey = bx - ax, by - ay
                        t = ((x - ax) * ex + (y - ay) * ey) / max(1e-9, ex * ex + ey * ey)
                        t = max(0.0, min(1.0, t))
                        qx, qy = x - ax - t * ex, y - ay - t * ey
                        distance = np.sqrt(qx * qx + qy * qy) / shadows[k, 4]
                        if distance < 1.0:
                            fall = 1.0 - distance * distance
                            shade = min(shade, 1.0 - shadows[k, 5] * min(1.0, 1.7 * fall * fall))
                    light = ambient * (0.5 + 0.5 * shade) + sun * max(0.0, lz) * shade
                    # near the wall it is darker
                    light *= 1.0 - 0.3 * np.exp(-max(0.0, wall_y - y) * 1.5)
                elif s_wall < np.inf and (scene[27] <= 0.0 or view[2] + s_wall * dz < scene[27]):
                    x = view[0] + s_wall * dx
                    z = view[2] + s_wall * dz
                    scene_colour(scene, x, 0.0, z, True, colour)
                    light = ambient * 0.75 + sun * max(0.0, -ly) + 0.08 * sun
                    light *= 1.0 - 0.3 * np.exp(-max(0.0, z) * 3.0)
                else:
                    colour[0], colour[1], colour[2] = scene[35], scene[36], scene[37]
                    light = 1.0
            target = image[row // 2, column // 2]
            target[0] += weight * light * colour[0]
            target[1] += weight * light * colour[1]
            target[2] += weight * light * colour[2]


@_jit()
def blur_rows(image: np.ndarray, sigma: float, along_columns: bool) -> np.ndarray:
    """Gaussian blur in one direction; edges repeat."""
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


@_jit()
def develop(image: np.ndarray, response: np.ndarray, seed: int, out: np.ndarray) -> None:
    """From light on the sensor to the picture: blur, white balance, exposure, tone, colour, noise, size.

    Args:
        image: ``(h, w, 3)`` float64 linear light at native resolution.
        response: ``(16,)``: blur σ down 0 and across 1 in native pixels, noise σ 2, contrast 3, saturation 4, then at
            5–13 the 3×3 matrix of exposure, gains and mixing, row by row.
        seed: Of the noise.
        out: ``(H, W, 3)`` uint8, written; bilinear where the size differs.
    """
    if response[0] > 0.2:
        image = blur_rows(image, response[0], False)
    if response[1] > 0.2:
        image = blur_rows(image, response[1], True)
    height, width, _ = image.shape
    native = np.empty(image.shape)
    contrast = response[3]
    for row in range(height):
        for column in range(width):
            r, g, b = image[row, column, 0], image[row, column, 1], image[row, column, 2]
            grey = 0.0
            for channel in range(3):
                k = 5 + 3 * channel
                value = max(0.0, response[k] * r + response[k + 1] * g + response[k + 2] * b)
                value = value / (1.0 + 0.12 * value * value)  # highlights roll off
                value = value**0.4545
                value = 0.45 * (value / 0.45) ** contrast
                native[row, column, channel] = value
                grey += (0.3 if channel == 0 else (0.59 if channel == 1 else 0.11)) * value
            for channel in range(3):
                value = grey + response[4] * (native[row, column, channel] - grey)
                if response[2] > 0.0:
                    k = (row * width + column) * 3 + channel
                    bell = hash01(k, 1, seed) + hash01(k, 2, seed) + hash01(k, 3, seed) - 1.5
                    value += 2.0 * bell * response[2] * (1.2 - 0.4 * value)
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
