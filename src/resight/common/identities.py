"""Codes of the column ``identity`` that are not identities; identities count from 1."""

from __future__ import annotations

#: A crop that nobody labelled: an empty cell in a labelled table.
UNLABELLED = -(2**63)
#: A badly detected box in the gallery, ignored when scoring (Market-1501).
JUNK = -1
#: A background crop in the gallery, always a wrong answer (Market-1501).
DISTRACTOR = 0
