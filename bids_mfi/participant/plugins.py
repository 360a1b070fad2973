"""Which nipype plugin runs the graph, and how."""

import os
import shutil
from pathlib import Path
from typing import Any

from bids_mfi.errors import UsageError
from bids_mfi.options import RunOptions
from bids_mfi.reading import read_regular_file

OWN_MACHINE_PLUGINS = ("MultiProc", "LegacyMultiProc", "Linear", "Debug")
SLURM_PLUGINS = ("SLURM", "SLURMGraph")

# What nipype has; it must not be imported before its surroundings are prepared.
PLUGINS = (
    "Condor", "CondorDAGMan", "Debug", "IPython", "LSF", "LegacyMultiProc", "Linear", "MultiProc",
    "OAR", "PBS", "PBSGraph", "SGE", "SGEGraph", "SLURM", "SLURMGraph", "SomaFlow",
)  # fmt: skip

QUEUE_COMMANDS = {
    **dict.fromkeys(SLURM_PLUGINS, ("sbatch", "squeue")),
    **dict.fromkeys(("PBS", "PBSGraph", "SGE"), ("qsub", "qstat")),
    "LSF": ("bsub", "bjobs"),
    "OAR": ("oarsub", "oarstat"),
    "Condor": ("condor_qsub", "condor_q"),
}

HASTY_PLUGINS = ("CondorDAGMan", "SGEGraph", "SomaFlow")  # return before the jobs have run


def count_cpus() -> int:
    """Processors this process may use."""
    return len(os.sched_getaffinity(0))


def choose_threads(options: RunOptions, scans: int) -> tuple[int, int]:
    """Choose the number of parallel processes and the threads of a segmentation.

    With at least as many scans as processors each segmentation takes one thread, which gives
    the most scans an hour; with fewer the processors are shared out.

    Examples
    --------
    >>> choose_threads(RunOptions(Path(), Path(), "participant", nprocs=8), scans=2)
    (8, 4)
    """
    nprocs = options.nprocs or count_cpus()
    shared_out = max(1, min(8, nprocs // max(1, min(scans, nprocs))))
    return nprocs, min(options.omp_nthreads or shared_out, nprocs)


def choose_plugin(options: RunOptions, nprocs: int) -> tuple[str, dict[str, Any]]:
    """Read which nipype plugin to use, and how.

    Raises
    ------
    UsageError
        The plugin file cannot be used.
    """
    if options.use_plugin is None:
        plugin_args: dict[str, Any] = {
            "n_procs": nprocs,
            "raise_insufficient": False,
            "mp_context": "spawn",
        }
        if options.mem_gb is not None:
            plugin_args["memory_gb"] = options.mem_gb
        return "MultiProc", plugin_args
    name, plugin_args = _read_plugin_file(options.use_plugin)
    if name not in PLUGINS:
        raise UsageError(
            f"{options.use_plugin}: nipype has no plugin {name!r}, expected one of "
            f"{', '.join(PLUGINS)}. Correct `plugin:` in the file."
        )
    if name in HASTY_PLUGINS:
        raise UsageError(
            f"{options.use_plugin}: nipype's {name} returns before the jobs have run, so nothing "
            "would be known about them. Use another plugin, or an array of participants "
            "(docs/hpc.md)."
        )
    return name, plugin_args


def _read_plugin_file(path: Path) -> tuple[str, dict[str, Any]]:
    import yaml

    try:
        described = yaml.safe_load(read_regular_file(path))
        name, plugin_args = described["plugin"], dict(described.get("plugin_args") or {})
        if not isinstance(name, str):
            raise ValueError(f"plugin is {type(name).__name__}, expected text")
    except (OSError, ValueError, yaml.YAMLError, TypeError, LookupError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else error
        raise UsageError(
            f"{path}: cannot be used as a nipype plugin file ({reason}). Expected YAML with "
            "`plugin:` and, optionally, `plugin_args:`."
        ) from error
    return name, plugin_args


def check_plugin(options: RunOptions) -> None:
    """Refuse a plugin that cannot be used before anything starts.

    Raises
    ------
    UsageError
        The plugin file cannot be used, or a command of the queue is missing.
    """
    plugin, _ = choose_plugin(options, nprocs=1)
    wanted = QUEUE_COMMANDS.get(plugin, ())
    missing = [command for command in wanted if shutil.which(command) is None]
    if missing:
        raise UsageError(
            f"{options.use_plugin}: nipype's {plugin} needs {' and '.join(wanted)}, but "
            f"PATH has no {' and no '.join(missing)}. Start it outside a container on a machine "
            "that may submit jobs, or use an array of participants (docs/hpc.md)."
        )
