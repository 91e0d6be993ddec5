"""What `storyjax find` does: enrols, forgets, lists, indexes and finds.

The models come in as functions that load them, so that slips are told before a model is waited for, and so that search
knows no chapter.
"""

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8
from tqdm import tqdm

from storyjax.core.errors import StoryjaxError
from storyjax.data.images import SUFFIXES, read_image
from storyjax.search.gallery import Entry, Gallery
from storyjax.search.html_report import check_path, write_page
from storyjax.search.indexing import build, check_request
from storyjax.search.names import key
from storyjax.search.protocol import PERSON, THING, Personaliser, PhotoError, names_in, replace_names
from storyjax.search.query import Found, Searcher
from storyjax.search.store import Store

# Loads the model for a kind ("person", "thing").
Load = Callable[[str], Personaliser]
MOST_HITS = 1000
# Smaller photos show nothing: not even a face that fills them.
FEWEST_PIXELS = 16


def enrol(gallery: str, name: str, photos: Sequence[str], category: str | None, load: Load) -> str:
    """Enrols a name from photos, or folders of them, and returns what to say about it."""
    book = Gallery(gallery)
    name = book.check_new(name)
    if category is not None and not category.strip():
        raise StoryjaxError("--thing is empty: give the general word, for instance --thing dog")
    paths = _photo_paths(photos)
    images = [_photo(path) for path in paths]
    model = load(THING if category else PERSON)
    entry = book.add(name, model, category, _token(model, images, paths, category), images)
    return f'{_words(entry)} enrolled in {gallery}: storyjax find "An image of <{entry.name}> ..." --index DIR'


def forget(gallery: str, name: str) -> str:
    """Forgets a name, and returns what to say about it."""
    return f"'{Gallery(gallery).forget(name).name}' is forgotten: token, pictures and all"


def listing(gallery: str) -> str:
    """All that is enrolled, a line each."""
    entries = Gallery(gallery).entries()
    if not entries:
        return f"nobody is enrolled in {gallery} yet: storyjax find enrol NAME PHOTOS"
    width = max(len(entry.name) for entry in entries)
    return "\n".join(
        f"{entry.name:{width}}  {entry.category or entry.kind}, {_count(entry.photos, 'photo')}, {entry.date}"
        for entry in entries
    )


def index(folder: str, out: str, every_s: float | None, load: Load) -> str:
    """Indexes a folder, or brings its index up to date, and returns what to say about it."""
    check_request(folder, every_s)  # a slip need not wait for the model
    model = load(PERSON)
    done = build(folder, out, model, every_s, show_progress=sys.stderr.isatty())
    for name, reason in done.broken.items():
        print(f"storyjax: note: skipped {name}: {reason}", file=sys.stderr)
    parts = [f"{_count(done.videos, 'video')} ({_count(done.clips, 'clip')})" if done.videos else ""]
    parts += [_count(done.images, "image") if done.images else "", f"{done.unchanged} unchanged" * bool(done.unchanged)]
    parts += [f"{done.vanished} vanished" * bool(done.vanished), f"{len(done.broken)} skipped" * bool(done.broken)]
    return f'{", ".join(filter(None, parts))}: storyjax find "An image of <NAME> ..." --index {out}'


@dataclass(frozen=True)
class Request:
    """A search: where, for what, with which photo of whom, how many, and where the page goes."""

    prompt: str
    index: str
    gallery: str
    face: str | None = None
    top: int = 25
    page: str | None = None


def find(request: Request, load: Load) -> Found:
    """Searches an index. Raises StoryjaxError, in one line, for whatever is wrong with the request."""
    if not 1 <= request.top <= MOST_HITS:
        raise StoryjaxError(f"--top is {request.top}: give 1 to {MOST_HITS}")
    if request.page:
        check_path(request.page)
    Store.open(request.index).close()  # a slip in its name need not wait for the model
    book = Gallery(request.gallery)
    names = names_in(request.prompt)
    if not names:
        raise StoryjaxError(_nobody_named(request.prompt, book))
    photo = _photo(Path(request.face)) if request.face else None
    pictured = _pictured(names, book) if request.face else None
    entries = {name: book.get(name) for name in names if name != pictured}
    model = load(_kind(list(entries.values()), bool(request.face)))
    tokens = dict(book.tokens(list(entries.values()), model))
    if photo is not None:
        tokens[pictured] = _token(model, [photo], [Path(request.face)], None)
    with Searcher(request.index, model) as searcher:
        # A prompt may write <Ana> for 'ana'; the model is given names as they were enrolled.
        prompt = replace_names(request.prompt, lambda n: f"<{n if n == pictured else entries[n].name}>")
        found = searcher.search(model.embed_query(prompt, tokens), request.top)
    if request.page:
        write_page(request.page, request.prompt, found)
    return found


def in_words(found: Found) -> str:
    """Hits as lines: rank, similarity, times, file."""
    times = [hit.times() for hit in found.hits]
    width = max(map(len, times), default=0)
    return "\n".join(
        f"{hit.rank:>4}  {hit.score:.3f}  {time:<{width}}  {_printable(hit.path)}"
        for hit, time in zip(found.hits, times, strict=True)
    )


def to_json(request: Request, found: Found) -> dict[str, Any]:
    """A search and its hits, for other programs."""
    return {
        "prompt": request.prompt,
        "index": os.path.abspath(request.index),
        "clips": found.clips,
        "images": found.images,
        "hits": [hit.to_json() for hit in found.hits],
    }


def _kind(entries: Sequence[Entry], with_face: bool) -> str:
    kinds = {entry.kind for entry in entries} | ({PERSON} if with_face else set())
    if len(kinds) > 1:
        people = [f"<{entry.name}>" for entry in entries if entry.kind == PERSON] or ["the face"]
        things = [f"<{entry.name}>" for entry in entries if entry.kind == THING]
        raise StoryjaxError(
            f"{', '.join(people)} and {', '.join(things)} are a person and a thing, which two models know, and no"
            " prompt can hold both: name one between < and >, and say the other in general words, for instance"
            f" 'a {next(e.category for e in entries if e.kind == THING)}'"
        )
    return kinds.pop()


def _pictured(names: Sequence[str], book: Gallery) -> str:
    """Which of the prompt's names --face is a photo of: the only one, or the only one that is not enrolled."""
    if len(names) == 1:
        return names[0]
    enrolled = {key(entry.name) for entry in book.entries()}
    unknown = [name for name in names if key(name) not in enrolled]
    if len(unknown) != 1:
        which = "all of them are enrolled" if not unknown else f"{', '.join(unknown)} are not enrolled"
        raise StoryjaxError(
            f"whom does --face show? The prompt names {', '.join(names)} and {which}: name one whom it shows, and"
            " enrol the others"
        )
    return unknown[0]


def _nobody_named(prompt: str, book: Gallery) -> str:
    words = key(prompt)
    for entry in book.entries():
        if key(entry.name) in words:
            return f"the prompt names nobody: put the name between < and >, as in '<{entry.name}>'"
    known = [f"<{entry.name}>" for entry in book.entries()[:5]]
    hint = f"; enrolled are {', '.join(known)}" if known else ""
    return f"the prompt names nobody: write 'An image of <NAME> ...' with a name that is enrolled{hint}"


def _token(
    model: Personaliser, images: Sequence[UInt8[np.ndarray, "y x 3"]], paths: Sequence[Path], category: str | None
) -> Float32[np.ndarray, "c w"]:
    with tqdm(desc="learning", leave=False, delay=0.5, disable=not sys.stderr.isatty()) as bar:

        def told(done: int, of: int) -> None:
            bar.total = of
            bar.update(done - bar.n)

        try:
            return model.enrol(images, category, told)
        except PhotoError as error:
            remedy = "" if ":" in error.reason else ": give another photo, or leave it out"
            raise StoryjaxError(f"{paths[error.index]} {error.reason}{remedy}") from error


def _photo(path: Path) -> UInt8[np.ndarray, "y x 3"]:
    image = read_image(path)
    if min(image.shape[:2]) < FEWEST_PIXELS:
        raise StoryjaxError(
            f"{path} has {image.shape[1]} × {image.shape[0]} pixels, too few to show anything: give a larger photo"
        )
    return image


def _photo_paths(given: Sequence[str]) -> list[Path]:
    paths: list[Path] = []
    for text in given:
        path = Path(text)
        try:
            if not path.exists():
                raise StoryjaxError(f"{text} is not there: give photos, or a folder of them")
            inside = sorted(p for p in path.iterdir() if _is_photo(p)) if path.is_dir() else [path]
        except (OSError, ValueError) as error:
            raise StoryjaxError(f"{text!r} cannot be read ({getattr(error, 'strerror', None) or error})") from error
        if not inside:
            raise StoryjaxError(f"no photos in {text}: it should hold {', '.join(SUFFIXES[:4])} or the like")
        paths += inside
    return paths


def _is_photo(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def _words(entry: Entry) -> str:
    what = f"{entry.category} " if entry.category else ""
    return f"{what}'{entry.name}' ({_count(entry.photos, 'photo')})"


def _count(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count:,} {word}s"


def _printable(text: str) -> str:
    """A file's name on one line of a terminal, whatever it holds."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
