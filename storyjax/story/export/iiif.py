"""A film as a IIIF Presentation 3.0 manifest with W3C Web Annotations: who is seen, and who says what.

A viewer of such manifests (Mirador, Universal Viewer, Ramp) shows them beside the film. Who is seen is a tag on a part
of the canvas in time; what is said supplements it, as a transcript does.
"""

import mimetypes
from typing import Any
from urllib.parse import quote

from storyjax.story.rows import Film
from storyjax.story.store import Story

CONTEXT = "http://iiif.io/api/presentation/3/context.json"


def to_iiif(story: Story, film: Film, base: str) -> dict[str, Any]:
    """Returns the manifest of a film.

    Args:
        story, film: what is written.
        base: the address under which the manifest, as NAME.json, and the film's file will be found.
    """
    base = base.rstrip("/")
    here = f"{base}/{quote(film.name)}"
    canvas = f"{here}/canvas"
    duration = max(round(film.duration_s, 3), 0.001)
    file = film.path.rsplit("/", 1)[-1]
    media = {
        "id": f"{base}/{quote(file)}",
        "type": "Video" if film.has_video else "Sound",
        "format": mimetypes.guess_type(file)[0] or "video/mp4",
        "duration": duration,
    }
    size = {"width": film.width, "height": film.height} if film.has_video else {}
    painting = {
        "id": f"{canvas}/painting/1",
        "type": "Annotation",
        "motivation": "painting",
        "body": media | size,
        "target": canvas,
    }
    return {
        "@context": CONTEXT,
        "id": f"{here}.json",
        "type": "Manifest",
        "label": {"none": [film.name]},
        "items": [
            {
                "id": canvas,
                "type": "Canvas",
                "duration": duration,
                **size,
                "items": [{"id": f"{canvas}/painting", "type": "AnnotationPage", "items": [painting]}],
                "annotations": [
                    _page(f"{canvas}/seen", "seen", _seen(story, film, canvas)),
                    _page(f"{canvas}/said", "said", _said(story, film, canvas)),
                ],
            }
        ],
    }


def _page(id: str, label: str, items: list[dict[str, Any]]) -> dict[str, Any]:
    numbered = [{"id": f"{id}/{number}", **item} for number, item in enumerate(items, 1)]
    return {"id": id, "type": "AnnotationPage", "label": {"en": [label]}, "items": numbered}


def _seen(story: Story, film: Film, canvas: str) -> list[dict[str, Any]]:
    names = {entity.id: entity.name for entity in story.entities()}
    return [
        _annotation("tagging", names[one.entity], canvas, one.start_s, one.end_s) for one in story.appearances(film.id)
    ]


def _said(story: Story, film: Film, canvas: str) -> list[dict[str, Any]]:
    return [
        _annotation("supplementing", f"{one.label}: {one.text}", canvas, one.start_s, one.end_s)
        for one in story.utterances(film.id)
    ]


def _annotation(motivation: str, text: str, canvas: str, start_s: float, end_s: float) -> dict[str, Any]:
    return {
        "type": "Annotation",
        "motivation": motivation,
        "body": {"type": "TextualBody", "value": text, "format": "text/plain"},
        "target": f"{canvas}#t={max(start_s, 0):.3f},{max(end_s, start_s + 0.001):.3f}",
    }
