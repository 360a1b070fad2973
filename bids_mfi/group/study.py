"""All data of a study before statistics begin."""

from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import pandas as pd

from bids_mfi.bids.output_folder import check_output_dir
from bids_mfi.cells import MISSING
from bids_mfi.counts import count_noun
from bids_mfi.errors import InputError
from bids_mfi.findings import Finding, make_findings, sort_findings
from bids_mfi.group.collect import Collection, collect_tables
from bids_mfi.group.measured import judge_dataset
from bids_mfi.group.origin import name_scans
from bids_mfi.group.people import People, read_people
from bids_mfi.group.people_table import STANDARD
from bids_mfi.group.rows import FLAGS, SCAN
from bids_mfi.group.selection import Selection, select_session
from bids_mfi.group.session_order import order_sessions
from bids_mfi.options import RunOptions
from bids_mfi.statistics.cohort import Cohort, make_cohort

VISIT = ["participant_id", "session_id"]


@dataclass(frozen=True, slots=True, eq=False)
class Study:
    """The tables of a study, its participants, and the scan that represents each."""

    options: RunOptions
    collection: Collection
    people: People
    selection: Selection

    def make_cohort(self, measure: str, places: pd.Index | None = None) -> Cohort:
        """Make the cohort of these scans, one per participant; by default the selected ones."""
        scans = self.collection.scans.loc[self.selection.scans if places is None else places]
        rows = self.collection.rows
        long = rows[rows[SCAN].isin(scans.index)].merge(
            scans[["participant_id"]], left_on=SCAN, right_index=True
        )
        people = self.people.table.loc[list(scans[VISIT].itertuples(index=False, name=None))]
        return make_cohort(long, people.droplevel("session_id"), measure, self.options.missing)

    def find_all(self, cohort: Cohort) -> tuple[Finding, ...]:
        """All findings, the most serious first; ``cohort`` is that of MFI."""
        unreadable = (problem for _, problem in self.collection.failed)
        text = "Tables that cannot be read ({n}): their scans are in no analysis."
        stale = "Tables whose label map was changed after it was measured ({n}): not used."
        found = (
            make_findings("error", text, unreadable),
            make_findings("error", stale, (problem for _, problem in self.collection.stale)),
            self.collection.findings,
            self.people.findings,
            self.selection.findings,
            self._find_empty(cohort),
            _find_odd_muscles(cohort),
        )
        return sort_findings(chain(*found))

    def _find_empty(self, cohort: Cohort) -> list[Finding]:
        """Name the scans of the session that are in no analysis."""
        scans = self.collection.scans.loc[self.selection.scans]
        absent = scans[~scans["participant_id"].isin(cohort.values.index)]
        if self.options.missing == "complete":
            text = "Scans in no analysis, because a muscle, sex, age or BMI is missing ({n})."
        else:
            text = "Scans without a value of any muscle ({n}): they are in no analysis."
        return make_findings("warning", text, name_scans(absent))

    def summarise(self, cohort: Cohort) -> str:
        """Count scans and participants in a sentence without the full stop."""
        scans, session = self.collection.scans, self.selection.session
        people = scans["participant_id"].nunique()
        complete, all_muscles = len(cohort.select(())), len(cohort.select(cohort.common))
        sentence = (
            f"{count_noun(len(scans), 'scan')} of {count_noun(people, 'participant')} collected; "
            f"{count_noun(len(cohort.values), 'participant')} analysed"
            f"{f' in {session}' if session else ''}, "
            f"{complete:,} of them with sex, age and BMI, {all_muscles:,} of these with all muscles"
        )
        return sentence if complete else f"{sentence}: most analyses are n/a"

    def list_measures(self, cohort: Cohort) -> pd.DataFrame:
        """Join everything measured: one row per scan, muscle and side.

        ``analysed`` states whether the scan represents its participant in the analyses of MFI.
        """
        return self._join_scans(self.collection.rows, cohort)

    def list_level_measures(self, cohort: Cohort) -> pd.DataFrame:
        """Join the measures by vertebral level: one row per scan, level, muscle and side.

        Empty where the weights label no vertebrae.
        """
        return self._join_scans(self.collection.levels, cohort)

    def _join_scans(self, rows: pd.DataFrame, cohort: Cohort) -> pd.DataFrame:
        """Add the data of scans and participants to rows of measures."""
        scans = self.collection.scans.drop(columns=["qc_flags", "page"])
        identifiers = [name for name in scans.columns if name.endswith("_id")]
        origin = [name for name in scans.columns if name not in identifiers]
        used = scans.index.isin(self.selection.scans)
        used &= scans["participant_id"].isin(cohort.values.index).to_numpy()
        scans = scans.assign(analysed=["yes" if one else "no" for one in used])
        covariates = self.people.table[list(STANDARD)].reset_index()
        scans = scans.merge(covariates, on=VISIT, how="left", validate="many_to_one")
        own = [name for name in rows.columns if name not in (SCAN, FLAGS)]
        flags = [FLAGS] if FLAGS in rows else []
        table = rows.merge(scans, left_on=SCAN, right_index=True, validate="many_to_one")
        return table[[*identifiers, *own, *flags, *origin, "analysed", *STANDARD]]

    def list_values(self, cohort: Cohort) -> pd.DataFrame:
        """Arrange the values analysed: one row per participant, one column per muscle."""
        scans = self.collection.scans.loc[self.selection.scans].set_index("participant_id")
        table = cohort.people[list(STANDARD)].join(cohort.values)
        table.insert(0, "session_id", scans.loc[table.index, "session_id"])
        return table.rename_axis(index="participant_id").reset_index()

    def list_levels(self) -> frozenset[str]:
        """Vertebral levels on which the weights label the muscles analysed, as in the tables."""
        rows = self.collection.rows
        if "levels" not in rows:
            return frozenset()
        chosen = rows[rows[SCAN].isin(self.selection.scans)]
        return frozenset(map(str, chosen["levels"].dropna())) - {MISSING, ""}

    def describe(self, cohort: Cohort) -> dict[str, Any]:
        """Facts for the sidecars of the tables."""
        options = self.options
        return {
            "Session": self.selection.session or None,
            "SessionOrder": list(self.selection.order.sessions) or None,
            "Participants": len(cohort.values),
            "Missing": options.missing,
            "Correction": options.correction,
            "Model": options.model,
            "Controls": options.controls,
            "ParticipantsTable": Path(self.people.source).name or None,
        }


def _find_odd_muscles(cohort: Cohort) -> list[Finding]:
    """Name muscles that nobody has, and those that few have."""
    return [
        *make_findings(
            "warning",
            "Muscles without a value in anyone, in no analysis ({n}).",
            (f"{muscle} ({reason})" for muscle, reason in cohort.absent),
        ),
        *make_findings(
            "warning",
            "Muscles that fewer than half of the participants have ({n}): analysed individually, "
            "but not together with all others.",
            (f"{muscle} ({reason})" for muscle, reason in cohort.rare),
        ),
    ]


def read_study(options: RunOptions) -> Study:
    """Read OUTPUT_DIR's tables and the data of the participants.

    Raises
    ------
    InputError
        There are no tables, a table of participants or the session is invalid, or BIDS_DIR is
        not the dataset that was measured.
    OutputError
        OUTPUT_DIR belongs to another program.
    """
    if not options.bids_dir.is_dir():
        raise InputError(
            f"{options.bids_dir}: is not a folder. Expected the BIDS dataset, where the group "
            "level looks for participants.tsv; correct the path."
        )
    check_output_dir(options.bids_dir, options.output_dir)
    collection = collect_tables(options)
    visits = list(dict.fromkeys(collection.scans[VISIT].itertuples(index=False, name=None)))
    asked = [f"sub-{label}" for label in options.participant_label]
    sessions = [f"ses-{label}" for label in options.session_label]
    own, found = judge_dataset(
        options.bids_dir, options.output_dir, options.participants_file, collection.measured
    )
    people = read_people(
        options.bids_dir, options.participants_file, visits, asked, sessions, own_sessions=own
    )
    people = replace(people, findings=(*found, *people.findings))
    reference = f"ses-{options.session.removeprefix('ses-')}" if options.session else ""
    order = order_sessions(
        visits, people.sessions, options.bids_dir, options.session_order, reference
    )
    selection = select_session(collection.scans, options.session, order)
    return Study(options, collection, people, selection)
