"""Names in a cohort's tables as words."""

TIMES = "\u00d7"
MUSCLE_NAMES = {
    "MFSS": "multifidus and semispinalis cervicis", "LC": "longus colli and longus capitis",
    "SSCap": "semispinalis capitis", "SPCap": "splenius capitis", "LS": "levator scapulae",
    "SCM": "sternocleidomastoid", "TR": "trapezius",
}  # fmt: skip
EFFECT_NAMES = {
    "intercept": "intercept", "sex": "sex", "age": "age", "bmi": "BMI", "muscle": "muscle",
    "muscle:sex": f"muscle {TIMES} sex", "muscle:age": f"muscle {TIMES} age",
    "muscle:bmi": f"muscle {TIMES} BMI",
}  # fmt: skip
HEADS = {"p": "p", "t": "t", "f": "F", "r": "r", "n": "n", "bmi": "BMI", "ss": "SS", "x": "with"}


def name_effect(effect: object) -> str:
    """Name an effect as the paper does.

    Examples
    --------
    >>> name_effect("bmi"), name_effect("muscle:bmi") == "muscle \u00d7 BMI", name_effect("group")
    ('BMI', True, 'group')
    """
    return EFFECT_NAMES.get(str(effect), str(effect).replace(":", f" {TIMES} "))


def name_correction(name: object) -> str:
    """Name a correction of the degrees of freedom by its authors.

    Examples
    --------
    >>> name_correction("huynh_feldt_lecoutre"), name_correction("none")
    ('Huynh-Feldt-Lecoutre', 'none')
    >>> name_correction("lower_bound")
    'lower bound'
    """
    words = str(name).split("_")
    authors = words[0] in ("greenhouse", "huynh")
    return "-".join(map(str.capitalize, words)) if authors else " ".join(words)


def name_sex(sex: object) -> str:
    """Name a sex, or all participants.

    Examples
    --------
    >>> name_sex("all"), name_sex("F"), name_sex("M"), name_sex("n/a")
    ('All', 'Female', 'Male', 'n/a')
    """
    return {"all": "All", "F": "Female", "M": "Male"}.get(str(sex), str(sex))


def name_muscle(muscle: object) -> str:
    """Name the mean of all muscles in words; keep other names."""
    return "Mean of all" if muscle == "mean" else str(muscle)


def name_column(name: str) -> str:
    """Heading of a column that has no label.

    Examples
    --------
    >>> name_column("partial_eta_sq"), name_column("p_sex"), name_column("f")
    ('partial eta sq', 'p sex', 'F')
    """
    return HEADS.get(name, name.replace("_", " "))
