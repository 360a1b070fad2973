"""Amount and distribution of fat in a subject's muscles.

The means follow Table 2 of Weber et al. 2021 (doi:10.1038/s41598-021-95972-x). The effects of sex,
age and body mass index follow its text: women are 1.8 points above men, age acts on the deep
muscles, and body mass index has a weak effect. The values are fat fractions *inside* the muscle. A
label map measures slightly more, because border voxels contain fat of the surrounding planes.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from bids_mfi.muscles import WEBER2021
from bids_mfi.synthesis.tissues import N_MUSCLES

MEAN_FAT_PERCENT = {
    "MFSS": 15.2, "LC": 11.2, "SSCap": 12.4, "SPCap": 6.8, "LS": 4.9, "SCM": 7.0, "TR": 5.2,
}  # fmt: skip
DEEP = ("MFSS", "LC", "SSCap")
WOMEN_MINUS_MEN_PERCENT = 1.8
AGE_PERCENT_A_YEAR = {True: 0.14, False: 0.03}
BMI_PERCENT_A_UNIT = 0.05
MEAN_AGE_YEARS = 34.0
MEAN_BMI = 25.0
SUBJECT_SD_PERCENT = 1.6
MUSCLE_SD_PERCENT = {True: 1.6, False: 1.0}
SIDE_SD_PERCENT = 0.5
SESSION_SD_PERCENT = 0.4
LEAST_FAT_PERCENT = 1.0
# Some subjects have strongly infiltrated deep muscles, locally beyond the fold at 50 %.
INFILTRATED_SHARE = 0.07
INFILTRATED_FACTOR = (1.7, 2.6)

PATCH_MM = 5.0
PATCH_SD = 0.35
STREAK_MM = (0.9, 0.9, 7.0)
STREAK_SHARE = 0.35
STREAK_FROM = 1.0
_STREAK_MEAN = 0.08332  # of max(z - STREAK_FROM, 0) for a standard normal z
MOST_FAT = 0.92


@dataclass(frozen=True, slots=True)
class Participant:
    """Sex (``F`` or ``M``), age in years and body mass index in kg/m2."""

    sex: str
    age: float
    bmi: float


def draw_participant(rng: np.random.Generator, sex: str | None = None) -> Participant:
    """Draw an adult aged 18 to 65 years, with random sex by default."""
    drawn = "F" if rng.random() < 0.5 else "M"
    sex = drawn if sex is None else sex
    age = round(float(rng.uniform(18, 65)), 1)
    bmi = round(float(np.clip(rng.normal(25.5, 4.0), 17.5, 42.0)), 1)
    return Participant(sex, age, bmi)


def expected_fat_percent(participant: Participant, muscle: str) -> float:
    """Compute the expected fat fraction of a muscle for such participants, in percent.

    Examples
    --------
    >>> young, old = Participant("F", 20, 25), Participant("F", 60, 25)
    >>> round(expected_fat_percent(old, "MFSS") - expected_fat_percent(young, "MFSS"), 2)
    5.6
    """
    deep = muscle in DEEP
    sex = WOMEN_MINUS_MEN_PERCENT * (0.5 if participant.sex == "F" else -0.5)
    age = AGE_PERCENT_A_YEAR[deep] * (participant.age - MEAN_AGE_YEARS)
    return MEAN_FAT_PERCENT[muscle] + sex + age + BMI_PERCENT_A_UNIT * (participant.bmi - MEAN_BMI)


def draw_fat_percent(rng: np.random.Generator, participant: Participant) -> NDArray[np.float32]:
    """Draw the fat fraction of each of a subject's fourteen muscles.

    Returns
    -------
    fat_percent : ndarray of float32, shape (N_MUSCLES + 1,)
        By label index; entry 0 is not used.
    """
    infiltrated = rng.random() < INFILTRATED_SHARE
    factor = rng.uniform(*INFILTRATED_FACTOR) if infiltrated else 1.0
    subject = SUBJECT_SD_PERCENT * rng.standard_normal()
    own = {name: rng.standard_normal() for name in MEAN_FAT_PERCENT}
    fat_percent = np.zeros(N_MUSCLES + 1, np.float32)
    for label in WEBER2021:
        deep = label.muscle in DEEP
        value = expected_fat_percent(participant, label.muscle) + subject
        value += MUSCLE_SD_PERCENT[deep] * own[label.muscle]
        value += SIDE_SD_PERCENT * rng.standard_normal()
        fat_percent[label.index] = max(value, LEAST_FAT_PERCENT) * (factor if deep else 1.0)
    return fat_percent


def change_fat_percent(
    rng: np.random.Generator, fat_percent: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Draw the fat fractions of the same subject some months later."""
    later = fat_percent + SESSION_SD_PERCENT * rng.standard_normal(fat_percent.shape)
    least = np.full_like(fat_percent, LEAST_FAT_PERCENT)
    return np.maximum(later, least).astype(np.float32)


def fat_texture(
    rng: np.random.Generator, shape: tuple[int, int, int], spacing_mm: tuple[float, float, float]
) -> NDArray[np.float32]:
    """Draw a factor for the fat fraction per voxel, about 1 on average: patches and long streaks.

    Returns
    -------
    texture : ndarray of float32, shape ``shape``
        At least 0.
    """
    patch = _smooth_noise(rng, shape, spacing_mm, (PATCH_MM,) * 3)
    patches = np.exp(PATCH_SD * patch - PATCH_SD**2 / 2)
    streak = _smooth_noise(rng, shape, spacing_mm, STREAK_MM)
    streaks = np.maximum(streak - STREAK_FROM, 0) / _STREAK_MEAN
    texture: NDArray[np.float32] = (1 - STREAK_SHARE) * patches + STREAK_SHARE * streaks
    return texture.astype(np.float32)


def _smooth_noise(
    rng: np.random.Generator,
    shape: tuple[int, int, int],
    spacing_mm: tuple[float, float, float],
    width_mm: tuple[float, float, float],
) -> NDArray[np.float32]:
    noise = rng.standard_normal(shape, dtype=np.float32)
    for axis in range(3):
        sigma = width_mm[axis] / spacing_mm[axis]
        noise = gaussian_filter1d(noise, sigma, axis=axis, mode="nearest", truncate=2.5)
    noise /= noise.std()
    return noise
