"""The methods of a group run in words for a paper; must not know files or pages."""

from importlib import metadata

from bids_mfi import __version__

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
