"""The tables of Weber et al. 2021 from many scans."""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from bids_mfi.evaluation.scans import METRICS, SURFACES, MuscleRow
from bids_mfi.muscles import rank_muscle
from bids_mfi.paired_tables import PairedTables
from bids_mfi.statistics.agreement import measure_agreement
from bids_mfi.statistics.cohort import MEASURES
from bids_mfi.statistics.summaries import MuscleAgreement, SegmentationSummary, summarise
from bids_mfi.tables import name_scan


def summarise_segmentation(rows: Iterable[MuscleRow]) -> tuple[SegmentationSummary, ...]:
    """Mean of every metric over scans (Table 4), in the paper's order of muscles."""
    return tuple(_summarise_muscle(group) for group in _group(rows))


def _group(rows: Iterable[MuscleRow]) -> list[list[MuscleRow]]:
    groups: dict[tuple[str, str], list[MuscleRow]] = {}
    for row in rows:
        groups.setdefault((row.muscle.muscle, row.muscle.hemi), []).append(row)
    return [groups[key] for key in sorted(groups, key=lambda key: rank_muscle(*key))]


def _summarise_muscle(rows: Sequence[MuscleRow]) -> SegmentationSummary:
    muscle = rows[0].muscle
    return SegmentationSummary(
        muscle=muscle.muscle,
        hemi=muscle.hemi,
        index=muscle.index,
        scans=sum(row.counts.tp + row.counts.fn > 0 for row in rows),
        missed=sum(row.counts.missed for row in rows),
        invented=sum(row.counts.invented for row in rows),
        metrics=tuple(
            (name, summarise(row.metric(name) for row in rows)) for name in (*METRICS, *SURFACES)
        ),
    )


def agree_on_scans(rows: Iterable[MuscleRow], unpaired: int) -> tuple[MuscleAgreement, ...]:
    """Agreement on MFI and volume of every muscle and side (Tables 2 and 3).

    Parameters
    ----------
    rows : iterable of MuscleRow
    unpaired : int
        Scans that only one folder has.
    """
    return tuple(
        make_agreement(
            (group[0].muscle.muscle, group[0].muscle.hemi, measure),
            [row.scan for row in group],
            [getattr(row, f"{column}_truth") for row in group],
            [getattr(row, f"{column}_prediction") for row in group],
            unpaired,
        )
        for group in _group(rows)
        for measure, column in MEASURES.items()
    )


def agree_on_tables(paired: PairedTables) -> tuple[MuscleAgreement, ...]:
    """Agreement of two tables on every muscle and side in either of them."""
    return tuple(
        _agree_on_rows(str(muscle), str(hemi), measure, rows)
        for (muscle, hemi), rows in paired.rows.groupby(["muscle", "hemi"], sort=False)
        for measure in MEASURES
    )


def _agree_on_rows(muscle: str, hemi: str, measure: str, rows: pd.DataFrame) -> MuscleAgreement:
    both = rows[rows["found_in"] == "both"]
    column = MEASURES[measure]
    return make_agreement(
        (muscle, hemi, measure),
        [name_scan(row) for _, row in both.iterrows()],
        both[f"{column}_reference"].tolist(),
        both[f"{column}_compared"].tolist(),
        len(rows) - len(both),
    )


def make_agreement(
    what: tuple[str, str, str],
    names: Sequence[str],
    reference: Sequence[float],
    compared: Sequence[float],
    unpaired: int,
) -> MuscleAgreement:
    """Measure the agreement on one muscle, side and measure.

    Examples
    --------
    >>> gap = float("nan")
    >>> found = make_agreement(("TR", "L", "mfi"), ["a", "b"], [10.0, gap], [12.0, 9.0], 3)
    >>> found.agreement.n, found.agreement.bias, found.n_missing, found.n_unpaired
    (1, 2.0, 1, 3)
    """
    muscle, hemi, measure = what
    apart = np.asarray(compared, dtype=np.float64) - np.asarray(reference, dtype=np.float64)
    return MuscleAgreement(
        muscle=muscle,
        hemi=hemi,
        measure=measure,
        names=tuple(names),
        reference=tuple(float(value) for value in reference),
        compared=tuple(float(value) for value in compared),
        agreement=measure_agreement(reference, compared),
        n_missing=int(np.count_nonzero(~np.isfinite(apart))),
        n_unpaired=unpaired,
    )
