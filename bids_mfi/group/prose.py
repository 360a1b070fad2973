"""Methods and results of a group run in words for a paper."""

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import pandas as pd

from bids_mfi import __version__
from bids_mfi.counts import choose_form, count_noun
from bids_mfi.options import RunOptions
from bids_mfi.report.numbers import format_number, format_one, format_p, format_spread, format_test
from bids_mfi.statistics.cohort import MEAN

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
WHOLE = "all"  # in the column levels
RULES = {
    "both": "A muscle counted if both sides were measured; each analysis left out the participants "
    "who lacked what it needs.",
    "complete": "Only participants with all muscles on both sides, sex, age and BMI were analysed.",
    "any": "A muscle with one side missing was represented by the other side; each analysis left "
    "out the participants who lacked what it needs.",
}
FAMILIES = (
    "within the pairs of muscles (t-tests; correlations) and within the muscles (sex, age, BMI; "
    "partial correlations); all other p-values were not corrected."
)
CORRECTIONS = {
    "none": "p-values were not corrected for multiple comparisons.",
    "holm": f"p-values were corrected by Holm's method {FAMILIES}",
    "fdr_bh": "The false discovery rate was controlled by the method of Benjamini and Hochberg "
    f"{FAMILIES}",
}
ANALYSES = (
    "MFI was compared between muscles by a repeated-measures ANCOVA with muscle as "
    "within-participant factor, sex as between-participant factor and age and BMI as covariates "
    "(Type III sums of squares; covariates as they are, and centred), with the Greenhouse-Geisser "
    "correction of the degrees of freedom, and by two-tailed paired t-tests. Correlations between "
    "muscles are Pearson's. Sex differences within each muscle and in the mean of all muscles were "
    "tested by ANCOVA with age and BMI as covariates; estimated marginal means are given at the "
    "mean age and BMI. Two-tailed partial Pearson correlations were calculated between MFI and age "
    "(controlling for sex and BMI) and between MFI and BMI (controlling for sex and age). The left "
    "and right side were compared by paired t-tests. Values were called outliers when the "
    "externally studentised residual of a model with sex, age and BMI had a Bonferroni-corrected "
    "p below 0.05. Volumes were analysed likewise, as a secondary measure, because {extent}. The "
    "level of significance was 0.05."
)
CHANGE = (
    "Change between sessions ({change}; order of the sessions by {order}) was tested by paired "
    "t-tests and by linear mixed models with a random intercept of the participant (REML; degrees "
    "of freedom by containment, Pinheiro and Bates 2000)."
)
REPEATABILITY = (
    "The smallest detectable change was calculated from scans repeated in a session as 1.96 "
    "sqrt(2) times the within-subject standard deviation (Bland and Altman 1999)."
)


@dataclass(frozen=True, slots=True)
class Sources:
    """What the methods state about the scans; empty where unknown.

    Attributes
    ----------
    bundles, programs, fat_water : str
        Names and versions of the weights, versions of this program that measured, sources of fat
        and water.
    session : str
    participants : int
        Number of participants analysed.
    complete : int
        Number of them with all muscles, sex, age and BMI.
    change, order : str
        Which session is subtracted from which, and the basis of the order of the sessions.
    extent : str
        How much of a muscle is labelled.
    """

    bundles: str
    programs: str
    fat_water: str
    session: str
    participants: int
    complete: int
    change: str = ""
    order: str = ""
    extent: str = ""


def write_methods(
    options: RunOptions, sources: Sources, tables: Collection[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Write the methods of a run.

    Parameters
    ----------
    options : RunOptions
    sources : Sources
    tables : collection of str
        Keys of the tables that were made.

    Returns
    -------
    (tuple of str, tuple of str)
        Paragraphs, and their references.
    """
    session = f" of session {sources.session.removeprefix('ses-')}" if sources.session else ""
    paragraphs = [
        f"{_tell_measuring(sources)} The values of the left and right side were averaged. "
        f"{RULES[options.missing]}",
        f"{count_noun(sources.participants, 'participant')}{session} "
        f"{choose_form(sources.participants, 'was', 'were')} analysed, {sources.complete:,} of "
        f"them with all muscles, sex, age and BMI. {ANALYSES.format(extent=sources.extent)} "
        f"{CORRECTIONS[options.correction]}",
        *_tell_further(options, sources, tables),
        _tell_software(options.correction),
    ]
    keys = ["weber2021", "greenhouse1959", "huynh1976", "lecoutre1991", "mauchly1940"]
    keys += {"holm": ["holm1979"], "fdr_bh": ["fdr_bh1995"]}.get(options.correction, [])
    keys += ["pinheiro2000"] if "change" in tables else []
    keys += ["bland1999"] if "repeatability" in tables else []
    keys += [] if options.correction == "none" else ["seabold2010"]
    keys += ["virtanen2020"]
    return tuple(paragraphs), tuple(CITED[key] for key in keys)


def _tell_software(correction: str) -> str:
    names = [f"bids_mfi {__version__}", f"SciPy {metadata.version('scipy')}"]
    if correction != "none":
        names.append(f"statsmodels {metadata.version('statsmodels')} (correction of p-values)")
    return (
        f"Statistics were calculated with {_join(names)}; the analyses of covariance are "
        "bids_mfi's own and are tested against the packages car and emmeans of R."
    )


def _tell_measuring(sources: Sources) -> str:
    if not sources.bundles:
        return (
            "Muscle fat infiltration (MFI) of the neck muscles was taken from tables of unknown "
            "origin."
        )
    return (
        "Muscle fat infiltration (MFI) of the neck muscles was measured with bids_mfi "
        f"{sources.programs or '(version not known)'} (model: {sources.bundles}; fat and water: "
        f"{sources.fat_water or 'not known'}), which follows Weber et al. 2021: MFI = 100 F / "
        "(F + W), F and W being the mean fat and water signal of the muscle's voxels. The label "
        "maps were made by a neural network; see the participants' reports for their quality flags."
    )


def _tell_further(options: RunOptions, sources: Sources, tables: Collection[str]) -> Iterable[str]:
    if options.model:
        yield (
            f"A further model, {options.model}, was fitted to each muscle and to the mean of all "
            "muscles by least squares, with Type III tests and sum contrasts; its p-values were "
            "not corrected."
        )
    if "change" in tables:
        yield CHANGE.format(change=sources.change, order=sources.order)
    if "repeatability" in tables:
        yield REPEATABILITY
    if options.controls:
        yield (
            f"Participants with {options.controls} were controls. Centiles are those of a linear "
            "model with sex, age and BMI in the controls, with the t distribution of a new "
            "observation; each control was compared with a model that excluded it."
        )


# --- results -----------------------------------------------------------------------------------

ALPHA = 0.05
MODERATE_R = 0.3  # of the paper: below, a correlation is weak


def write_results(tables: Mapping[str, pd.DataFrame], correction: str) -> tuple[str, ...]:
    """Write the results in the order of the paper; those not estimated are left out.

    Parameters
    ----------
    tables : mapping of str to DataFrame
        ``rmancova``, ``sphericity``, ``musclecorr``, ``descriptives``, ``pairedt``, ``ancova`` and
        ``partialcorr`` of MFI.
    correction : str
        As in RunOptions; determines which p-values count.
    """
    adjusted = "" if correction == "none" else "_adjusted"
    how = f"p < {ALPHA:.2f}, {'not corrected' if correction == 'none' else 'corrected'}"
    sentences = (
        *_tell_omnibus(_records(tables["rmancova"]), int(tables["sphericity"]["n"].iloc[0])),
        *_tell_muscles(tables["musclecorr"], tables["descriptives"]),
        *_tell_pairs(tables["pairedt"][f"p{adjusted}"].dropna(), how),
        *_tell_mean(_records(tables["ancova"])),
        *_tell_sexes(_records(tables["ancova"]), f"p_sex{adjusted}", how),
        *_tell_correlations(tables["partialcorr"]),
    )
    return tuple(sentences)


def _records(table: pd.DataFrame) -> list[Row]:
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def _tell_omnibus(effects: list[Row], n: int) -> Iterable[str]:
    tests = {(row["covariates"], row["effect"], row["correction"]): row for row in effects}
    corrected = "greenhouse_geisser"
    raw, centred = (tests[coding, "muscle", corrected] for coding in ("raw", "centred"))
    sex = tests["raw", "sex", "none"]
    if not all(math.isfinite(row["p"]) for row in (raw, centred, sex)):
        return
    yield (
        f"A repeated-measures ANCOVA with age and BMI as covariates (n = {n}) gave a "
        f"within-participant effect of the muscle of {_tell_f(raw)} at age 0 and BMI 0, as the "
        f"paper and SPSS test it, and of {_tell_f(centred)} at the mean age and BMI "
        "(Greenhouse-Geisser), and a between-participant effect of sex of "
        f"{_tell_f(sex)}. The first is for comparison with the paper; whether muscles differ in "
        "your participants is the second."
    )
    names = {"muscle:sex": "sex", "muscle:age": "age", "muscle:bmi": "BMI"}
    found = [
        f"{word} ({_tell_f(tests['raw', effect, corrected])})"
        for effect, word in names.items()
        if tests["raw", effect, corrected]["p"] < ALPHA
    ]
    if found:
        yield f"The muscles differed in their relation to {_join(found)}."


def _tell_f(row: Row) -> str:
    """State F as the tables of the page do, and p.

    >>> _tell_f({"f": 2.791, "df1": 4.02, "df2": 80.0, "p": 0.0211})
    'F(4.0, 80) = 2.791, p = 0.021'
    """
    return f"{format_test(row['f'], row['df1'], row['df2'])}, {_tell_p(row['p'])}"


def _tell_muscles(correlations: pd.DataFrame, descriptives: pd.DataFrame) -> Iterable[str]:
    known = correlations["r"].dropna()
    if len(known):
        low, high = (format_number(r) for r in (known.min(), known.max()))
        yield f"Correlations between muscles were from {low} to {high}."
    means = descriptives.dropna(subset=["mean"]).sort_values("mean", ascending=False)
    if len(means) > 1:
        top, last = means.iloc[0], means.iloc[-1]
        yield (
            f"Mean MFI was highest in {top['muscle']} ({format_one(top['mean'])} %) and lowest in "
            f"{last['muscle']} ({format_one(last['mean'])} %)."
        )


def _tell_pairs(p: "pd.Series[Any]", how: str) -> Iterable[str]:
    if len(p):
        different = int((p < ALPHA).sum())
        pairs = f"{different} of {len(p)} pairs"
        yield f"MFI differed between muscles in {pairs} (paired t-tests, {how})."


def _tell_mean(ancova: list[Row]) -> Iterable[str]:
    mean = next(row for row in ancova if row["muscle"] == MEAN)
    if not math.isfinite(mean["p_sex"]):
        return
    difference = (
        f"{format_spread(mean['diff_f_minus_m'], mean['diff_se'], 1)} percentage points, female "
        f"minus male, {_tell_p(mean['p_sex'])}, n = {mean['n']:.0f}"
    )
    if mean["p_sex"] < ALPHA:
        higher = "higher" if mean["diff_f_minus_m"] >= 0 else "lower"
        yield f"In the mean of all muscles, females had {higher} MFI than males ({difference})."
    else:
        yield f"In the mean of all muscles, the sexes did not differ significantly ({difference})."


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
        yield f"In no single muscle did the sexes differ significantly ({how})."


def _tell_correlations(partial: pd.DataFrame) -> Iterable[str]:
    for x, word in (("age", "age"), ("bmi", "BMI")):
        rows = partial[(partial["x"] == x) & partial["r"].notna()]
        if rows.empty:
            continue
        strong = rows["r"].abs() > MODERATE_R
        parts = []
        if strong.any():
            parts.append(f"beyond ±{MODERATE_R:.1f} in {_list_r(rows[strong])}")
        if not strong.all():
            parts.append(f"within ±{MODERATE_R:.1f} in {_list_r(rows[~strong])}")
        yield f"Partial correlations of MFI with {word} were {' and '.join(parts)}."


def _list_r(rows: pd.DataFrame) -> str:
    return _join(
        f"{m} ({format_number(r)})" for m, r in zip(rows["muscle"], rows["r"], strict=True)
    )


def tell_extent(levels: Collection[str]) -> str:
    """State how much of a muscle is labelled, the reason why volumes are secondary.

    Parameters
    ----------
    levels : collection of str
        Vertebral levels on which the weights label the muscles, ``all`` for whole muscles; empty
        where the tables do not say it.

    Examples
    --------
    >>> tell_extent({"all"})
    'whole muscles are labelled, and the field of view of the scan cuts them'
    >>> tell_extent({"C4-C6", "C3-C7"})
    'muscles are labelled at certain vertebral levels only'
    """
    if not levels:
        return "the tables do not say how much of a muscle is labelled"
    if set(levels) == {WHOLE}:
        return "whole muscles are labelled, and the field of view of the scan cuts them"
    which = "some muscles" if WHOLE in levels else "muscles"
    return f"{which} are labelled at certain vertebral levels only"


def tell_change(change: pd.DataFrame, order: tuple[str, ...]) -> str:
    """State which session is subtracted from which in a table of change; empty if it has no row.

    Examples
    --------
    >>> table = pd.DataFrame({"session_from": ["ses-pre"], "session_to": ["ses-post"]})
    >>> tell_change(table, ("ses-pre", "ses-post")), tell_change(table, ("ses-post", "ses-pre"))
    ('ses-post minus the earlier ses-pre', 'ses-post minus the later ses-pre')
    >>> table = pd.DataFrame({"session_from": ["ses-2"] * 2, "session_to": ["ses-1", "ses-3"]})
    >>> tell_change(table, ("ses-1", "ses-2", "ses-3"))
    'ses-1 (earlier) and ses-3 (later) each minus ses-2'
    """
    if change.empty:
        return ""
    first, others = str(change["session_from"].iloc[0]), list(dict.fromkeys(change["session_to"]))
    later = [order.index(name) > order.index(first) for name in others]
    each = " each" if len(others) > 1 else ""
    if len(set(later)) > 1:
        words = ["later" if is_later else "earlier" for is_later in later]
        named = [f"{name} ({word})" for name, word in zip(others, words, strict=True)]
        return f"{_join(named)}{each} minus {first}"
    return f"{_join(others)}{each} minus the {'earlier' if later[0] else 'later'} {first}"


def _join(names: Iterable[Any]) -> str:
    *most, last = map(str, names)
    return f"{', '.join(most)} and {last}" if most else last


def _tell_p(p: float) -> str:
    """State p with its sign; with four digits where rounding to three would decide significance.

    >>> _tell_p(1e-9), _tell_p(0.0211), _tell_p(0.0502)
    ('p < 0.001', 'p = 0.021', 'p = 0.0502')
    """
    if round(p, 3) == ALPHA:
        return f"p = {p:.4f}"
    text = format_p(p)
    return f"p < {text[1:]}" if text.startswith("<") else f"p = {text}"
