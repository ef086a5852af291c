"""Names for the indices of the arrays that the kernels read, and for the codes stored there.

Where a slot holds a vector or a colour, its name is the index of the first of three numbers: ``PART_ORIGIN`` is x,
``PART_ORIGIN + 1`` is y, ``PART_ORIGIN + 2`` is z. Lengths are metres and colours are linear light (R, G, B).

Numba compiles these numbers into the kernels and caches the result by the time stamp of ``_kernels.py`` alone. After a
change in this file, also save ``_kernels.py``; otherwise old kernels keep running.
"""

from __future__ import annotations

# --- one solid: a row of ``parts``

#: Where the axis begins.
PART_ORIGIN = 0
#: The rows of the matrix from world to local coordinates: each axis divided by its scale.
PART_X_AXIS, PART_Y_AXIS, PART_Z_AXIS = 3, 6, 9
#: Length along the z axis.
PART_LENGTH = 12
PART_START_RADIUS, PART_END_RADIUS = 13, 14
#: ``CONE``, ``OPEN_CONE`` or ``BOX``.
PART_SHAPE = 15
#: Row of ``materials``.
PART_MATERIAL = 16
#: Added to the local z before the texture is looked up.
PART_OFFSET = 17
#: Scale of the x, y and z axis.
PART_SCALE = 18
#: ``OWNER_THING``, ``OWNER_PERSON`` or ``OWNER_COMPANION``.
PART_OWNER = 21
#: Above this height over the ground the solid shows the material ``PART_COVER_MATERIAL`` instead of its own.
PART_COVER_HEIGHT, PART_COVER_MATERIAL = 22, 23
PART_WIDTH = 24

#: A cone with round ends, a cone without ends, a box.
CONE, OPEN_CONE, BOX = 0, 1, 2
#: An ellipsoid, before :func:`resight.synthesis.parts.pack` makes it a cone of length 0.
BALL = -1

OWNER_THING, OWNER_PERSON, OWNER_COMPANION = 0, 1, 2

# --- one material: a row of ``materials``

#: One of the kinds below.
MATERIAL_KIND = 0
MATERIAL_COLOUR, MATERIAL_SECOND_COLOUR, MATERIAL_THIRD_COLOUR = 1, 4, 7
#: ``PATTERN_…`` of cloth, ``PROP_…`` of things.
MATERIAL_PATTERN = 10
#: Size of the pattern: a factor for cloth, the period in metres for things.
MATERIAL_SIZE = 11
#: Height from which the second colour begins (two-tone cloth, windows of a thing).
MATERIAL_LINE = 12
#: Side that has the stripe of ``PATTERN_SIDE``: 1 or -1.
MATERIAL_SIDE = 12
#: Local y below which a shoe shows its sole, in the second colour.
MATERIAL_SOLE = 12
#: Radius of the limb, which turns an angle around it into a length.
MATERIAL_RADIUS = 13
#: 1 for a beard in the second colour; of faces only.
FACE_BEARD = 10
#: ``SHUT``, ``ZIPPED`` or ``OPEN``; this and the following are of torsos only.
TORSO_OPENING = 14
#: Height of the neck above the hips.
TORSO_NECK = 15
#: Half the width of an open jacket's gap.
TORSO_GAP = 16
#: 1 if the straps of a backpack are seen in front.
TORSO_STRAPS = 17
#: ``NO_LOGO``, ``LOGO_DISC``, ``LOGO_BAR`` or ``LOGO_SQUARE``, in the third colour.
TORSO_LOGO = 18
#: Side on which a shoulder bag hangs: 1 right, -1 left, 0 no bag.
TORSO_BAG_SIDE = 19
#: 1 if there is a collar.
TORSO_COLLAR = 20
#: Colour of what shows in the opening: a shirt or the skin.
TORSO_SHIRT = 21
MATERIAL_WIDTH = 24

CLOTH, SKIN, FACE, HAIR, TORSO, SHOE, PROP, LEAVES = 0, 1, 2, 3, 4, 5, 6, 7

PATTERN_PLAIN, PATTERN_ROWS, PATTERN_COLUMNS, PATTERN_CHECKS, PATTERN_DOTS = 0, 1, 2, 3, 4
#: Another colour above a line; a stripe along one side.
PATTERN_TWO_TONE, PATTERN_SIDE = 5, 6
#: Patterns of things: one colour, a band of windows, horizontal stripes, upright stripes.
PROP_PLAIN, PROP_WINDOWS, PROP_ROWS, PROP_COLUMNS = 0, 1, 2, 3

SHUT, ZIPPED, OPEN = 0, 1, 2
NO_LOGO, LOGO_DISC, LOGO_BAR, LOGO_SQUARE = 0, 1, 2, 3

# --- the camera: ``view`` in world coordinates, and a row of ``frames`` in the local coordinates of one solid

EYE_POSITION, EYE_FORWARD, EYE_RIGHT, EYE_UP = 0, 3, 6, 9
#: View only: left and top edge of the picture, and the step from one sample to the next, as tangents.
WINDOW_LEFT, WINDOW_TOP, WINDOW_STEP_RIGHT, WINDOW_STEP_DOWN = 12, 13, 14, 15
VIEW_WIDTH = 16
#: Frames only: a rectangle around the solid in the picture, as tangents.
BOUND_LEFT, BOUND_RIGHT, BOUND_BOTTOM, BOUND_TOP = 12, 13, 14, 15
FRAME_WIDTH = 16

# --- the background: ``scene``

#: Seed of the noise.
SCENE_SEED = 0
#: Strength of the noise, 0 to 1.
SCENE_GRAIN = 1
#: Where the numbers of the floor and those of the wall begin: add a ``SURFACE_…`` to them.
SCENE_FLOOR, SCENE_WALL = 2, 16
#: Distance of the wall from the camera, and its height (0: no upper edge).
SCENE_WALL_Y, SCENE_WALL_HEIGHT = 26, 27
#: Unit vector towards the light.
SCENE_LIGHT = 30
#: Strength of the light that casts shadows, and of the light that does not.
SCENE_SUN, SCENE_AMBIENT = 33, 34
#: Colour above the wall.
SCENE_SKY = 35
SCENE_WIDTH = 40

#: One of the kinds below, and the size of its pattern.
SURFACE_KIND, SURFACE_SIZE = 0, 1
SURFACE_COLOUR, SURFACE_SECOND_COLOUR = 2, 5
#: y of a road's painted line; of floors only.
SURFACE_LINE_Y = 8

PLAIN, TILES, CHEQUERS, BRICKS, STRIPES, GREENERY = 0, 1, 2, 3, 4, 5
#: The same code is one thing on the floor and another on the wall.
ROAD, WINDOWS = 6, 6
PATCHES, POSTERS = 7, 7

# --- one shadow on the ground: a row of ``shadows``

#: x, y of both ends.
SHADOW_START, SHADOW_END = 0, 2
#: Distance from the line between the ends at which the shadow stops, and its darkness from 0 to 1.
SHADOW_RADIUS, SHADOW_DARKNESS = 4, 5
SHADOW_WIDTH = 6

# --- lens and sensor: ``response``

#: σ of the blur in native pixels.
RESPONSE_BLUR_DOWN, RESPONSE_BLUR_ACROSS = 0, 1
#: σ of the sensor noise as a share of white.
RESPONSE_NOISE = 2
#: Exponent of the tone curve, and factor of the saturation.
RESPONSE_CONTRAST, RESPONSE_SATURATION = 3, 4
#: 3×3 matrix of exposure, gains and colour mixing, row by row.
RESPONSE_MATRIX = 5
RESPONSE_WIDTH = 16
