"""MSR-VTT: 10,000 short clips with twenty captions each (Xu et al. 2016; thesis §3.3.1).

The official layout, read from `root`:

    train_val_videodatainfo.json, test_videodatainfo.json   (or one MSRVTT_data.json with all)
        {"videos": [{"video_id", "split": "train"|"validate"|"test", ...}], "sentences": [{"video_id", "caption"}]}
    TrainValVideo/videoN.mp4, TestVideo/videoN.mp4          (or videos/all/videoN.mp4)

Where there are all three files, captions of a clip are read from MSRVTT_data.json, and from the others those of clips
that it has no captions of.
"""

from pathlib import Path
from typing import ClassVar

from storyjax.core.errors import StoryjaxError
from storyjax.data.builders.segments import SegmentBuilder, SegmentListing, find_video, read_json

_INSTRUCTIONS = (
    "get train_val_videodatainfo.json, test_videodatainfo.json and the clips (TrainValVideo, TestVideo) of MSR-VTT from"
    " Microsoft Research (https://www.microsoft.com/en-us/research/publication/msr-vtt-a-large-video-description-"
    "dataset-for-bridging-video-and-language/) and put them in that folder"
)
_FILES = ("MSRVTT_data.json", "train_val_videodatainfo.json", "test_videodatainfo.json")
_SPLITS = ("train", "validate", "test")
_FOLDERS = ("TrainValVideo", "TestVideo", "videos/all", "videos")


class MsrVtt(SegmentBuilder):
    """MSR-VTT; one record a clip with its captions."""

    TITLE = "MSR-VTT"
    SPLITS = ("train", "val", "test")
    COLUMNS: ClassVar = {"caption": "text"}
    MANUAL_DOWNLOAD_INSTRUCTIONS = _INSTRUCTIONS

    @staticmethod
    def read(root: Path, split: str) -> SegmentListing:
        """Returns the annotated videos of a split; see `OfficialBuilder`."""
        tables = [root / name for name in _FILES if (root / name).exists()]
        if not tables:
            raise StoryjaxError(f"MSR-VTT is not in {root} ({_FILES[1]} is missing): {_INSTRUCTIONS}")
        folders = [root / name for name in _FOLDERS]
        found = SegmentListing()
        seen: set[str] = set()
        missing: set[str] = set()
        for path in tables:
            table = read_json(path, dict, "MSR-VTT", _INSTRUCTIONS)
            official = "validate" if split == "val" else split
            videos = [video for _, video in found.objects(table, "videos", path.name)]
            splits = {str(video.get("video_id")): video.get("split") for video in videos}
            wanted = {video for video, named in splits.items() if named == official} - seen
            unknown = {video for video, named in splits.items() if named not in _SPLITS}
            for number, row in found.objects(table, "sentences", path.name):
                video = str(row.get("video_id"))
                if video not in splits or video in unknown:
                    what = "is not listed" if video not in splits else f"is of the split {splits[video]!r:.40}"
                    found.refuse(f"{path.name} sentence {number}: its video {video:.40} {what}")
                    continue
                if video not in wanted:
                    continue
                found.rows += 1
                seen.add(video)
                caption = " ".join(str(row.get("caption") or "").split())
                if not caption:
                    found.leave_out(f"{path.name} sentence {number} (video {video}): its caption is empty")
                elif video in missing:
                    found.lost += 1
                elif video in found.videos:  # a file is looked for once, not once a caption
                    found.videos[video].add(caption=caption)
                elif annotated := found.video(video, *find_video(folders, video), rows=1):
                    annotated.add(caption=caption)
                else:
                    missing.add(video)
        return found
