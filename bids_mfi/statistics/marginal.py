"""Marginal means of the factors of a user's model.

The marginal mean of a level is the model's prediction there, averaged with equal weights over all
combinations of the levels of the other factors, with covariates at the means of the participants
fitted (Searle, Speed & Milliken 1980, doi:10.1080/00031305.1980.10483031).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bids_mfi.statistics.formula_design import Columns, assemble_design, is_factor
from bids_mfi.statistics.least_squares import Fit
from bids_mfi.statistics.wilkinson import ParsedFormula

Floats = NDArray[np.float64]
NAN = float("nan")
MEANS_COLUMNS = (
    "muscle", "factor", "level", "versus", "estimate", "se", "df", "t", "p", "ci_lower",
    "ci_upper", "n",
)  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """Fit of one muscle; if there is none, None and the reason.

    Attributes
    ----------
    muscle : str
    participants : Index
        Those with a value and all columns of the model.
    fit : Fit or None
    why : str or None
    """

    muscle: str
    participants: pd.Index
    fit: Fit | None
    why: str | None = None


def tabulate_means(results: Sequence[Fitted], parsed: ParsedFormula, data: Columns) -> pd.DataFrame:
    """Marginal means of each factor that is a main effect, and all their pairwise differences.

    Parameters
    ----------
    results : sequence of Fitted
        Fits of the design of this formula.
    parsed : ParsedFormula
    data : dict of int to Series
        As from :func:`bids_mfi.statistics.formula_design.evaluate_columns`. A covariate is held at
        the mean of the values in the model, for log(age) the mean of the logarithms.

    Returns
    -------
    DataFrame
        ``MEANS_COLUMNS``, in the unit of the measure: one row per level, with ``versus`` missing
        and t and p against 0, then one row per pair, ``level`` minus ``versus``. The p-values are
        not corrected for the number of pairs. ``n`` counts the participants of the level, or of
        both.
    """
    tables = [pd.DataFrame(columns=list(MEANS_COLUMNS))]
    for place in list_factors(parsed, data):
        weights = average_rows(parsed, data, place)
        tables += [_list_levels(result, parsed, data, place, weights) for result in results]
    return pd.concat([t for t in tables if len(t)] or tables[:1], ignore_index=True)


def list_factors(parsed: ParsedFormula, data: Columns) -> list[int]:
    """Places of the factors of at least two levels that are main effects."""
    single = [term[0] for term in parsed.terms if len(term) == 1 and is_factor(data[term[0]])]
    return [place for place in single if len(data[place].cat.categories) > 1]


def describe_factors(parsed: ParsedFormula, data: Columns) -> tuple[str, ...]:
    """Say that there are no means, or in which interactions their factors are."""
    factors = list_factors(parsed, data)
    if not factors:
        return ("Marginal means: not made, because no factor of two levels is a main effect.",)
    notes = ["Marginal means: the p-values of the differences are not corrected for their number."]
    for place in factors:
        name = parsed.variables[place].name
        others = [parsed.name_term(t) for t in parsed.terms if place in t and len(t) > 1]
        if others:
            text = "are averages over it, and hide how differences change"
            notes.append(f"Marginal means: {name} is in {', '.join(others)}; its means {text}.")
    return tuple(notes)


def average_rows(parsed: ParsedFormula, data: Columns, place: int) -> Floats:
    """Row of the design for each level of a factor, with all covariates at 1.

    Each term is averaged over the levels of its own factors: the average of a term does not depend
    on factors that are not in it.

    Returns
    -------
    float64 (levels, columns)
    """
    parts = [np.ones((len(data[place].cat.categories), 1))]
    for i, term in enumerate(parsed.terms, start=1):
        factors = [place, *(other for other in term if other != place and is_factor(data[other]))]
        grid = _make_grid(data, factors)
        design = assemble_design(parsed, grid, grid[place].index)
        rows = design.matrix[:, list(design.terms[i][1])]
        parts.append(rows.reshape(len(parts[0]), -1, rows.shape[1]).mean(axis=1))
    return np.column_stack(parts)


def _make_grid(data: Columns, factors: Sequence[int]) -> Columns:
    """All combinations of these factors, the first slowest; others at their first level, or 1."""
    sizes = [len(data[place].cat.categories) for place in factors]
    codes = dict(zip(factors, np.indices(sizes).reshape(len(sizes), -1), strict=True))
    n = int(np.prod(sizes))
    return {
        place: pd.Series(
            pd.Categorical.from_codes(
                codes.get(place, np.zeros(n, np.int64)), categories=column.cat.categories
            )
            if is_factor(column)
            else np.ones(n)
        )
        for place, column in data.items()
    }


def _list_levels(
    result: Fitted, parsed: ParsedFormula, data: Columns, place: int, weights: Floats
) -> pd.DataFrame:
    """Means and differences of one factor in one muscle."""
    counts = data[place][result.participants].value_counts(sort=False).to_numpy(np.int64)
    levels = [str(level) for level in data[place].cat.categories]
    pairs = list(combinations(range(len(levels)), 2))
    left, right = (np.array([pair[side] for pair in pairs], np.int64) for side in (0, 1))
    table = pd.DataFrame(
        {
            "muscle": result.muscle,
            "factor": parsed.variables[place].name,
            "level": [*levels, *(levels[i] for i in left)],
            "versus": [*([np.nan] * len(levels)), *(levels[i] for i in right)],
            "n": np.concatenate([counts, counts[left] + counts[right]]),
        },
        columns=list(MEANS_COLUMNS),
    ).astype({"level": "object", "versus": "object"})
    if result.fit is None:
        return table.assign(**dict.fromkeys(MEANS_COLUMNS[4:-1], NAN))
    means = weights * _average_covariates(parsed, data, result.participants)
    found = result.fit.contrast(np.vstack([means, means[left] - means[right]]))
    return table.assign(**found)


def _average_covariates(parsed: ParsedFormula, data: Columns, participants: pd.Index) -> Floats:
    """For each column of the design, the product of the means of the covariates in its term."""
    design = assemble_design(parsed, data, next(iter(data.values())).index)
    factors = np.ones(design.rank)
    for term, (_, columns) in zip(parsed.terms, design.terms[1:], strict=True):
        for place in term:
            if not is_factor(data[place]):
                factors[list(columns)] *= float(data[place][participants].mean())
    return factors
