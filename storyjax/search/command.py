"""The functions of `storyjax find`: enrol, forget, list, index and find.

Models are passed as functions that load them, so that errors are reported before a model is loaded, and so that search
imports no chapter.
"""

import itertools
import os
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from storyjax.core.arrays import unit_norm
from storyjax.core.errors import StoryjaxError
from storyjax.core.files import check_outputs, files_of
from storyjax.gallery.format1 import ENROLLED
from storyjax.gallery.gallery import Entry, Gallery, Taught
from storyjax.gallery.names import name_key
from storyjax.gallery.reading import photo_count
from storyjax.gallery.record import FACE, TOKEN
from storyjax.search.html_report import check_path, write_html_report
from storyjax.search.indexing import Summary, build_index, check_request
from storyjax.search.media_files import HIDDEN
from storyjax.search.photos import make_token, photo_paths, read_photo, readable_photos, say
from storyjax.search.protocol import (
    IMAGES,
    PERSON,
    TEXT,
    THING,
    ConceptEncoder,
    faces_of,
    names_in,
    replace_names,
    speak,
    spoken,
)
from storyjax.search.query import Searcher, SearchResult
from storyjax.search.store import Store
from storyjax.search.teach import Load as Load
from storyjax.search.teach import learned

# (The model for things, a name) -> the token that was learned for it.
ReadToken = Callable[[ConceptEncoder, str], Float32[np.ndarray, "c w"]]
MAX_HITS = 1000


def enrol(gallery: str, name: str, photos: Sequence[str], category: str | None, load: Load) -> str:
    """Enrols a name from photos, or folders of them, and returns a message.

    Photos that cannot be used are named on standard error and left out.

    Raises:
        StoryjaxError: the name, the category or all of the photos cannot be used.
    """
    enrolled = Gallery(gallery)
    name = enrolled.check_new(name)
    if category is not None and not category.strip():
        raise StoryjaxError("--thing is empty: give the category, for instance --thing dog")
    paths, images = readable_photos(photo_paths(photos))
    kind = THING if category else PERSON
    model = load(kind)
    entry = enrolled.create(name, kind, category, taught=learned(model, images, paths, category))
    return f'{_describe(entry)} enrolled in {gallery}: storyjax find "An image of <{entry.name}> ..." --index DIR'


def enrol_token(gallery: str, name: str, category: str, read: ReadToken, load: Load) -> str:
    """Enrols a thing by a token that was learned before, and returns a message.

    Args:
        gallery, name, category, load: as of `enrol`.
        read: returns the token.

    Raises:
        StoryjaxError: the name cannot be used, or has no such token.
    """
    enrolled = Gallery(gallery)
    name = enrolled.check_new(name)
    if not category.strip():
        raise StoryjaxError("--thing is empty: give the category, for instance --thing dog")
    model = load(THING)
    taught = Taught(TOKEN, model.fingerprint, read(model, name), ENROLLED)
    entry = enrolled.create(name, model.kind, category, taught=[taught])
    return (
        f"{category} '{entry.name}' enrolled in {gallery}: storyjax find \"An image of <{entry.name}> ...\" --index DIR"
    )


def forget(gallery: str, name: str) -> str:
    """Removes a name, and returns a message.

    Raises:
        StoryjaxError: the name is not enrolled.
    """
    return f"'{Gallery(gallery).forget(name).name}' is forgotten: its token and pictures are removed"


def listing(gallery: str) -> str:
    """Returns a line for each enrolled name."""
    entries = Gallery(gallery).entries()
    if not entries:
        return f"nobody is enrolled in {gallery} yet: storyjax find enrol NAME PHOTOS"
    width = max(len(entry.name) for entry in entries)
    return "\n".join(
        f"{entry.name:{width}}  {entry.category or entry.kind}, {photo_count(entry.photos)}, {entry.created[:10]}"
        for entry in entries
    )


def index(folder: str, out: str, every_s: float | None, load: Load, video_track: int | None = None) -> str:
    """Indexes a folder, or updates its index, and returns a message; broken files are named on standard error.

    Raises:
        StoryjaxError: as of `build_index`.
    """
    check_request(folder, every_s)  # before the model is loaded
    model = load(IMAGES)
    done = build_index(folder, out, model, every_s, sys.stderr.isatty(), video_track)
    for line in _notes(done):
        say(line)
    parts = [f"{_count(done.videos, 'video')} ({_count(done.clips, 'clip')})" if done.videos else ""]
    parts += [_count(done.images, "image") if done.images else "", f"{done.unchanged} unchanged" * bool(done.unchanged)]
    parts += [f"{done.vanished} vanished" * bool(done.vanished), f"{len(done.broken)} skipped" * bool(done.broken)]
    return f'{", ".join(filter(None, parts))}: storyjax find "An image of <NAME> ..." --index {out}'


def _notes(done: Summary) -> list[str]:
    """What an indexing run left out, in lines."""
    lines = [f"skipped {name}: {reason}" for name, reason in done.broken.items()]
    for place, count in done.kept.items():
        lines.append(f"what is known of {_count(count, 'file')} of {place} stays in the index meanwhile")
    ignored = dict(done.ignored)
    if hidden := ignored.pop(HIDDEN, 0):
        lines.append(f"left out {_count(hidden, 'hidden file or folder')}, whose names begin with a dot")
    if ignored:
        kinds = [f"{count} {suffix or 'without ending'}" for suffix, count in sorted(ignored.items())]
        lines.append(f"left out {_count(sum(ignored.values()), 'file')}, no images or videos: {', '.join(kinds)}")
    return lines


@dataclass(frozen=True)
class Request:
    """A search.

    Attributes:
        prompt: with names between < and >.
        index, gallery: folders.
        face: a photo of the one person of the prompt who is not enrolled.
        top: number of hits.
        html: the file of an HTML report.
    """

    prompt: str
    index: str
    gallery: str
    face: str | None = None
    top: int = 25
    html: str | None = None


def find(request: Request, load: Load) -> SearchResult:
    """Returns the hits of a search, and writes the HTML report if one is requested.

    Raises:
        StoryjaxError: the index, a name, the photo or the prompt cannot be used.
    """
    if not 1 <= request.top <= MAX_HITS:
        raise StoryjaxError(f"--top is {request.top}: give 1 to {MAX_HITS}")
    _check_index(request)  # before the model is loaded
    gallery = Gallery(request.gallery)
    names = names_in(request.prompt)
    if not names:
        _check_sentence(request, gallery)
    face = Path(request.face) if request.face else None
    photo = read_photo(face) if face else None
    pictured = _pictured(names, gallery) if face else None
    entries = {name: gallery.get(name) for name in names if name != pictured}
    model = load(_kind(list(entries.values()), face is not None) if names else TEXT)
    tokens = {entry.name: _stored_token(gallery, entry, model) for entry in entries.values()}
    if face is not None and photo is not None and pictured is not None:
        tokens[pictured], _ = make_token(model, [photo], [face], None)
    with Searcher(request.index, model) as searcher:
        # A prompt may have <Ana> for 'ana'; the model gets names as they were enrolled.
        prompt = replace_names(request.prompt, lambda n: f"<{n if n == pictured else entries[n].name}>")
        if spoken(model):
            for entry in entries.values():
                prompt = speak(prompt, entry.name)
        categories = {entry.name: entry.category for entry in entries.values() if entry.category}
        query = model.embed_query(prompt, tokens, categories)
        if faces_of(model) is not None and tokens:
            result = searcher.search_two_stage(query, [token[0] for token in tokens.values()], request.top)
        else:
            result = searcher.search(query, request.top)
    if request.html:
        write_html_report(request.html, request.prompt, result)
    return result


def _stored_token(gallery: Gallery, entry: Entry, model: ConceptEncoder) -> Float32[np.ndarray, "c w"]:
    """The newest token of an entry that the model can read; for people found by faces, also the mean of its faces."""
    again = f"'storyjax find forget \"{entry.name}\"' and enrol again"
    faces = faces_of(model)
    known = gallery.rows(entry)
    found = [rows for one, rows in known if (one.role, one.fingerprint) == (TOKEN, model.fingerprint)]
    if not found and faces is not None:
        each = [rows for one, rows in known if (one.role, one.fingerprint) == (FACE, faces.fingerprint)]
        found = [unit_norm(unit_norm(np.concatenate(each)).mean(0, keepdims=True))] if each else []
    if not found:
        raise StoryjaxError(f"'{entry.name}' was enrolled with another model: {again}, or name it by --checkpoint")
    if found[-1].shape[1] != model.width:
        raise StoryjaxError(f"{gallery.folder}: '{entry.name}' has no token of this model: {again}")
    return found[-1].astype(np.float32)


def _check_index(request: Request) -> None:
    """Refuses an index that cannot be opened, and a report in place of what is read, or of what was indexed."""
    if request.html:
        check_path(request.html)
    store = Store.open(request.index)
    try:
        if request.html:
            root = os.fsdecode(bytes.fromhex(store.meta()["root"]))
            indexed = (os.path.join(root, os.fsdecode(path)) for path in store.files())
            read = files_of(request.face, request.index, *Gallery(request.gallery).folders())
            check_outputs([("--html", request.html)], itertools.chain(read, indexed))
    finally:
        store.close()


def format_hits(result: SearchResult) -> str:
    """Returns hits as lines: rank, similarity, times, file."""
    times = [hit.times() for hit in result.hits]
    width = max(map(len, times), default=0)
    return "\n".join(
        f"{hit.rank:>4}  {hit.score:.3f}  {time:<{width}}  {_printable(hit.path)}"
        for hit, time in zip(result.hits, times, strict=True)
    )


def to_json(request: Request, result: SearchResult) -> dict[str, Any]:
    """Returns a search and its hits, for other programs."""
    return {
        "prompt": request.prompt,
        "index": os.path.abspath(request.index),
        "clips": result.clips,
        "images": result.images,
        "hits": [hit.to_json() for hit in result.hits],
    }


def _kind(entries: Sequence[Entry], with_face: bool) -> str:
    kinds = {entry.kind for entry in entries} | ({PERSON} if with_face else set())
    if len(kinds) > 1:
        people = [f"<{entry.name}>" for entry in entries if entry.kind == PERSON] or ["the face"]
        things = [f"<{entry.name}>" for entry in entries if entry.kind == THING]
        raise StoryjaxError(
            f"{', '.join(people)} and {', '.join(things)} are a person and a thing, which two models encode, and no"
            " prompt can name both: name one between < and >, and describe the other in general words, for instance"
            f" 'a {next(e.category for e in entries if e.kind == THING)}'"
        )
    return kinds.pop()


def _pictured(names: Sequence[str], gallery: Gallery) -> str:
    """The prompt's name that --face is a photo of: the only one, or the only one that is not enrolled."""
    if len(names) == 1:
        return names[0]
    enrolled = {name_key(entry.name) for entry in gallery.entries()}
    unknown = [name for name in names if name_key(name) not in enrolled]
    if len(unknown) != 1:
        which = "all of them are enrolled" if not unknown else f"{', '.join(unknown)} are not enrolled"
        raise StoryjaxError(
            f"who is in the photo of --face? The prompt names {', '.join(names)} and {which}: use one name for the"
            " photo, and enrol the others"
        )
    return unknown[0]


def _check_sentence(request: Request, gallery: Gallery) -> None:
    """Refuses a prompt without names that is none: empty, with a face of nobody, or with a name outside < and >."""
    words = name_key(request.prompt)
    if not words:
        raise StoryjaxError("the prompt is empty: describe what to find, with enrolled names between < and >")
    if request.face:
        raise StoryjaxError("--face is a photo of somebody in the prompt: write where, as in 'An image of <x> dancing'")
    for entry in gallery.entries():
        if re.search(rf"(?<!\w){re.escape(name_key(entry.name))}(?!\w)", words):
            raise StoryjaxError(f"the prompt names nobody: put the name between < and >, as in '<{entry.name}>'")


def _describe(entry: Entry) -> str:
    what = f"{entry.category} " if entry.category else ""
    return f"{what}'{entry.name}' ({photo_count(entry.photos)})"


def _count(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count:,} {word}s"


def _printable(text: str) -> str:
    """A file's name without characters that a terminal cannot print."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
