"""p-values adjusted for multiple comparisons."""

import numpy as np
import pandas as pd
from statsmodels.stats.multitest import multipletests


def adjust_p(p: pd.Series, method: str) -> pd.Series:
    """Adjust one family of tests.

    Parameters
    ----------
    p : Series of float64
        Raw p-values; NaN does not belong to the family.
    method : str
        ``holm`` (Holm 1979) or ``fdr_bh`` (Benjamini & Hochberg 1995,
        doi:10.1111/j.2517-6161.1995.tb02031.x).

    Examples
    --------
    >>> adjust_p(pd.Series([0.01, float("nan"), 0.04]), "holm").tolist()
    [0.02, nan, 0.04]
    """
    adjusted = pd.Series(np.nan, index=p.index, dtype=np.float64)
    tested = p.notna()
    if tested.any():
        adjusted[tested] = multipletests(p[tested].to_numpy(np.float64), method=method)[1]
    return adjusted


def add_adjusted(
    table: pd.DataFrame, columns: tuple[str, ...], method: str, family: str | None = None
) -> pd.DataFrame:
    """Put an adjusted column ``X_adjusted`` after each column of p-values.

    Parameters
    ----------
    table : DataFrame
    columns : tuple of str
        Columns of p-values; each is a family of its own.
    method : str
        ``none`` adds nothing.
    family : str, optional
        Column whose values split a column of p-values into families.
    """
    if method == "none":
        return table
    found = table.copy()
    for name in columns:
        groups = [found.index] if family is None else found.groupby(family).groups.values()
        adjusted = pd.Series(np.nan, index=found.index, dtype=np.float64)
        for rows in groups:
            adjusted[rows] = adjust_p(found.loc[rows, name], method)
        found.insert(list(found.columns).index(name) + 1, f"{name}_adjusted", adjusted)
    return found
