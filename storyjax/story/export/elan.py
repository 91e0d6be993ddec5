"""ELAN's annotation format (.eaf, version 3.0): tiers of who is seen, who speaks, shots and things.

ELAN (Max Planck Institute for Psycholinguistics) is what linguists and film scholars annotate video with. Every tier is
time-alignable: its annotations have an extent and do not overlap, so what is said at once by one person is cut where
the next sentence begins.
"""

import datetime
import mimetypes
import re
from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

from storyjax.story.rows import Film
from storyjax.story.store import Story

_TYPE = "default-lt"
_SCHEMA = "http://www.mpi.nl/tools/elan/EAFv3.0.xsd"
# What XML 1.0 cannot hold.
_NO_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

Span = tuple[float, float, str]  # start and end in seconds, and a text


def to_eaf(story: Story, film: Film, media: Path | None = None) -> str:
    """Returns the annotation document of a film.

    Args:
        story, film: what is written.
        media: the film's file as the document should name it; None: no media are linked.
    """
    tiers = _tiers(story, film)
    slots: list[int] = []
    bodies, number = [], 0
    for name, spans in tiers:
        rows = []
        for start, end, text in spans:
            number += 1
            slots += [start, end]
            first = len(slots) - 1
            rows.append(
                f'        <ANNOTATION>\n            <ALIGNABLE_ANNOTATION ANNOTATION_ID="a{number}"'
                f' TIME_SLOT_REF1="ts{first}" TIME_SLOT_REF2="ts{first + 1}">\n'
                f"                <ANNOTATION_VALUE>{escape(xml_text(text))}</ANNOTATION_VALUE>\n"
                "            </ALIGNABLE_ANNOTATION>\n        </ANNOTATION>\n"
            )
        bodies.append(
            f"    <TIER LINGUISTIC_TYPE_REF={quoteattr(_TYPE)} TIER_ID={quoteattr(name)}>\n{''.join(rows)}    </TIER>\n"
        )
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    order = "".join(
        f'        <TIME_SLOT TIME_SLOT_ID="ts{i}" TIME_VALUE="{slot}"/>\n' for i, slot in enumerate(slots, 1)
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<ANNOTATION_DOCUMENT AUTHOR="storyjax" DATE="{now}" FORMAT="3.0" VERSION="3.0"'
        f' xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:noNamespaceSchemaLocation="{_SCHEMA}">\n'
        f'    <HEADER MEDIA_FILE="" TIME_UNITS="milliseconds">\n{_media(media)}    </HEADER>\n'
        f"    <TIME_ORDER>\n{order}    </TIME_ORDER>\n{''.join(bodies)}"
        f'    <LINGUISTIC_TYPE GRAPHIC_REFERENCES="false" LINGUISTIC_TYPE_ID="{_TYPE}" TIME_ALIGNABLE="true"/>\n'
        "</ANNOTATION_DOCUMENT>\n"
    )


def _media(media: Path | None) -> str:
    if media is None:
        return ""
    kind = mimetypes.guess_type(media.name)[0] or "video/*"
    url = quoteattr(media.resolve().as_uri())
    relative = quoteattr(f"./{xml_text(media.name)}")
    return f'        <MEDIA_DESCRIPTOR MEDIA_URL={url} MIME_TYPE="{kind}" RELATIVE_MEDIA_URL={relative}/>\n'


def _tiers(story: Story, film: Film) -> list[tuple[str, list[tuple[int, int, str]]]]:
    """The tiers with their spans in milliseconds; those without any are left out."""
    names = {entity.id: entity.name for entity in story.entities()}
    said: dict[str, list[Span]] = {}
    for line in story.utterances(film.id):
        said.setdefault(line.label, []).append((line.start_s, line.end_s, line.text))
    seen: dict[str, list[Span]] = {}
    for one in story.appearances(film.id):
        seen.setdefault(names[one.entity], []).append((one.start_s, one.end_s, names[one.entity]))
    shots = [(one.start_s, one.end_s, f"shot {one.number + 1}") for one in story.shots(film.id)]
    captions = {shot.id: (shot.start_s, shot.end_s) for shot in story.shots(film.id)}
    shown: dict[str, list[Span]] = {}
    for caption in story.captions(film.id):
        shown.setdefault(caption.kind, []).append((*captions[caption.shot], caption.text))
    tiers = {"shots": shots} | {f"{kind}s": spans for kind, spans in sorted(shown.items())}
    tiers |= {f"{name} seen": spans for name, spans in sorted(seen.items())}
    tiers |= {f"{name} said": spans for name, spans in sorted(said.items())}
    found: dict[str, list[tuple[int, int, str]]] = {}
    for name, spans in tiers.items():
        if spans:
            found.setdefault(xml_text(name), []).extend(apart(spans))
    return list(found.items())


def apart(spans: Sequence[Span]) -> list[tuple[int, int, str]]:
    """Returns spans in milliseconds, in order, none of which overlaps the next; each lasts a millisecond at least."""
    found: list[tuple[int, int, str]] = []
    for start_s, end_s, text in sorted(spans):
        start, end = round(start_s * 1000), round(end_s * 1000)
        if found:
            before, until, words = found[-1]
            found[-1] = (before, max(before + 1, min(until, start)), words)
            start = max(start, found[-1][1])
        found.append((start, max(end, start + 1), text))
    return found


def xml_text(text: str) -> str:
    """Returns text without the characters that XML cannot hold."""
    return _NO_XML.sub("\N{REPLACEMENT CHARACTER}", text)
