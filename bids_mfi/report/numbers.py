"""Numbers as the pages and figures show them: the one formatter."""

import math

MISSING = "n/a"
MINUS = "\u2212"
STARS = ((0.001, "***"), (0.01, "**"), (0.05, "*"))


def to_number(value: object) -> float:
    """Take a cell as a number; NaN if it is not one.

    Examples
    --------
    >>> to_number(None), to_number("1.5"), to_number("a")
    (nan, 1.5, nan)
    """
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return math.nan


def format_number(value: object, digits: int = 2, sign: str = "") -> str:
    """Format with this many decimals and a true minus sign; zero has no sign.

    Parameters
    ----------
    value : object
        Anything that is not a finite number gives ``n/a``.
    digits : int
    sign : str
        ``+`` to give positive numbers a sign too.

    Examples
    --------
    >>> format_number(12.345, 1), format_number(float("nan")), format_number(None)
    ('12.3', 'n/a', 'n/a')
    >>> format_number(-1.256), format_number(-0.001), format_number(1.0, 1, "+")
    ('−1.26', '0.00', '+1.0')
    """
    number = to_number(value)
    return f"{number:{sign}z.{digits}f}".replace("-", MINUS) if math.isfinite(number) else MISSING


def format_one(value: object) -> str:
    """Format with one digit after the point, as centiles and percentages are."""
    return format_number(value, 1)


def format_three(value: object) -> str:
    """Format with three digits after the point, as correlations are."""
    return format_number(value, 3)


def format_count(value: float) -> str:
    """Format a whole number with commas between thousands."""
    return f"{value:,.0f}" if math.isfinite(value) else MISSING


def format_blank(value: object) -> str:
    """Format a text that may be blank on purpose.

    Examples
    --------
    >>> format_blank("F"), format_blank(""), format_blank(float("nan"))
    ('F', '', '')
    """
    return value if isinstance(value, str) else ""


def format_cell(value: object) -> str:
    """Format any value of the full table.

    Examples
    --------
    >>> format_cell(1234.5678), format_cell(float("nan")), format_cell(3), format_cell("a")
    ('1234.57', 'n/a', '3', 'a')
    """
    if isinstance(value, float):
        return f"{value:.6g}" if math.isfinite(value) else MISSING
    return MISSING if value is None else str(value)


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


# --- tests and intervals -----------------------------------------------------------------------


def format_p(p: float) -> str:
    """Format a p value as the paper does.

    Examples
    --------
    >>> format_p(1e-9), format_p(0.0141), format_p(float("nan"))
    ('<0.001', '0.014', 'n/a')
    """
    return "<0.001" if p < 0.001 else format_number(p, 3)


def format_p_short(p: float) -> str:
    """Format a p value for a figure: two digits after the point, three where it is small.

    >>> [format_p_short(p) for p in (0.0004, 0.0123, 0.3, math.nan)]
    ['< 0.001', '0.012', '0.30', 'n/a']
    """
    if not math.isfinite(p):
        return MISSING
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def mark_p(p: object) -> str:
    """Mark a p value as the paper does.

    Examples
    --------
    >>> mark_p(0.0009), mark_p(0.009), mark_p(0.049), mark_p(0.05)
    ('***', '**', '*', '')
    >>> mark_p(None)
    ''
    """
    return next((stars for level, stars in STARS if to_number(p) < level), "")


def format_starred(p: object) -> str:
    """Format a p value with its stars.

    Examples
    --------
    >>> format_starred(0.0264), format_starred(1e-9), format_starred(0.5), format_starred(None)
    ('0.026 *', '<0.001 ***', '0.500', 'n/a')
    """
    return f"{format_p(to_number(p))} {mark_p(p)}".rstrip()


def format_interval(low: object, high: object, digits: int = 2) -> str:
    """Lower to upper limit; ``n/a`` where one is missing.

    Examples
    --------
    >>> format_interval(0.5, 1.25), format_interval(None, 1.0)
    ('0.50 to 1.25', 'n/a')
    """
    if not (math.isfinite(to_number(low)) and math.isfinite(to_number(high))):
        return MISSING
    return f"{format_number(low, digits)} to {format_number(high, digits)}"


def format_interval_three(low: object, high: object) -> str:
    """As :func:`format_interval`, of correlations."""
    return format_interval(low, high, 3)


def format_spread(mean: object, error: object, digits: int = 2) -> str:
    """Mean and standard error.

    Examples
    --------
    >>> format_spread(17.544, 0.635), format_spread(17.544, None), format_spread(None, 1.0)
    ('17.54 ± 0.64', '17.54', 'n/a')
    """
    if not math.isfinite(to_number(mean)):
        return MISSING
    tail = f" ± {format_number(error, digits)}" if math.isfinite(to_number(error)) else ""
    return format_number(mean, digits) + tail


def format_known(mean: object, sd: object, known: object, n: object) -> str:
    """Mean and standard deviation, and the number of values if some are missing.

    Examples
    --------
    >>> format_known(34.21, 10.66, 84, 84), format_known(34.21, 10.66, 80, 84)
    ('34.2 ± 10.7', '34.2 ± 10.7 (n = 80)')
    >>> format_known(34.21, None, 1, 1), format_known(None, None, 0, 3)
    ('34.2', 'n/a')
    """
    if not math.isfinite(to_number(mean)):
        return MISSING
    note = "" if to_number(known) == to_number(n) else f" (n = {format_any(known)})"
    return format_spread(mean, sd, 1) + note


def format_test(statistic: object, df1: object, df2: object) -> str:
    """F with its degrees of freedom; one decimal where they are not whole numbers.

    Examples
    --------
    >>> format_test(2.791, 4.5225, 361.8), format_test(5.16, 1, 80.0), format_test(None, 1, 80)
    ('F(4.5, 361.8) = 2.791', 'F(1, 80) = 5.160', 'n/a')
    """
    if math.isnan(to_number(statistic)):
        return MISSING
    return f"F({format_df(df1)}, {format_df(df2)}) = {format_three(statistic)}"


def format_df(value: object) -> str:
    """Degrees of freedom, with one decimal where they are not a whole number."""
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
