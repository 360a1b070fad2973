"""Methods and results of a group run in words for a paper; must not know files or pages."""

import math
from collections.abc import Iterable, Mapping
from importlib import metadata
from typing import Any

import pandas as pd

from bids_mfi import __version__
from bids_mfi.group.cohort import MEAN
from bids_mfi.report.agreement_page import MINUS, format_p

Row = dict[str, Any]

CITED = {
    "weber2021": (
        "Weber KA II, Abbott R, Bojilov V, et al. Multi-muscle deep learning segmentation to "
        "automate the quantification of muscle fat infiltration in cervical spine conditions. "
        "Scientific Reports 2021;11:16567. doi:10.1038/s41598-021-95972-x"
    ),
    "greenhouse1959": (
        "Greenhouse SW, Geisser S. On methods in the analysis of profile data. Psychometrika "
        "1959;24:95-112. doi:10.1007/BF02289823"
    ),
    "huynh1976": (
        "Huynh H, Feldt LS. Estimation of the Box correction for degrees of freedom from sample "
        "data in randomized block and split-plot designs. Journal of Educational Statistics "
        "1976;1:69-82. doi:10.3102/10769986001001069"
    ),
    "lecoutre1991": (
        "Lecoutre B. A correction for the epsilon approximate test in repeated measures designs "
        "with two or more independent groups. Journal of Educational Statistics 1991;16:371-372. "
        "doi:10.3102/10769986016004371"
    ),
    "mauchly1940": (
        "Mauchly JW. Significance test for sphericity of a normal n-variate distribution. Annals "
        "of Mathematical Statistics 1940;11:204-209. doi:10.1214/aoms/1177731915"
    ),
    "seabold2010": (
        "Seabold S, Perktold J. statsmodels: econometric and statistical modeling with Python. "
        "Proceedings of the 9th Python in Science Conference 2010:92-96. "
        "doi:10.25080/Majora-92bf1922-011"
    ),
    "virtanen2020": (
        "Virtanen P, Gommers R, Oliphant TE, et al. SciPy 1.0: fundamental algorithms for "
        "scientific computing in Python. Nature Methods 2020;17:261-272. "
        "doi:10.1038/s41592-019-0686-2"
    ),
    "holm1979": (
        "Holm S. A simple sequentially rejective multiple test procedure. Scandinavian Journal of "
        "Statistics 1979;6:65-70."
    ),
    "fdr_bh1995": (
        "Benjamini Y, Hochberg Y. Controlling the false discovery rate: a practical and powerful "
        "approach to multiple testing. Journal of the Royal Statistical Society B 1995;57:289-300. "
        "doi:10.1111/j.2517-6161.1995.tb02031.x"
    ),
    "bland1999": (
        "Bland JM, Altman DG. Measuring agreement in method comparison studies. Statistical "
        "Methods in Medical Research 1999;8:135-160. doi:10.1177/096228029900800204"
    ),
    "pinheiro2000": (
        "Pinheiro JC, Bates DM. Mixed-effects models in S and S-PLUS. Springer 2000. "
        "doi:10.1007/b98882"
    ),
}
RULES = {
    "both": "A muscle counted when both sides were measured; each analysis left out the "
    "participants who lacked what it needs.",
    "complete": "Only participants with all muscles on both sides, sex, age and BMI were analysed.",
    "any": "A muscle of which one side was missing was represented by the other side; each "
    "analysis left out the participants who lacked what it needs.",
}
CORRECTIONS = {
    "none": "p-values were not corrected for multiple comparisons.",
    "holm": "p-values were corrected for multiple comparisons by Holm's method, within the pairs "
    "of muscles and within the muscles.",
    "fdr_bh": "The false discovery rate was controlled by the method of Benjamini and Hochberg, "
    "within the pairs of muscles and within the muscles.",
}

ANALYSES = (
    "MFI was compared between muscles by a repeated-measures ANCOVA with muscle as "
    "within-participant factor, sex as between-participant factor and age and BMI as covariates "
    "(Type III sums of squares, covariates as they are; with centred covariates beside it), with "
    "the Greenhouse-Geisser correction of the degrees of freedom, and by two-tailed paired "
    "t-tests. "
    "Sex differences within each muscle and in the mean of all muscles were tested by ANCOVA with "
    "age and BMI as covariates; estimated marginal means are given at the mean age and BMI. "
    "Two-tailed partial Pearson correlations were calculated between MFI and age (controlling for "
    "sex and BMI) and between MFI and BMI (controlling for sex and age)."
)
FURTHER = {
    "change": "Change between sessions was tested by paired t-tests and by linear mixed models "
    "with a random intercept of the participant (REML; degrees of freedom by containment, "
    "Pinheiro and Bates 2000). Where a session held repeated scans, the smallest detectable change "
    "is 1.96 sqrt(2) times the within-subject standard deviation (Bland and Altman 1999).",
    "centiles": "Centiles are those of a linear model with sex, age and BMI in the controls, with "
    "the t distribution of a new observation; each control was left out of the model that judged "
    "it.",
    "model": "The further model was fitted to each muscle and to the mean of all muscles by least "
    "squares, with Type III tests and sum contrasts.",
}


def write_methods(
    facts: dict[str, str], missing: str, correction: str, further: tuple[str, ...] = ()
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Write the methods of a run.

    Parameters
    ----------
    facts : dict
        ``bundles``, ``session`` (with a leading space, or empty), ``participants``, ``fat_water``.
    missing, correction : str
        As in RunOptions.
    further : tuple of str
        Of ``change``, ``centiles``, ``model``, those that were made.

    Returns
    -------
    (tuple of str, tuple of str)
        Paragraphs, and the references they rest on.
    """
    versions = {name: metadata.version(name) for name in ("statsmodels", "scipy")}
    paragraphs = [
        "Muscle fat infiltration (MFI) of the neck muscles was measured with bids_mfi "
        f"{__version__} (model: {facts['bundles']}; fat and water: {facts['fat_water']}), which "
        "follows Weber et al. 2021: MFI = 100 F / (F + W), F and W being the mean fat and water "
        "signal of the muscle's voxels. The label maps were made by a neural network; see the "
        "participants' reports for their quality flags. The values of the left and right side "
        f"were averaged. {RULES[missing]}",
        f"{facts['participants']} participants{facts['session']} were analysed. {ANALYSES} "
        f"{CORRECTIONS[correction]}",
        *(FURTHER[name] for name in further),
        f"Statistics were calculated with statsmodels {versions['statsmodels']}, SciPy "
        f"{versions['scipy']} and bids_mfi's own repeated-measures ANCOVA, which is tested against "
        "the packages car, afex and emmeans of R.",
    ]
    keys = ["weber2021", "greenhouse1959", "huynh1976", "lecoutre1991", "mauchly1940"]
    keys += {"holm": ["holm1979"], "fdr_bh": ["fdr_bh1995"]}.get(correction, [])
    keys += ["pinheiro2000", "bland1999"] if "change" in further else []
    keys += ["seabold2010", "virtanen2020"]
    return tuple(paragraphs), tuple(CITED[key] for key in keys)


# --- results -----------------------------------------------------------------------------------

ALPHA = 0.05
MODERATE_R = 0.3  # of the paper: below, a correlation is weak


def write_results(tables: Mapping[str, pd.DataFrame], correction: str) -> tuple[str, ...]:
    """Write the results in the order of the paper; what could not be estimated gives no sentence.

    Parameters
    ----------
    tables : mapping of str to DataFrame
        ``rmancova``, ``pairedt``, ``ancova`` and ``partialcorr`` of MFI.
    correction : str
        As in RunOptions; decides which p-values count.
    """
    adjusted = "" if correction == "none" else "_adjusted"
    how = f"p < {ALPHA:.2f}, {'not corrected' if correction == 'none' else 'corrected'}"
    sentences = (
        *_tell_omnibus(_records(tables["rmancova"])),
        *_tell_pairs(tables["pairedt"][f"p{adjusted}"].dropna(), how),
        *_tell_mean(_records(tables["ancova"])),
        *_tell_sexes(_records(tables["ancova"]), f"p_sex{adjusted}", how),
        *_tell_correlations(tables["partialcorr"]),
    )
    return tuple(sentences)


def _records(table: pd.DataFrame) -> list[Row]:
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def _tell_omnibus(effects: list[Row]) -> Iterable[str]:
    raw = {(row["effect"], row["correction"]): row for row in effects if row["covariates"] == "raw"}
    within, between = raw["muscle", "greenhouse_geisser"], raw["sex", "none"]
    if math.isfinite(within["p"]) and math.isfinite(between["p"]):
        yield (
            "A repeated-measures ANCOVA with age and BMI as covariates gave a within-participant "
            f"effect of the muscle of F({within['df1']:.1f}, {within['df2']:.1f}) = "
            f"{within['f']:.3f}, {_tell_p(within['p'])} (Greenhouse-Geisser; at age 0 and BMI 0, "
            "as SPSS tests it) and a between-participant effect of sex of "
            f"F({between['df1']:.0f}, {between['df2']:.0f}) = {between['f']:.3f}, "
            f"{_tell_p(between['p'])}."
        )


def _tell_pairs(p: "pd.Series[Any]", how: str) -> Iterable[str]:
    if len(p):
        different = int((p < ALPHA).sum())
        pairs = f"{different} of {len(p)} pairs"
        yield f"MFI differed between muscles in {pairs} (paired t-tests, {how})."


def _tell_mean(ancova: list[Row]) -> Iterable[str]:
    mean = next(row for row in ancova if row["muscle"] == MEAN)
    if math.isfinite(mean["p_sex"]):
        higher = "higher" if mean["diff_f_minus_m"] >= 0 else "lower"
        yield (
            f"In the mean of all muscles females had {abs(mean['diff_f_minus_m']):.1f} ± "
            f"{mean['diff_se']:.1f} percentage points {higher} MFI than males "
            f"({_tell_p(mean['p_sex'])}, n = {mean['n']:.0f})."
        )


def _tell_sexes(ancova: list[Row], column: str, how: str) -> Iterable[str]:
    tested = [row for row in ancova if row["muscle"] != MEAN and math.isfinite(row[column])]
    if not tested:
        return
    parts = []
    for word, sign in (("higher", 1), ("lower", -1)):
        found = [row for row in tested if row[column] < ALPHA and row["diff_f_minus_m"] * sign > 0]
        if found:
            parts.append(f"{word} MFI than males in {_join(row['muscle'] for row in found)}")
    if parts:
        yield f"Females had {' and '.join(parts)} ({how})."
    else:
        yield f"In no single muscle did the sexes differ ({how})."


def _tell_correlations(partial: pd.DataFrame) -> Iterable[str]:
    for x, word in (("age", "age"), ("bmi", "BMI")):
        rows = partial[(partial["x"] == x) & partial["r"].notna()]
        if rows.empty:
            continue
        moderate = rows[rows["r"].abs() > MODERATE_R]
        where = (
            f"beyond ±{MODERATE_R:.1f} in {_join(moderate['muscle'])}"
            if len(moderate)
            else f"within ±{MODERATE_R:.1f} in all muscles"
        )
        low, high = (f"{r:.2f}".replace("-", MINUS) for r in (rows["r"].min(), rows["r"].max()))
        yield f"Partial correlations of MFI with {word} were {where} (r from {low} to {high})."


def _join(names: Iterable[Any]) -> str:
    *most, last = map(str, names)
    return f"{', '.join(most)} and {last}" if most else last


def _tell_p(p: float) -> str:
    """State p with its sign.

    >>> _tell_p(1e-9), _tell_p(0.0211)
    ('p < 0.001', 'p = 0.021')
    """
    text = format_p(p)
    return f"p < {text[1:]}" if text.startswith("<") else f"p = {text}"
