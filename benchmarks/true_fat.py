"""MFI of a run on simulated scans against the true fat, label error and signal together.

    python benchmarks/true_fat.py DATASET/derivatives/truth OUTPUT

``evaluate`` measures MFI with both labels on the same images, so that its errors are those of the
labels alone. Here the truth is the table of the simulator: fat at echo time 0, without noise and
fold. Printed as Markdown, a row a muscle, both sides together.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

SCAN = ("muscle", "hemi")


def read_tables(folder: Path) -> pd.DataFrame:
    """All ``*_mfi.tsv`` of a folder, with the name of the scan."""
    paths = sorted(folder.glob("sub-*/**/*_mfi.tsv"))
    if not paths:
        raise SystemExit(f"{folder}: no table of measures, expected sub-*/**/*_mfi.tsv")
    tables = [pd.read_csv(path, sep="\t").assign(scan=path.name) for path in paths]
    return pd.concat(tables, ignore_index=True)


def compare(truth: pd.DataFrame, found: pd.DataFrame) -> pd.DataFrame:
    """Error of each scan, muscle and side that both have, in percentage points."""
    keys = ["scan", *SCAN]
    both = truth[[*keys, "mfi_percent"]].merge(
        found[[*keys, "mfi_percent", "near_fold_percent"]], on=keys, suffixes=("_true", "")
    )
    both = both.dropna(subset=["mfi_percent", "mfi_percent_true"])
    return both.assign(error=both["mfi_percent"] - both["mfi_percent_true"])


def summarise(rows: pd.DataFrame) -> list[str]:
    """Cells of a row of the table."""
    error = rows["error"].to_numpy()
    numbers = (rows["mfi_percent_true"].mean(), error.mean(), np.abs(error).mean(),
               rows["near_fold_percent"].mean())  # fmt: skip
    return [str(len(rows)), *(f"{number:.2f}" for number in numbers)]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("truth", type=Path)
    parser.add_argument("output", type=Path)
    arguments = parser.parse_args()
    errors = compare(read_tables(arguments.truth), read_tables(arguments.output))
    print(f"{errors['scan'].nunique()} scans\n")
    print("| muscle | sides | true MFI, % | bias | MAE | near the fold, % |")
    print("| --- | --- | --- | --- | --- | --- |")
    for muscle, rows in errors.groupby("muscle", sort=False):
        print(f"| {muscle} | {' | '.join(summarise(rows))} |")
    print(f"| all | {' | '.join(summarise(errors))} |")


if __name__ == "__main__":
    main()
