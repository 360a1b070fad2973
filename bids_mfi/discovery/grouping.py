"""From a participant's images to groups of one scan each."""

from collections import defaultdict
from collections.abc import Iterable

from bids_mfi.discovery.classify import PHASES, Image, Verdict, classify
from bids_mfi.discovery.filters import FilterQueries
from bids_mfi.discovery.glued import find_glued
from bids_mfi.discovery.groups import Group, ScanKey, shared_key
from bids_mfi.discovery.hints import weigh_texts
from bids_mfi.discovery.reunion import reunite


def group_images(images: Iterable[Image], queries: FilterQueries) -> list[Group]:
    """Group images by what their names share.

    Without a query for a phase, names may also differ in the counters that converters add. With
    one, the user has said what belongs together.
    """
    known = list(images)
    glued = find_glued(known)
    verdicts = [classify(image, queries, glued.get(image.shown, {})) for image in known]
    groups: dict[ScanKey, list[Verdict]] = defaultdict(list)
    telling = queries.telling_keys()
    for verdict in weigh_texts(verdicts):
        groups[shared_key(verdict, telling)].append(verdict)
    grouped = [Group(key, tuple(group)) for key, group in groups.items()]
    return grouped if queries.contrasts & PHASES else reunite(grouped)
