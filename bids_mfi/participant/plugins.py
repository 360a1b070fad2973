"""Choice and settings of the nipype plugin that runs the graph."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bids_mfi.errors import UsageError
from bids_mfi.options import RunOptions
from bids_mfi.processes import count_cpus
from bids_mfi.reading import read_regular_file

OWN_MACHINE_PLUGINS = ("MultiProc", "LegacyMultiProc", "Linear", "Debug")
SLURM_PLUGINS = ("SLURM", "SLURMGraph")

# The plugins of nipype, which must not be imported before its environment is prepared.
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


def choose_threads(options: RunOptions, scans: int) -> tuple[int, int]:
    """Choose the number of parallel processes and the threads per segmentation.

    With at least as many scans as processors, each segmentation uses one thread, which gives the
    most scans per hour. With fewer scans, the processors are divided between them.

    Examples
    --------
    >>> choose_threads(RunOptions(Path(), Path(), "participant", nprocs=8), scans=2)
    (8, 4)
    """
    nprocs = options.nprocs or count_cpus()
    shared_out = max(1, min(8, nprocs // max(1, min(scans, nprocs))))
    return nprocs, min(options.omp_nthreads or shared_out, nprocs)


def limit_threads(threads: int) -> None:
    """Limit the threads of numerical libraries that this process or its workers import later."""
    for library in ("OMP", "OPENBLAS", "MKL"):
        os.environ[f"{library}_NUM_THREADS"] = str(threads)


@dataclass(frozen=True, slots=True)
class Plugin:
    """A nipype plugin and its settings.

    Attributes
    ----------
    name : str
        One of PLUGINS.
    arguments : dict of str to object
        Arguments in the format of nipype's ``plugin_args``.
    from_file : bool
        Whether the user named it with ``--use-plugin``; its arguments are then used unchanged.
    """

    name: str
    arguments: dict[str, Any]
    from_file: bool

    @property
    def is_on_own_machine(self) -> bool:
        """Whether all steps run on this machine."""
        return self.name in OWN_MACHINE_PLUGINS

    def make_arguments(self, nprocs: int) -> dict[str, Any]:
        """Make the arguments of a turn that may use this many processors."""
        return self.arguments if self.from_file else {**self.arguments, "n_procs": nprocs}


def needs_no_worker(scans: int) -> bool:
    """Check whether the steps run in this process unless the user named a plugin.

    ``docs/decisions/in-process.md`` gives the reasons.
    """
    return scans == 1


def needs_second_process(processors: int) -> bool:
    """Check whether a run without workers uses a second process for steps that need not wait."""
    return processors > 1


def fit_plugin(plugin: Plugin, scans: int) -> Plugin:
    """Replace the default plugin by one without worker processes if the scans need none."""
    if plugin.from_file or not needs_no_worker(scans):
        return plugin
    return Plugin("Linear", {}, from_file=False)


def choose_plugin(options: RunOptions) -> Plugin:
    """Read the nipype plugin to use, and reject one that cannot run here.

    Raises
    ------
    UsageError
        The plugin file cannot be used, or a command of the queue is missing.
    """
    if options.use_plugin is None:
        memory = {} if options.mem_gb is None else {"memory_gb": options.mem_gb}
        own = {"raise_insufficient": False, "mp_context": "spawn", **memory}
        return Plugin("MultiProc", own, from_file=False)
    name, arguments = _read_plugin_file(options.use_plugin)
    _check_name(name, options.use_plugin)
    _check_commands(name, options.use_plugin)
    return Plugin(name, arguments, from_file=True)


def _check_name(name: str, path: Path) -> None:
    if name not in PLUGINS:
        raise UsageError(
            f"{path}: nipype has no plugin {name!r}, expected one of {', '.join(PLUGINS)}. "
            "Correct `plugin:` in the file."
        )
    if name in HASTY_PLUGINS:
        raise UsageError(
            f"{path}: nipype's {name} returns before the jobs have run, so their outcome would be "
            "unknown. Use another plugin, or an array of participants (docs/hpc.md)."
        )


def _check_commands(name: str, path: Path) -> None:
    wanted = QUEUE_COMMANDS.get(name, ())
    missing = [command for command in wanted if shutil.which(command) is None]
    if missing:
        raise UsageError(
            f"{path}: nipype's {name} needs {' and '.join(wanted)}, but PATH has no "
            f"{' and no '.join(missing)}. Start it outside a container on a machine that may "
            "submit jobs, or use an array of participants (docs/hpc.md)."
        )


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
