"""Commands about galleries: ``gallery …``, ``search`` and ``identify``."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from resight.cli.options import (
    DataOption,
    DeviceOption,
    FormatOption,
    QuietOption,
    given_gallery,
    given_path,
    read,
    reporter,
)
from resight.errors import ResightError

if TYPE_CHECKING:
    import numpy as np

    from resight.gallery import Gallery
    from resight.gallery.asking import Question
    from resight.gallery.searching import Hit


GalleryArgument = Annotated[
    str,
    typer.Argument(
        parser=given_gallery,
        metavar="GALLERY",
        help="The folder of the gallery, or the address of its database: postgresql://host/name.",
        show_default=False,
    ),
]
MovedOption = Annotated[
    Path | None,
    typer.Option(
        "--run",
        parser=given_path,
        metavar="RUN",
        help="Where its model is now, if the run folder was moved.",
        show_default=False,
    ),
]
ByOption = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Who decides, for the log; your user name if not given.", show_default=False),
]
AsJsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for other programs.")]
_SightingsOption = Annotated[
    list[int] | None,
    typer.Option("--sighting", min=1, metavar="N", help="A sighting, by its number.", show_default=False),
]
_IdentitiesOption = Annotated[
    list[int] | None,
    typer.Option("--identity", min=1, metavar="N", help="An identity, by its number.", show_default=False),
]

gallery_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Keep sightings, review their identities, forget them.\n\n"
    "**resight gallery create GALLERY --run RUN**, then **resight gallery add GALLERY --data PATH**, then **resight "
    "identify GALLERY** and **resight search GALLERY IMAGE**.",
)


def open_gallery(place: str, run: Path | None = None, device: str = "cpu", by: str | None = None) -> Gallery:
    """The gallery at a place; a sentence if there is none."""
    from resight.gallery import Gallery

    return Gallery(place, run=run, device=device, by=by)


def create(
    gallery: GalleryArgument,
    run: Annotated[
        Path,
        typer.Option(
            parser=given_path, metavar="RUN", help="The run folder of the model that embeds.", show_default=False
        ),
    ],
    thumbnails: Annotated[
        str | None,
        typer.Option(
            metavar="PLACE",
            help="Where thumbnails are kept: a folder, or an address such as s3://bucket/people; in the gallery's "
            "folder if not given.",
            show_default=False,
        ),
    ] = None,
    index: Annotated[
        str,
        typer.Option(metavar="ADDRESS", help="embedded: exact search in each process; or Milvus: http://host:19530."),
    ] = "embedded",
    precision: Annotated[
        str, typer.Option(metavar="NAME", help="How embeddings are stored: float16 or float32.")
    ] = "float16",
    device: DeviceOption = "auto",
) -> None:
    """Make a gallery.

    Example: **resight gallery create people --run runs/first**
    """
    from resight.gallery import Gallery

    with Gallery.create(gallery, run, thumbnails=thumbnails, index=index, precision=precision, device=device) as made:
        print(f"{made.name} is a gallery now; its model is {run}.")
    print(f"Next: resight gallery add {_shown(gallery)} --data your/crops")


def add(
    gallery: GalleryArgument,
    data: DataOption,
    format: FormatOption = "auto",
    run: MovedOption = None,
    device: DeviceOption = "auto",
    as_json: AsJsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Add crops; those whose content is in the gallery are passed over.

    After a stop the same command goes on. Exit status 1 if a file cannot be read.

    Example: **resight gallery add people --data cameras/**
    """
    with reporter(quiet) as report, open_gallery(gallery, run, device) as opened:
        done = opened.add(read(data, format), progress=report.progress)
        now = opened.info()["sightings"]
    if as_json:
        print(json.dumps({"added": done.added, "known": done.known, "unreadable": done.unreadable, "sightings": now}))
    else:
        for path, reason in done.unreadable:
            print(f"left out: {path}: {reason}")
        print(f"{_count(done.added, 'sighting')} added, {done.known} known before; {now} in the gallery now.")
        print(f"Next: resight identify {_shown(gallery)}")
    if done.unreadable:
        raise typer.Exit(1)


def info(gallery: GalleryArgument, as_json: AsJsonOption = False) -> None:
    """Say what is in a gallery.

    Example: **resight gallery info people**
    """
    from resight.cli.tables import print_table

    with open_gallery(gallery) as opened:
        facts = opened.info()
    if as_json:
        print(json.dumps(facts))
        return
    cameras = facts.pop("cameras")
    rows = [(name.replace("_", " "), "" if value is None else str(value)) for name, value in facts.items()]
    print_table(("", ""), [*rows, *((f"camera {name}", str(size)) for name, size in list(cameras.items())[:30])])


def delete(
    gallery: GalleryArgument,
    sighting: _SightingsOption = None,
    identity: _IdentitiesOption = None,
    camera: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="All sightings of a camera.", show_default=False)
    ] = None,
    before: Annotated[
        str | None, typer.Option(metavar="TIME", help="All sightings before a time.", show_default=False)
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete sightings for good: rows, embeddings, thumbnails, names, traces in the log.

    Each option adds sightings to delete. It cannot be undone.

    Example: **resight gallery delete people --identity 12**
    """
    with open_gallery(gallery) as opened:
        if not yes:
            if not sys.stdin.isatty():
                raise ResightError("Deleting cannot be undone: give --yes to do it without being asked.")
            typer.confirm(f"Delete these sightings of {opened.name} for good?", abort=True)
        done = opened.delete(
            sightings=sighting or [],
            identities=identity or [],
            cameras=camera or [],
            before=None if before is None else parse_time("--before", before),
        )
    print(f"{_count(len(done.sightings), 'sighting')} deleted, and {_count(len(done.identities), 'identity')}.")


def export(
    gallery: GalleryArgument,
    to: Annotated[
        Path, typer.Option("--to", parser=given_path, metavar="FOLDER", help="The folder to make.", show_default=False)
    ],
) -> None:
    """Write a gallery as Parquet files and folders of thumbnails.

    Example: **resight gallery export people --to people-export**
    """
    with open_gallery(gallery) as opened:
        print(f"{_count(opened.export(to), 'sighting')} exported to {to}.")


def import_(
    gallery: GalleryArgument,
    source: Annotated[
        Path,
        typer.Option(
            "--from", parser=given_path, metavar="FOLDER", help="A folder by 'gallery export'.", show_default=False
        ),
    ],
    quiet: QuietOption = False,
) -> None:
    """Add an export of a gallery of the same model; a second call adds nothing.

    Example: **resight gallery import people --from people-export**
    """
    with reporter(quiet) as report, open_gallery(gallery) as opened:
        sightings, entries = opened.import_from(source, progress=report.progress)
    print(f"{_count(sightings, 'sighting')} and {_count(entries, 'decision')} added.")


def verify(
    gallery: GalleryArgument, limit: Annotated[int, typer.Option(min=1, metavar="N", help="Findings printed.")] = 20
) -> None:
    """Check that a gallery is whole, and that nothing is left of what was deleted.

    Exit status 1 if something is wrong.

    Example: **resight gallery verify people**
    """
    from resight.cli.tables import print_text

    with open_gallery(gallery) as opened:
        found, size = opened.verify(), opened.info()["sightings"]
    for sentence in found[:limit]:
        print_text(sentence)
    if found:
        more = f" --limit {len(found)} prints them all." if len(found) > limit else ""
        print(f"{_count(len(found), 'finding')}.{more}")
        raise typer.Exit(1)
    print(f"All is well: {_count(size, 'sighting')}, each with its embedding and thumbnail, and nothing else.")


def migrate(
    gallery: GalleryArgument,
    to: Annotated[
        Path,
        typer.Option(
            "--to", parser=given_path, metavar="RUN", help="The run folder of the new model.", show_default=False
        ),
    ],
    device: DeviceOption = "auto",
    quiet: QuietOption = False,
) -> None:
    """Embed all sightings anew by another model; identities and decisions stay.

    Example: **resight gallery migrate people --to runs/second**
    """
    with reporter(quiet) as report, open_gallery(gallery, device=device) as opened:
        done, small = opened.migrate(to, progress=report.progress)
    print(f"{_count(done, 'sighting')} embedded anew by {to}, {small} of these from their thumbnails.")


def identities(
    gallery: GalleryArgument,
    limit: Annotated[int, typer.Option(min=1, metavar="N", help="Identities printed, the largest first.")] = 30,
    as_json: AsJsonOption = False,
) -> None:
    """List identities, the one with most sightings first.

    Example: **resight gallery identities people**
    """
    with open_gallery(gallery) as opened:
        rows = opened.identities()
    if as_json:
        print(json.dumps(rows))
        return
    _print_identities(rows[:limit])
    if len(rows) > limit:
        print(f"… and {len(rows) - limit} more; --limit {len(rows)} prints them all.")


def show(
    gallery: GalleryArgument,
    identity: Annotated[
        int, typer.Argument(min=1, metavar="IDENTITY", help="The identity's number.", show_default=False)
    ],
    sheet: Annotated[
        Path | None,
        typer.Option(parser=given_path, metavar="FILE", help="Picture to write, .png or .jpg.", show_default=False),
    ] = None,
    as_json: AsJsonOption = False,
) -> None:
    """List the sightings of an identity, the most typical first.

    Example: **resight gallery show people 12 --sheet identity.png**
    """
    _check_sheet(sheet)
    with open_gallery(gallery) as opened:
        hits = opened.members(identity)
        if sheet is not None and hits:
            _write_sheet(sheet, [(f"identity {identity}", [], hits)], opened)
    _print_hits(hits, as_json)


def merge(
    gallery: GalleryArgument,
    identity: Annotated[
        list[int], typer.Argument(min=1, metavar="IDENTITY…", help="Two identities or more.", show_default=False)
    ],
    by: ByOption = None,
) -> None:
    """Make several identities one; the named or the largest one keeps its number.

    Example: **resight gallery merge people 3 7 12**
    """
    with open_gallery(gallery, by=by) as opened:
        done = opened.merge(identity)
    moved = _count(done["moved"], "sighting")
    print(f"They are identity {done['identity']} now; {moved} moved (decision {done['decision']}).")


def split(
    gallery: GalleryArgument,
    identity: Annotated[int, typer.Argument(min=1, metavar="IDENTITY", help="The identity.", show_default=False)],
    sighting: Annotated[
        list[int],
        typer.Argument(min=1, metavar="SIGHTING…", help="Its sightings that are of another one.", show_default=False),
    ],
    by: ByOption = None,
) -> None:
    """Make some sightings of an identity another one.

    Example: **resight gallery split people 3 101 102**
    """
    with open_gallery(gallery, by=by) as opened:
        done = opened.split(identity, sighting)
    print(f"{_count(done['moved'], 'sighting')} are identity {done['identity']} now (decision {done['decision']}).")


def assign(
    gallery: GalleryArgument,
    identity: Annotated[
        str, typer.Argument(metavar="IDENTITY", help="The identity's number, or 'new'.", show_default=False)
    ],
    sighting: Annotated[
        list[int],
        typer.Argument(min=1, metavar="SIGHTING…", help="Sightings that are of it.", show_default=False),
    ],
    by: ByOption = None,
) -> None:
    """Say of sightings that they are one identity, wherever they are now.

    Other sightings of the identities that they leave stay there.

    Example: **resight gallery assign people 3 101 102 240**
    """
    if identity != "new" and not re.fullmatch("[1-9][0-9]{0,17}", identity, re.ASCII):
        raise ResightError(f"IDENTITY is the number of one, or 'new', not '{identity[:60]}'.")
    with open_gallery(gallery, by=by) as opened:
        done = opened.assign(None if identity == "new" else int(identity), sighting)
    print(f"{_count(done['moved'], 'sighting')} moved to identity {done['identity']} (decision {done['decision']}).")


def similar(
    gallery: GalleryArgument,
    identity: Annotated[int, typer.Argument(min=1, metavar="IDENTITY", help="The identity.", show_default=False)],
    count: Annotated[int, typer.Option("-n", min=1, metavar="N", help="Identities printed at most.")] = 10,
    sheet: Annotated[
        Path | None,
        typer.Option(
            parser=given_path,
            metavar="FILE",
            help="Picture to write, .png or .jpg: the identity, and below it the others.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJsonOption = False,
) -> None:
    """List the identities that one could be merged with, the most similar first.

    Identities that a decision says are different are left out.

    Example: **resight gallery similar people 12 --sheet similar.png**
    """
    _check_sheet(sheet)
    with open_gallery(gallery) as opened:
        rows = opened.similar(identity, count)
        if sheet is not None and rows:
            shown = [(f"identity {one}", opened.members(one)[:10]) for one in (identity, *(row["id"] for row in rows))]
            _write_sheet(sheet, [(title, [], hits) for title, hits in shown], opened)
    if as_json:
        print(json.dumps(rows))
        return
    _print_identities(rows)
    if rows:
        print(f"Next: resight gallery merge {_shown(gallery)} {identity} {rows[0]['id']}, if they are one.")


def name(
    gallery: GalleryArgument,
    identity: Annotated[int, typer.Argument(min=1, metavar="IDENTITY", help="The identity.", show_default=False)],
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Its name; '' takes it away.", show_default=False)
    ] = None,
    note: Annotated[
        str | None, typer.Option(metavar="TEXT", help="A note; '' takes it away.", show_default=False)
    ] = None,
    by: ByOption = None,
) -> None:
    """Name an identity. The name stays when identities are proposed anew.

    Example: **resight gallery name people 12 "Anna"**
    """
    with open_gallery(gallery, by=by) as opened:
        done = opened.rename(identity, name, note)
    print(
        f"Identity {identity} is named (decision {done['decision']})." if done["decision"] else "That is what it was."
    )


def hide(
    gallery: GalleryArgument,
    sighting: _SightingsOption = None,
    identity: _IdentitiesOption = None,
    show: Annotated[bool, typer.Option("--show", help="Show them again.")] = False,
    by: ByOption = None,
) -> None:
    """Hide sightings or identities from searches, proposals and questions.

    Example: **resight gallery hide people --identity 12**
    """
    with open_gallery(gallery, by=by) as opened:
        done = opened.hide(sightings=sighting or [], identities=identity or [], hidden=not show)
    print(f"{done['changed']} {'shown again' if show else 'hidden'}.")


def log(
    gallery: GalleryArgument,
    limit: Annotated[int, typer.Option(min=1, metavar="N", help="Decisions printed, the latest last.")] = 30,
    as_json: AsJsonOption = False,
) -> None:
    """List the decisions.

    Example: **resight gallery log people**
    """
    from dataclasses import asdict
    from datetime import datetime

    from resight.cli.tables import print_table

    with open_gallery(gallery) as opened:
        entries = opened.log()
    if as_json:
        print(json.dumps([asdict(entry) for entry in entries]))
        return
    rows = []
    for entry in entries[-limit:]:
        what = f"{entry.kind} of {entry.undoes}" if entry.undoes else entry.kind
        at = datetime.fromtimestamp(entry.at).isoformat(" ", "seconds")
        rows.append((str(entry.id), what, entry.by, at, "" if entry.active else "undone"))
    print_table(("decision", "kind", "by", "at", ""), rows)
    print(f"{_count(len(entries), 'decision')}. 'resight gallery undo {_shown(gallery)} N' undoes one.")


def undo(
    gallery: GalleryArgument,
    decision: Annotated[
        int | None,
        typer.Argument(min=1, metavar="DECISION", help="Its number; the last one if not given.", show_default=False),
    ] = None,
    by: ByOption = None,
) -> None:
    """Undo a decision, however old. An undo can be undone.

    Example: **resight gallery undo people**
    """
    with open_gallery(gallery, by=by) as opened:
        done = opened.undo(decision)
    left = (
        f"; {_count(done['moved_on'], 'sighting')} stayed where a later decision put them" if done["moved_on"] else ""
    )
    back = _count(done["moved_back"], "sighting")
    print(f"Decision {done['undone']} ({done['kind']}) is undone: {back} moved back{left}.")


def review(
    gallery: GalleryArgument,
    count: Annotated[int, typer.Option("-n", min=1, metavar="N", help="Questions printed with --json.")] = 20,
    sheet: Annotated[
        Path | None,
        typer.Option(
            parser=given_path,
            metavar="FILE",
            help="Picture of each question, .png or .jpg: open it in a viewer that follows changes.",
            show_default=False,
        ),
    ] = None,
    by: ByOption = None,
    as_json: AsJsonOption = False,
) -> None:
    """Answer questions about identities, the most worthwhile first.

    Each question has two sightings: s: they are the same, d: different, k: skip for good, u: undo the last answer, q:
    stop. With --json the questions are printed, and 'resight gallery answer' takes the answers.

    Example: **resight gallery review people --sheet question.png**
    """
    _check_sheet(sheet)
    if as_json and sheet is not None:
        raise ResightError(
            "--sheet draws the question that is being asked, and --json asks none: leave out one of them."
        )
    with open_gallery(gallery, by=by) as opened:
        if as_json:
            print(json.dumps([question.to_dict() for question in opened.questions(count)]))
            return
        _sit(opened, sheet)


def _sit(opened: Gallery, sheet: Path | None) -> None:
    session = opened.review()
    words = {"s": "same", "d": "different", "k": "skip"}
    answered = 0
    while (question := session.next()) is not None:
        _print_question(opened, question, sheet)
        try:
            typed = input("same (s), different (d), skip (k), undo (u), stop (q)? ").strip().lower()
        except EOFError:
            print()
            break
        if typed in ("q", "quit", "stop"):
            break
        if typed in ("u", "undo"):
            done = session.undo()
            answered -= done is not None
            print("There is no answer to undo." if done is None else f"Decision {done['undone']} is undone.")
            continue
        answer = words.get(typed, typed)
        if answer not in words.values():
            print(f"'{typed}' is no answer.")
            continue
        try:
            done = session.answer(question, answer)
            answered += 1
            print(f"Decision {done['decision']}: {_count(done.get('moved', 0), 'sighting')} moved.")
        except ResightError as error:
            print(f"Not possible: {error}")
    else:
        print("There is nothing left to ask.")
    print(f"{_count(answered, 'answer')}. 'resight identify' uses them, and so does 'resight train --decisions'.")


def _print_question(opened: Gallery, question: Question, sheet: Path | None) -> None:
    a, b = opened.sightings(question.sightings)
    names = [_who(hit) for hit in (a, b)]
    ask = "Are these one identity?" if question.kind == "merge" else f"Is {names[0]} really one identity?"
    print(f"\n{ask}  (question {question.id}, similarity {question.similarity:.2f}, likely {question.probability:.0%})")
    for side, hit in enumerate((a, b)):
        who = names[side] if question.kind == "merge" else f"half {side + 1}"
        print(f"  {who}, {_count(question.sizes[side], 'sighting')}{_seen(question, side)}; for example sighting "
              f"{hit.sighting}{_where(hit)}: {hit.source}")  # fmt: skip
    if sheet is not None:
        rows: list[tuple[str, list[np.ndarray | None], list[Hit]]] = []
        for side in (0, 1):
            shown = _spread(opened.sightings(question.sides[side][:200]), 10)
            rows.append((names[side] if question.kind == "merge" else f"half {side + 1}", [], shown))
        _write_sheet(sheet, rows, opened, similarities=False)
        print(f"  {sheet} shows them.")


def _spread(hits: Sequence[Hit], count: int) -> list[Hit]:
    """Some of the sightings, from all cameras in turn, by camera and time."""
    of: dict[str, list[Hit]] = {}
    for hit in hits:
        of.setdefault(hit.camera or "", []).append(hit)
    turns = sorted((turn, camera) for camera, own in of.items() for turn in range(len(own)))
    chosen = [of[camera][turn] for turn, camera in turns[:count]]
    return sorted(chosen, key=lambda hit: (hit.camera or "", hit.time or 0.0, hit.sighting))


def _seen(question: Question, side: int) -> str:
    """Where and when the sightings of one side of a question were seen."""
    cameras, time = question.cameras[side], question.times[side]
    parts = []
    if set(cameras) != {"unknown"}:
        shown = [f"camera {name}: {size}" for name, size in list(cameras.items())[:8]]
        parts.append(", ".join([*shown, *(["…"] if len(cameras) > 8 else [])]))
    if time is not None:
        first, last = _time(time[0]), _time(time[1])
        parts.append(f"time {first}" if first == last else f"time {first} to {last}")
    return f" ({'; '.join(parts)})" if parts else ""


def answer(
    gallery: GalleryArgument,
    question: Annotated[
        list[str],
        typer.Argument(metavar="QUESTION…", help="Ids of questions: two sightings, as 12-345.", show_default=False),
    ],
    answer: Annotated[str, typer.Argument(metavar="ANSWER", help="same, different or skip.", show_default=False)],
    by: ByOption = None,
    as_json: AsJsonOption = False,
) -> None:
    """Answer questions of 'resight gallery review --json', or any questions about two sightings.

    Several questions get the same answer, one after the other. With --json one line is printed per question.

    Example: **resight gallery answer people 12-345 7-80 same**
    """
    from resight.gallery.asking import parse_question

    for one in question:
        parse_question(one)
    with open_gallery(gallery, by=by) as opened:
        for one in question:
            done = opened.answer(one, answer)
            moved = _count(done.get("moved", 0), "sighting")
            print(json.dumps(done) if as_json else f"Decision {done['decision']}: {moved} moved.")


def search(
    gallery: GalleryArgument,
    image: Annotated[
        list[Path] | None,
        typer.Argument(parser=given_path, metavar="IMAGE…", help="Images of one identity.", show_default=False),
    ] = None,
    sighting: Annotated[
        list[int] | None,
        typer.Option(min=1, metavar="N", help="A sighting of the same identity, by its number.", show_default=False),
    ] = None,
    not_image: Annotated[
        list[Path] | None,
        typer.Option(
            parser=given_path, metavar="IMAGE", help="An image of another identity: not this one.", show_default=False
        ),
    ] = None,
    not_sighting: Annotated[
        list[int] | None,
        typer.Option(min=1, metavar="N", help="A sighting of another identity: not this one.", show_default=False),
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, max=1_000_000, metavar="N", help="Results.")] = 20,
    camera: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Only this camera.", show_default=False)
    ] = None,
    not_camera: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Not this camera.", show_default=False)
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="TIME",
            help="Only from this time on: a number as in the crops' column time, or a date as 2026-03-01T12:00.",
            show_default=False,
        ),
    ] = None,
    stop: Annotated[
        str | None, typer.Option("--to", metavar="TIME", help="Only up to this time.", show_default=False)
    ] = None,
    identity: Annotated[
        list[int] | None, typer.Option(min=1, metavar="N", help="Only this identity.", show_default=False)
    ] = None,
    hidden: Annotated[bool, typer.Option("--hidden", help="Find hidden sightings, too.")] = False,
    rerank: Annotated[
        bool, typer.Option("--rerank", help="Re-rank the best results by k-reciprocal neighbours.")
    ] = False,
    sheet: Annotated[
        Path | None,
        typer.Option(
            parser=given_path,
            metavar="FILE",
            help="Picture to write, .png or .jpg: the query and what was found.",
            show_default=False,
        ),
    ] = None,
    run: MovedOption = None,
    device: DeviceOption = "auto",
    as_json: AsJsonOption = False,
) -> None:
    """Find where else an identity was seen.

    Several images, or numbers of sightings, are one query. Options may be given several times.

    Example: **resight search people somebody.jpg --not-camera 3 --sheet found.png**
    """
    _check_sheet(sheet)
    times = {
        name: None if text is None else parse_time(option, text)
        for name, option, text in (("start", "--from", start), ("stop", "--to", stop))
    }
    if not (image or sighting):
        raise ResightError("There is nothing to search for: give images, or --sighting with the number of one.")
    with open_gallery(gallery, run, device) as opened:
        hits = opened.search(
            image or [],
            sightings=sighting or [],
            not_images=not_image or [],
            not_sightings=not_sighting or [],
            k=k,
            cameras=camera or [],
            not_cameras=not_camera or [],
            identities=identity or [],
            hidden=hidden,
            rerank=rerank,
            **times,
        )
        if sheet is not None and hits:
            asked = [*_read_images(image or []), *opened.pictures(opened.sightings(sighting or []))]
            _write_sheet(sheet, [("", asked, hits)], opened)
    _print_hits(hits, as_json)
    if sheet is not None and hits and not as_json:
        print(f"{sheet} shows them.")


def identify(
    gallery: GalleryArgument,
    settings: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="KEY=VALUE",
            help="Settings of the clustering that differ from the run's, such as eps=0.5.",
            show_default=False,
        ),
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Cluster all sightings anew, those with an identity, too.")
    ] = False,
    algorithm: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="dbscan, two_stage or bottom_up; that of the run's method if not given.",
            show_default=False,
        ),
    ] = None,
    run: MovedOption = None,
    device: DeviceOption = "auto",
    by: ByOption = None,
    as_json: AsJsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Propose an identity for each sighting, by clustering; every decision is respected.

    Sightings that have an identity keep it. The others join one or form new ones. Numbers of identities never change.

    Example: **resight identify people**
    """
    from resight.cli.tables import print_text

    with reporter(quiet) as report:
        from resight.training.config import parse_overrides

        changes = {key.rpartition(".")[2]: value for key, value in parse_overrides(settings or []).items()}
        with open_gallery(gallery, run, device, by) as opened:
            done = opened.identify(again=again, algorithm=algorithm, settings=changes, progress=report.progress)
    if as_json:
        print(json.dumps(done))
        return
    new = set(map(str, done["new_identities"]))
    joined = sum(len(ids) for key, ids in done["joined"].items() if key not in new)
    into = sum(len(ids) for key, ids in done["joined"].items() if key in new)
    print_text(
        f"{_count(done['clustered'], 'sighting')} clustered. {_count(len(new), 'new identity')} with "
        f"{_count(into, 'sighting')}; {joined} sightings joined identities that were there, {done['moved']} of all "
        f"moved from one identity to another; {done['without_identity']} have none."
    )
    if done["note"]:
        print_text(f"Note: {done['note']}")
    print(f"Next: resight gallery review {_shown(gallery)} --sheet question.png")


def parse_time(option: str, text: str) -> float:
    """A time as a number, or a date and time of ISO 8601 as seconds since 1970.

    Raises:
        ResightError: it is neither.
    """
    from datetime import datetime

    if re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d{1,2})?", text, re.ASCII):
        return float(text)
    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
    except (ValueError, OverflowError, OSError) as error:
        raise ResightError(
            f"{option} is a number, as in the crops' column time, or a date such as 2026-03-01T12:00, not "
            f"'{text[:60]}'."
        ) from error


def _count(number: int, what: str) -> str:
    if number == 1:
        return f"1 {what}"
    return f"{number} {what[:-1]}ies" if what.endswith("y") else f"{number} {what}s"


def _shown(gallery: str) -> str:
    import shlex

    return shlex.quote(gallery)


def _who(hit: Hit) -> str:
    if hit.identity is None:
        return "no identity"
    return f"identity {hit.identity}" + (f" ({hit.name})" if hit.name else "")


def _where(hit: Hit) -> str:
    parts = [f"camera {hit.camera}" if hit.camera else "", f"time {_time(hit.time)}" if hit.time is not None else ""]
    said = ", ".join(part for part in parts if part)
    return f", {said}" if said else ""


def _print_identities(rows: Sequence[dict[str, Any]]) -> None:
    from resight.cli.tables import print_table

    similar = bool(rows) and "similarity" in rows[0]
    head = ("identity", "name", "sightings", "cameras", "first", "last", *(["similarity"] if similar else []))
    cells = [
        (
            f"{row['id']}{' (hidden)' if row['hidden'] else ''}",
            row["name"] or "",
            str(row["sightings"]),
            str(row["cameras"]),
            *(_time(row[name]) for name in ("first_time", "last_time")),
            *([f"{row['similarity']:.4f}"] if similar else []),
        )
        for row in rows
    ]
    if cells:
        print_table(head, cells, words=2)
    else:
        print("There are none.")


def _time(time: float | None) -> str:
    """A time as a number, or as a date if it looks like seconds since 1970, from 1973 to 5138."""
    from datetime import datetime

    if time is None:
        return ""
    return datetime.fromtimestamp(time).isoformat(" ", "seconds") if 1e8 <= time < 1e11 else f"{time:.12g}"


def _print_hits(hits: Sequence[Hit], as_json: bool) -> None:
    from resight.cli.tables import print_table

    if as_json:
        print(json.dumps([hit.to_dict() for hit in hits]))
        return
    if not hits:
        print("Nothing was found.")
        return
    head = ("sighting", "similarity", "identity", "camera", "time", "source")
    rows = [
        (
            str(hit.sighting),
            f"{hit.similarity:.4f}",
            "" if hit.identity is None else f"{hit.identity}" + (f" {hit.name}" if hit.name else ""),
            hit.camera or "",
            _time(hit.time),
            hit.source,
        )
        for hit in hits
    ]
    print_table(head, rows)


def _check_sheet(sheet: Path | None) -> None:
    if sheet is not None:
        from resight.export import check_picture_file

        check_picture_file(sheet)


def _read_images(paths: Sequence[Path]) -> list[np.ndarray | None]:
    from resight.crops import read_image

    return [read_image(path).transpose(1, 2, 0) for path in paths]


def _write_sheet(
    file: Path,
    rows: Sequence[tuple[str, Sequence[np.ndarray | None], Sequence[Hit]]],
    opened: Gallery,
    *,
    similarities: bool = True,
) -> None:
    """Draws rows of a title, query images with a blue frame, and hits with their camera and similarity or time."""
    from resight.crops.sheets import contact_sheet
    from resight.export import write_picture

    cells: list[list[np.ndarray | None]] = []
    captions: list[list[str | None]] = []
    frames: list[list[str | None]] = []
    titles: list[str] = []
    width = 10
    for title, asked, hits in rows:
        pictures = [*(_fitted(picture) for picture in asked), *(_fitted(one) for one in opened.pictures(hits))]
        words = [*("query" for _ in asked), *(_caption(hit, similarities) for hit in hits)]
        marks = [*("query" for _ in asked), *("none" for _ in hits)]
        for start in range(0, max(len(pictures), 1), width):
            cells.append(pictures[start : start + width])
            captions.append([*words[start : start + width]])
            frames.append([*marks[start : start + width]])
            titles.append(title if start == 0 else "")
    if not any(picture is not None for row in cells for picture in row):
        raise ResightError(f"{file} cannot be drawn: none of these sightings has a thumbnail.")
    picture = contact_sheet(
        cells, titles=titles if any(titles) else None, captions=captions, frames=frames, scale=1
    )  # fmt: skip
    write_picture(file, picture)


def _caption(hit: Hit, similarity: bool) -> str:
    camera = f"{hit.camera}: " if hit.camera else ""
    said = f"{hit.similarity:.2f}" if similarity else _time(hit.time)
    return f"#{hit.sighting} {camera}{said}".rstrip(": ")


def _fitted(picture: np.ndarray | None, height: int = 128) -> np.ndarray | None:
    """A picture at the height of a row of a sheet."""
    import numpy as np
    from PIL import Image

    if picture is None:
        return None
    width = max(1, min(3 * height, round(picture.shape[1] * height / picture.shape[0])))
    return np.asarray(Image.fromarray(np.ascontiguousarray(picture)).resize((width, height), Image.Resampling.BICUBIC))


#: The commands behind ``resight gallery``, by name.
COMMANDS: dict[str, Any] = {
    "create": create, "add": add, "info": info, "identities": identities, "show": show, "review": review,
    "answer": answer, "similar": similar, "merge": merge, "split": split, "assign": assign, "name": name, "hide": hide,
    "log": log, "undo": undo, "delete": delete, "export": export, "import": import_, "verify": verify,
    "migrate": migrate,
}  # fmt: skip
