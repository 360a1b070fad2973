"""nipype's Slurm plugins, extended to request memory and to wait for jobs.

In nipype 1.11, SLURMGraph returns when the jobs have been submitted. Here it waits until they have
left the queue. It identifies its jobs by their scripts in the work folder of the run.
"""

import getpass
import os
import re
import subprocess
import time
from pathlib import Path
from typing import Any

from nipype.pipeline.plugins import SLURMGraphPlugin, SLURMPlugin

from bids_mfi.errors import MFIError, UsageError

BASE_GB = 1.0  # for a separate process, which imports everything
POLL_S = 2.0
LONGEST_SILENCE_S = 600.0
PLAIN_PATH = re.compile(r"[\w./+@:,=-]+", re.ASCII)


def request_resources(workflow: Any, plugin_args: dict[str, Any]) -> None:
    """Make each node request its processors and memory from sbatch; user options come last.

    nipype's own plugins request neither.
    """
    given = plugin_args.get("sbatch_args", "")
    for name in workflow.list_node_names():
        node = workflow.get_node(name)
        memory_mb = round((node.mem_gb + BASE_GB) * 1024)
        wanted = f"--cpus-per-task={node.n_procs} --mem={memory_mb}M {given}"
        node.plugin_args = {"sbatch_args": wanted.strip(), "overwrite": True}


def prepare_submission(work_dir: Path) -> None:
    """Set the environment that nipype assumes, and reject paths that would break its scripts.

    squeue must show all jobs, including those of hidden partitions, regardless of user settings.

    Raises
    ------
    UsageError
        The path of the work folder has a space or similar character, which nipype's scripts do not
        quote.
    """
    os.environ.setdefault("LOGNAME", getpass.getuser())
    for name in [name for name in os.environ if name.startswith("SQUEUE_")]:
        del os.environ[name]
    os.environ["SQUEUE_ALL"] = "1"
    if not PLAIN_PATH.fullmatch(str(work_dir)):
        raise UsageError(
            f"{work_dir}: nipype's Slurm plugins cannot use a folder with a space or a similar "
            "character in its path. Name another with --work-dir, on a disk that all nodes can "
            "access."
        )


class PlainSpokenSLURMPlugin(SLURMPlugin):  # type: ignore[misc]
    """SLURM plugin that reports when sbatch accepts no job."""

    def _submit_batchtask(self, scriptfile: str, node: Any) -> int:
        try:
            return int(super()._submit_batchtask(scriptfile, node))
        except (RuntimeError, IndexError, AttributeError) as error:
            options = node.plugin_args["sbatch_args"]
            raise UsageError(
                f"sbatch accepted no job with the options {options!r}. Correct `sbatch_args:` in "
                "the plugin file; `sbatch --test-only` reports the error."
            ) from error


class WaitingSLURMGraphPlugin(SLURMGraphPlugin):  # type: ignore[misc]
    """SLURMGraph plugin that returns when its jobs have left the queue."""

    batch_dir: str | None = None  # folder of the scripts of this run's jobs

    def _get_args(self, node: Any, keywords: list[str]) -> tuple[str, ...]:
        """Make a job end when one of its dependencies has failed."""
        ours = " --kill-on-invalid-dep=yes"
        values = super()._get_args(node, keywords)
        return tuple(
            value + ours if keyword == "sbatch_args" else value
            for keyword, value in zip(keywords, values, strict=True)
        )

    def _submit_graph(self, pyfiles: Any, dependencies: Any, nodes: Any) -> None:
        self.batch_dir = os.path.dirname(pyfiles[0])
        super()._submit_graph(pyfiles, dependencies, nodes)
        last_answer = time.monotonic()
        while (jobs := self.list_jobs()) != []:
            if jobs is not None:
                last_answer = time.monotonic()
            if time.monotonic() - last_answer > LONGEST_SILENCE_S:
                raise MFIError(
                    "squeue does not answer, so the end of the jobs cannot be detected. Run it "
                    "again when they have ended, to complete what is missing."
                )
            time.sleep(POLL_S)

    def list_jobs(self) -> list[str] | None:
        """List the numbers of this run's jobs in the queue; None if Slurm does not answer."""
        command = ["squeue", "--noheader", f"--user={os.getuid()}", "--format=%i %o"]
        asked = subprocess.run(command, capture_output=True, text=True, check=False)
        if asked.returncode != 0:
            return None
        lines = [line.split(maxsplit=1) for line in asked.stdout.splitlines()]
        return [line[0] for line in lines if line[-1].startswith(f"{self.batch_dir}/")]

    def stop(self) -> None:
        """Cancel the jobs when the run is interrupted."""
        if jobs := self.list_jobs():
            subprocess.run(["scancel", *jobs], check=False)
