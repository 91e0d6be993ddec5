"""The figures of single results of thesis Ch. 4 and 5: pages on which right and wrong ones are marked."""

from dataclasses import replace

from storyjax.reproduce.schema import Page, Table
from storyjax.reproduce.tables.clip_pad import TABLE_4_2, TABLE_4_6
from storyjax.reproduce.tables.pi_map import TABLE_5_3, TABLE_5_4

_PEOPLE = "storyjax.clip_pad.qualitative:ranked_queries"
_THINGS = "storyjax.pi_map.qualitative:ranked_queries"


def _figure(number: str, title: str, of: Table, panel: str, row: str, function: str, argument: str) -> Table:
    """A page of the run of a row of another table, with that panel's numbers."""
    (chosen,) = (each for each in of.panels if each.key == panel)
    (variant,) = (each.variant for each in chosen.rows if each.label == row)
    panels, page = (replace(chosen, key="a", cited=()),), Page(variant, function, argument)
    return replace(of, number=number, title=title, panels=panels, page=page)


TABLES = (
    _figure(
        "fig4.3",
        "people, places and people in places that queries find (also Fig. 4.5)",
        TABLE_4_2,
        "b",
        "mAP: text+img",
        _PEOPLE,
        "cip:face_seen,face_unseen,places,compound",
    ),
    _figure("fig4.4", "what a season's query finds first", TABLE_4_6, "a", "R@25: as it is", _PEOPLE, "season:season"),
    _figure(
        "fig4.6",
        "the same, tuned on the cast (also Fig. 4.7: right ones below the first 25)",
        TABLE_4_6,
        "a",
        "R@25: tuned on the cast",
        _PEOPLE,
        "season:season",
    ),
    _figure("fig5.5", "things that context queries find", TABLE_5_3, "a", "ours, text, MRR", _THINGS, "context"),
    _figure("fig5.7", "people that context queries find", TABLE_5_4, "a", "ours, text, R@1", _THINGS, "context"),
)
