"""Which models `storyjax find` uses: a checkpoint that one trained, published networks, or what ships."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from storyjax.cli.find_things import ThingOptions
from storyjax.core.errors import StoryjaxError

if TYPE_CHECKING:
    from storyjax.search.command import Load
    from storyjax.search.protocol import ConceptEncoder
    from storyjax.weights.roles import Choice


def model_loader(
    checkpoint: str | None,
    clip: str | None = None,
    face_detector: str | None = None,
    pick: str | None = None,
    models: str | None = None,
    searched: str | None = None,
    things: ThingOptions | None = None,
) -> "Load":
    """Returns a function that loads the model of a kind ("person", "thing", "text", "images"); search imports no
    chapter.

    Without a trained model and a CLIP, the one of the role `find` in the models folder is used, if any; to search, only
    where a published one made the index; to enrol people, only beside the face encoder of the role `faces`.

    Args:
        checkpoint: a trained model; None: what the models folder has, else what comes with storyjax.
        clip: the folder of a published CLIP.
        face_detector, pick: of photos of people, as of `storyjax.clip_pad.predict.PersonFinder.from_pretrained`.
        models: the models folder; None: see `storyjax.weights.roles.models_folder`.
        searched: the index that is searched; None where none is.
        things: how a thing is enrolled; None: by whole photos, without a caption.

    Raises:
        StoryjaxError: a trained model and a CLIP are given.
    """
    if checkpoint is not None and clip is not None:
        raise StoryjaxError("--clip is a model by itself: leave --checkpoint out")
    wanted = _Wanted(checkpoint, clip, face_detector, pick, models, searched, things or ThingOptions())

    def load(kind: str) -> "ConceptEncoder":
        published = _published(kind, wanted) if checkpoint is None else None
        return published if published is not None else _trained(kind, wanted)

    return load


@dataclass(frozen=True)
class _Wanted:
    """The arguments of `model_loader`."""

    checkpoint: str | None
    clip: str | None
    face_detector: str | None
    pick: str | None
    models: str | None
    searched: str | None
    things: ThingOptions


def _trained(kind: str, wanted: _Wanted) -> "ConceptEncoder":
    """The model of a checkpoint, or what ships."""
    from storyjax.weights.roles import tell_shipped

    encoder: ConceptEncoder
    if kind == "thing":
        from storyjax.pi_map.predict import ThingFinder

        things = wanted.things
        encoder = ThingFinder.from_pretrained(wanted.checkpoint, detector=things.detector, caption=things.caption)
    else:  # CLIP-PAD's text tower reads plain words, too
        from storyjax.clip_pad.predict import PersonFinder

        encoder = PersonFinder.from_pretrained(wanted.checkpoint, detector=wanted.face_detector, pick=wanted.pick)
    tell_shipped("find", wanted.checkpoint)
    return encoder


def _published(kind: str, wanted: _Wanted) -> "ConceptEncoder | None":
    """The model of published networks; None where what ships is to be used."""
    from storyjax.weights.roles import model_for

    clip, searched = wanted.clip, wanted.searched
    used: list[Choice] = []
    if clip is None:
        choice = model_for("find", wanted.models)
        if choice.origin == "ships" or (searched is not None and not _made_by_published(searched)):
            return None
        clip, used = choice.place, [choice]
    described = kind == "person" or (kind == "images" and wanted.face_detector != "none")
    faces = model_for("faces", wanted.models) if described else None
    if faces is not None and faces.origin == "ships":
        if kind == "person" and (used == [] or searched is not None):
            raise StoryjaxError(
                "beside a published CLIP people are found by their faces: 'storyjax models get faces --from"
                " senet50_128.pth' imports the face encoder ('storyjax models' says where it is)"
            )
        if kind == "person":
            return None
        faces = None
    encoder = _assembled(kind, clip, faces.place if faces else None, wanted)
    _tell_used([*used, *([faces] if faces else [])])
    return encoder


def _assembled(kind: str, clip: str, faces: str | None, wanted: _Wanted) -> "ConceptEncoder":
    """The model of a kind made of the CLIP and the face encoder in these folders."""
    from storyjax.search.clip_encoder import ClipEncoder

    if faces is not None:
        from storyjax.clip_pad.two_stage import FaceEncoder, TwoStageFinder

        encoder = FaceEncoder.from_pretrained(faces, wanted.face_detector, wanted.pick)
        if kind == "images":
            _ = encoder.detector  # an error now, rather than after a CLIP was loaded
        return TwoStageFinder(lambda: ClipEncoder.from_pretrained(clip), encoder)
    if kind == "thing":
        from storyjax.pi_map.clip_baseline import ClipThings

        if wanted.things.caption is not None:
            raise StoryjaxError(
                "--caption teaches a π-map, which --checkpoint names: by a published CLIP a thing is the mean of its"
                " photos, with its category in the sentence, which may say more: --thing 'small brown dog'"
            )
        return ClipThings(ClipEncoder.from_pretrained(clip), wanted.things.detector)
    return ClipEncoder.from_pretrained(clip)


def _made_by_published(index: str) -> bool:
    from storyjax.search.indexing import made_by_published

    return made_by_published(index)


def _tell_used(choices: "list[Choice]") -> None:
    from storyjax.core.notes import tell
    from storyjax.weights.roles import used_line

    if choices:
        tell(used_line("find", choices))
