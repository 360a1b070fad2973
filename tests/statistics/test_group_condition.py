"""Conditions of --controls: what they find, and a sentence for everything that is none."""

import random
import re

import numpy as np
import pandas as pd
import pytest

from bids_mfi.errors import InputError
from bids_mfi.statistics.condition import select_people

PEOPLE = pd.DataFrame(
    {
        "group": ["control", "patient", "control", None, "x'y"],
        "age": [30.0, 40.0, np.nan, 50.0, 60.0],
        "pain duration (m)": [0.0, 12.0, 3.0, 4.0, 5.0],
        "arm-2": ["a", "b", "a", "b", "a"],
        "class": ["p", "q", "p", "q", "p"],
        "is_control": [True, False, True, False, True],
    },
    index=[f"sub-{i}" for i in range(1, 6)],
)


def find(condition):
    found, unknown = select_people(PEOPLE, condition)
    return [int(name[-1]) for name in found], [int(name[-1]) for name in unknown]


@pytest.mark.parametrize(
    ("condition", "found", "unknown"),
    [
        ("group == 'control'", [1, 3], [4]),
        ("group != 'control'", [2, 5], [4]),
        ('group == "x\'y"', [5], [4]),
        ("age < 45", [1, 2], [3]),
        ("30 <= age <= 50", [1, 2, 4], [3]),
        ("age > 30 and group == 'patient'", [2], [3, 4]),
        ("(age > 30) and (group == 'patient')", [2], [3, 4]),
        ("not (age > 30) or not group == 'patient'", [1, 5], [3, 4]),
        ("-age < -45", [4, 5], [3]),
        ("age > -1e3", [1, 2, 4, 5], [3]),
        ("group in ['control', 'patient']", [1, 2, 3], [4]),
        ("group not in ('control',)", [2, 5], [4]),
        ("age in [30, 50]", [1, 4], [3]),
        ("group == ['control', 'patient']", [1, 2, 3], [4]),
        ("`pain duration (m)` >= 4", [2, 4, 5], []),
        ("`arm-2` == 'a' and `class` == 'p'", [1, 3, 5], []),
        ("`group` == 'control' and `pain duration (m)` < 1", [1], [4]),
        ("age > `pain duration (m)`", [1, 2, 4, 5], [3]),
        ("group == '`arm-2`' or `arm-2` == 'b'", [2], [4]),
        ("is_control", [1, 3, 5], []),
        ("is_control and age < 50", [1], [3]),
        ("not is_control", [2, 4], []),
        ("is_control == True", [1, 3, 5], []),
        (f"age < {'9' * 400}", [1, 2, 4, 5], [3]),
        ("  age < 45  ", [1, 2], [3]),
    ],
)
def test_who_meets_a_condition(condition, found, unknown):
    assert find(condition) == (found, unknown)


@pytest.mark.parametrize(
    ("condition", "says"),
    [
        ("age > 30 and group", "group compares no column"),
        ("age and group", "age compares no column"),
        ("(age > 3) and 'control'", "'control' compares no column"),
        ("age > 3 and 1", "1 compares no column"),
        ("not group", "group compares no column"),
        ("age > 3 and 1 < 2", "1 is compared with 2, but neither is a column"),
        ("age > 3 or -group", "compares no column"),
        ("group < 'd' and age > group", "text compared with a number"),
        ("age < 'old'", "text compared with a number"),
        ("age == None", "None is not allowed"),
        ("age > 3j", "3j is not allowed"),
        ("group == b'control'", "b'control' is not allowed"),
        ("group == ...", "is not allowed"),
        ("age in 3", "in needs a column before it and a list"),
        ("3 in age", "in needs a column before it and a list"),
        ("'c' in group", "in needs a column before it and a list"),
        ("age < [3, 4]", "cannot be compared with"),
        ("[1] < age", "cannot be compared with"),
        ("group is 'control'", "cannot be compared with"),
        ("group in [age]", "age is not allowed"),
        ("age > 3 & group == 'control'", "is not allowed"),
        ("age if age else group", "is not allowed"),
        ("(a := 3) < age", "is not allowed"),
        ("age + 1 > 3", "age + 1 is not allowed"),
        ("[x for x in age]", "is not allowed"),
        ("age ** 9 ** 9 ** 9 > 1", "is not allowed"),
        ("`pain` > 3", "there is no column pain"),
        ("`pain > 3", "it is not a condition"),
        ("pain duration > 3", "it is not a condition"),
        ("age > 3 and", "it is not a condition"),
        ("age = 3", "it is not a condition"),
        ("age > 3; import os", "it is not a condition"),
        ("age > \0", "it is not a condition"),
        ("age > '\ud800", "it is not a condition"),
        ("(" * 240 + "age" + ")" * 240, "it is not a condition"),
        ("not " * 100 + "age > 3", "more than 30 nested parts"),
        ("age > " + "-" * 400 + "3", "more than 30 nested parts"),
        ("age > " + "9" * 4301, "4,307 characters; the limit is 500"),
        ("age > " + "9" * 490, "nobody meets it"),
        ("age < 3 and " * 60 + "age < 4", "characters; the limit is 500"),
        ("True", "compares no column"),
        ("'age'", "compares no column"),
        ("lambda: age", "is not allowed"),
        ("f'{age}' == 'a'", "is not allowed"),
    ],
)
def test_what_is_no_condition_gives_a_sentence(condition, says):
    with pytest.raises(InputError, match=re.escape(says)) as error:
        find(condition)
    assert str(error.value).startswith("--controls ")
    assert len(str(error.value)) < 1000


def test_nothing_but_a_sentence_comes_of_any_words():
    words = ["age", "group", "`arm-2`", "`", "'a'", '"', "3", "-", "<", "==", "and", "or", "not",
             "in", "(", ")", "[", "]", ",", "is", "None", "True", "is_control", "1e999", "nan", "~",
             "&", "@age", "\\", "\n", "lambda", ":", "²", "if", "else", "*", "."]  # fmt: skip
    draw = random.Random(0)
    outcomes = set()
    for _ in range(20_000):
        condition = " ".join(draw.choice(words) for _ in range(draw.randint(1, 8)))
        try:
            find(condition)
            outcomes.add("found")
        except InputError:
            outcomes.add("refused")
    assert outcomes == {"found", "refused"}
