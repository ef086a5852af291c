"""One call of the corpus: what is called, what must come of it, and what did."""

from __future__ import annotations

import contextlib
import io
import re
import sys
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from resight.cli import main
from resight.errors import ResightError

#: What must come of a call: a right result, a sentence, or (damaged bytes may still be readable) either.
FINE, SENTENCE, EITHER = "fine", "sentence", "either"
#: What can come of a call beside a right result and a sentence.
TRACEBACK, HANG, NONSENSE, REFUSED, UNCLEAR = "traceback", "hang", "nonsense", "refused", "unclear"
#: Every outcome, and what it means.
OUTCOMES = {
    FINE: "a right result",
    SENTENCE: "an error of one line that says what was wrong",
    TRACEBACK: "an exception that is no sentence, or a dead process",
    HANG: "no end within the time limit",
    NONSENSE: "nonsense was accepted, or the result is wrong",
    REFUSED: "something right was refused",
    UNCLEAR: "an error without text, of several lines or of more than 1,000 characters",
}
GOOD = (FINE, SENTENCE)
_LONGEST = 1000


class Done(NamedTuple):
    """A command that has ended."""

    status: int
    out: str
    err: str


@dataclass(frozen=True, eq=False)
class Case:
    """One call.

    Attributes:
        name: The call, as a person would write it; different for each case.
        call: Makes the call.
        expects: ``FINE``, ``SENTENCE`` or ``EITHER``.
        right: Whether a result is right; any finite result is if not given.
        limit: Seconds that the call may take.
        open: The point of an issue that is not mended yet, such as ``17.5``. The quick part leaves these cases out.
    """

    name: str
    call: Callable[[], Any]
    expects: str
    right: Callable[[Any], bool] | None = None
    limit: float = 60.0
    open: str = ""


class Verdict(NamedTuple):
    """What came of a call, and the text that shows it."""

    outcome: str
    detail: str


def command(*words: object) -> Done:
    """Runs ``resight`` with these words in this process."""
    before = sys.argv
    sys.argv = ["resight", *map(str, words)]
    out, err = io.StringIO(), io.StringIO()
    status = 0
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                main()
            except SystemExit as stop:
                status = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    finally:
        sys.argv = before
    return Done(status, out.getvalue(), err.getvalue())


def judge(case: Case) -> Verdict:
    """Makes a call and says what came of it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = case.call()
            if isinstance(result, Done):
                return _judge_command(case, result)
            right = _is_finite(result) and (case.right is None or case.right(result))
    except ResightError as error:
        return _sentence(case, str(error))
    except BaseException as error:
        return Verdict(TRACEBACK, f"{type(error).__name__}: {error} [{_place(error)}]"[:400])
    return _result(case, right, repr(result)[:200])


def _judge_command(case: Case, done: Done) -> Verdict:
    if "Traceback (most recent call last)" in done.err:
        return Verdict(TRACEBACK, done.err.strip().splitlines()[-1][:400])
    if done.status == 0 or (done.status == 1 and not done.err):  # check: unreadable crops
        right = not re.search(r"\bnan\b", done.out) and (case.right is None or case.right(done))
        return _result(case, right, done.out[-300:])
    if done.status == 2 and not done.err and "Usage: " in done.out:  # 'resight' alone prints its help
        return _result(case, True, done.out[:80])
    lines = [line for line in done.err.splitlines() if line.strip()]
    if done.status != 2 or not lines:
        return Verdict(UNCLEAR, f"status {done.status}, {done.err[-300:]!r}")
    if lines[0].startswith(
        ("Usage: ", "╭─ Error ")
    ):  # an option that does not exist or cannot have the value, in a box
        return _sentence(case, " ".join(line.strip("│ ") for line in lines if line.startswith("│")))
    begins = [number for number, line in enumerate(lines) if line.startswith("resight: ")]
    return _sentence(case, "\n".join(lines[begins[0] :]) if begins else done.err)


def _sentence(case: Case, text: str) -> Verdict:
    if "\n" in text.strip() or not text.strip() or len(text) > _LONGEST:
        return Verdict(UNCLEAR, f"{len(text)} characters: {text[:300]!r}")
    return Verdict(REFUSED if case.expects == FINE else SENTENCE, text[:400])


def _result(case: Case, right: bool, detail: str) -> Verdict:
    return Verdict(NONSENSE if case.expects == SENTENCE or not right else FINE, detail)


def _is_finite(result: object) -> bool:
    if isinstance(result, np.ndarray) and result.dtype.kind == "f":
        return bool(np.isfinite(result).all())
    if isinstance(result, float):
        return bool(np.isfinite(result))
    return True


def _place(error: BaseException) -> str:
    """The last line of the package that an exception went through."""
    ours = [frame for frame in traceback.extract_tb(error.__traceback__) if "/resight/" in frame.filename]
    return f"{ours[-1].filename.rpartition('/resight/')[2]}:{ours[-1].lineno}" if ours else "not in the package"
