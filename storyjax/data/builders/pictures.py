"""The old name of `detection`, until every chapter has the new one."""

from storyjax.data.builders.detection import DetectionSource as PictureSource

__all__ = ["PictureSource"]
