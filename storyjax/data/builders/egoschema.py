"""EgoSchema: questions about three-minute clips of Ego4D, five long options each (Mangalam et al. 2023; thesis §3.3.3).

The official layout, read from `root`:

    questions.json          [{"q_uid", "question", "option 0" ... "option 4", ...}, ...], 5,031 of them
    subset_answers.json     {q_uid: 0-based answer}, the 500 whose answers are public
    videos/q_uid.mp4        the clips

Split "subset" is the public 500, "full" all questions, with answer -1 where it is not public. The data set has no
training part (§3.6.2): storyjax/data/builders/ego4d_narrations.py is what it is trained for.
"""

from pathlib import Path
from typing import ClassVar

from storyjax.data.builders.segments import SegmentBuilder, SegmentListing, find_video, read_json

OPTIONS = 5
HIDDEN = -1  # the answer of a question whose answer is not public
_INSTRUCTIONS = (
    "get questions.json and subset_answers.json of https://github.com/egoschema/EgoSchema and the clips that its README"
    " links to (as videos/q_uid.mp4), under Ego4D's licence, and put them in that folder"
)


class EgoSchema(SegmentBuilder):
    """EgoSchema; one record a clip with its question."""

    TITLE = "EgoSchema"
    SPLITS = ("subset", "full")
    COLUMNS: ClassVar = {"question": "text", "options": "text", "answer": "int"}
    WIDTH: ClassVar = {"options": OPTIONS}
    MANUAL_DOWNLOAD_INSTRUCTIONS = _INSTRUCTIONS

    @staticmethod
    def read(root: Path, split: str) -> SegmentListing:
        """Returns the annotated videos of a split; see `OfficialBuilder`."""
        table = read_json(root / "questions.json", list, "EgoSchema", _INSTRUCTIONS)
        answers = read_json(root / "subset_answers.json", dict, "EgoSchema", _INSTRUCTIONS)
        found = SegmentListing()
        asked: set[str] = set()
        for number, row in enumerate(table):
            uid = str(row.get("q_uid", "")) if isinstance(row, dict) else ""
            asked.add(uid)
            if split == "subset" and uid not in answers:
                continue
            found.rows += 1
            where = f"questions.json entry {number} ({uid or 'without q_uid'})"
            if not uid or uid in found.videos:
                found.leave_out(f"{where}: its q_uid is {'there twice' if uid else 'missing'}")
                continue
            options = [str(row.get(f"option {i}") or "").strip() for i in range(OPTIONS)]
            question, answer = str(row.get("question") or "").strip(), answers.get(uid, HIDDEN)
            if not question or not all(options):
                found.leave_out(f"{where}: its question or an option is empty")
            elif answer not in range(HIDDEN, OPTIONS):
                found.leave_out(f"{where}: answer {answer!r} is not one of 0 to {OPTIONS - 1}")
            elif annotated := found.video(uid, *find_video([root / "videos"], uid), rows=1):
                annotated.add(question=question, options=options, answer=int(answer))
        for uid in answers.keys() - asked:
            found.refuse(f"subset_answers.json answers {uid:.40}, which questions.json does not ask")
        return found
