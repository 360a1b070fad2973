"""Numbers and names of a cohort's tables as words; must not know tables, plots or HTML."""

import math

from bids_mfi.report.agreement_page import MINUS, format_p
from bids_mfi.report.page import MISSING, format_number

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


def to_number(value: object) -> float:
    """Take a cell as a number, NaN if it is none.

    Examples
    --------
    >>> to_number(None), to_number("1.5"), to_number("a")
    (nan, 1.5, nan)
    """
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return math.nan


def format_signed(value: object, digits: int = 2) -> str:
    """Format with a true minus sign, and none before zero.

    Examples
    --------
    >>> format_signed(-1.256) == "\u22121.26", format_signed(-0.001), format_signed(None)
    (True, '0.00', 'n/a')
    """
    text = format_number(to_number(value), digits)
    if text.startswith("-"):
        return text[1:] if float(text) == 0 else MINUS + text[1:]
    return text


def format_three(value: object) -> str:
    """Format with three digits after the point, as correlations are."""
    return format_signed(value, 3)


def format_blank(value: object) -> str:
    """Format a word that may be lacking on purpose.

    Examples
    --------
    >>> format_blank("F"), format_blank(""), format_blank(float("nan"))
    ('F', '', '')
    """
    return value if isinstance(value, str) else ""


def format_any(value: object) -> str:
    """Format any cell: words as they are, whole numbers whole, others with four digits.

    Examples
    --------
    >>> format_any(84.0), format_any(0.753749), format_any(-12345.67) == "\u221212346"
    ('84', '0.7537', True)
    >>> format_any(float("nan")), format_any("TR"), format_any(True), format_any(1e-9)
    ('n/a', 'TR', 'True', '1.000e-09')
    """
    if isinstance(value, str | bool):
        return str(value) or MISSING
    number = to_number(value)
    if not math.isfinite(number):
        return MISSING if math.isnan(number) else str(number)
    if number == round(number):
        text = f"{number:.0f}"
    elif abs(number) < 1e-3:
        text = f"{number:.3e}"
    else:
        text = format_number(number, max(0, 3 - math.floor(math.log10(abs(number)))))
    return MINUS + text[1:] if text.startswith("-") else text


def mark_p_value(p: object) -> str:
    """Mark a p value as the paper does.

    Examples
    --------
    >>> mark_p_value(0.0009), mark_p_value(0.009), mark_p_value(0.049), mark_p_value(0.05)
    ('***', '**', '*', '')
    >>> mark_p_value(None)
    ''
    """
    number = to_number(p)
    return next((mark for limit, mark in ((0.001, "***"), (0.01, "**"), (0.05, "*"))
                 if number < limit), "")  # fmt: skip


def format_starred(p: object) -> str:
    """Format a p value with its stars.

    Examples
    --------
    >>> format_starred(0.0264), format_starred(1e-9), format_starred(0.5), format_starred(None)
    ('0.026 *', '<0.001 ***', '0.500', 'n/a')
    """
    return f"{format_p(to_number(p))} {mark_p_value(p)}".rstrip()


def format_interval(low: object, high: object) -> str:
    """Lower to upper limit; ``n/a`` where there is none.

    Examples
    --------
    >>> format_interval(0.5, 1.25), format_interval(None, 1.0)
    ('0.50 to 1.25', 'n/a')
    """
    if math.isnan(to_number(low)) or math.isnan(to_number(high)):
        return MISSING
    return f"{format_signed(low)} to {format_signed(high)}"


def format_interval_three(low: object, high: object) -> str:
    """As :func:`format_interval`, of correlations."""
    if math.isnan(to_number(low)) or math.isnan(to_number(high)):
        return MISSING
    return f"{format_three(low)} to {format_three(high)}"


def format_spread(mean: object, error: object) -> str:
    """Mean and standard error.

    Examples
    --------
    >>> format_spread(17.544, 0.635), format_spread(17.544, None), format_spread(None, 1.0)
    ('17.54 ± 0.64', '17.54', 'n/a')
    """
    if math.isnan(to_number(mean)):
        return MISSING
    tail = "" if math.isnan(to_number(error)) else f" ± {format_signed(error)}"
    return format_signed(mean) + tail


def format_known(mean: object, sd: object, known: object, n: object) -> str:
    """Mean and standard deviation, and of how many if not of all.

    Examples
    --------
    >>> format_known(34.21, 10.66, 84, 84), format_known(34.21, 10.66, 80, 84)
    ('34.2 ± 10.7', '34.2 ± 10.7 (n = 80)')
    >>> format_known(34.21, None, 1, 1), format_known(None, None, 0, 3)
    ('34.2', 'n/a')
    """
    if math.isnan(to_number(mean)):
        return MISSING
    tail = "" if math.isnan(to_number(sd)) else f" ± {format_signed(sd, 1)}"
    note = "" if to_number(known) == to_number(n) else f" (n = {format_any(known)})"
    return format_signed(mean, 1) + tail + note


def format_one(value: object) -> str:
    """Format with one digit after the point, as centiles and percentages are."""
    return format_signed(value, 1)


def format_test(statistic: object, df1: object, df2: object) -> str:
    """F with its degrees of freedom; one digit where they are no whole numbers.

    Examples
    --------
    >>> format_test(2.791, 4.5225, 361.8), format_test(5.16, 1, 80.0), format_test(None, 1, 80)
    ('F(4.5, 361.8) = 2.791', 'F(1, 80) = 5.160', 'n/a')
    """
    if math.isnan(to_number(statistic)):
        return MISSING
    return f"F({format_df(df1)}, {format_df(df2)}) = {format_three(statistic)}"


def format_df(value: object) -> str:
    """Degrees of freedom, with one digit where they are no whole number."""
    number = to_number(value)
    return format_number(number, 0 if number == round_or_nan(number) else 1)


def round_or_nan(number: float) -> float:
    """Round to a whole number, and leave NaN alone.

    Examples
    --------
    >>> round_or_nan(4.6), round_or_nan(float("nan"))
    (5.0, nan)
    """
    return float(round(number)) if math.isfinite(number) else number


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
    """Name the mean of all muscles in words, and any other as it is."""
    return "Mean of all" if muscle == "mean" else str(muscle)


def name_column(name: str) -> str:
    """Head of a column that the page does not know.

    Examples
    --------
    >>> name_column("partial_eta_sq"), name_column("p_sex"), name_column("f")
    ('partial eta sq', 'p sex', 'F')
    """
    return HEADS.get(name, name.replace("_", " "))
