"""A killed worker costs the scans it worked on; it neither hangs the run nor takes others along."""

import os
import re
import signal
import time
from pathlib import Path

import pytest
from nipype.interfaces.base import BaseInterfaceInputSpec, SimpleInterface, TraitedSpec, traits
from nipype.pipeline import engine

from bids_mfi.participant.graph import MEMORY_GB
from bids_mfi.participant.plugin_multiproc import KILLED, SurvivingMultiProcPlugin

WAITS, WAIT_S = 400, 0.1


class _InputSpec(BaseInterfaceInputSpec):
    path = traits.Str(mandatory=True)
    dies = traits.Bool(mandatory=True)


class _OutputSpec(TraitedSpec):
    path = traits.Str()


class WriteOrDie(SimpleInterface):
    """Writes a file, or is killed as if memory had run out."""

    input_spec = _InputSpec
    output_spec = _OutputSpec

    def _run_interface(self, runtime):
        if self.inputs.dies:
            os.kill(os.getpid(), signal.SIGKILL)
        Path(self.inputs.path).write_text("done")
        self._results["path"] = self.inputs.path
        return runtime


@pytest.mark.timeout(120)
def test_a_killed_worker_is_a_failure_and_the_others_finish(tmp_path):
    workflow = engine.Workflow(name="w", base_dir=str(tmp_path))
    workflow.config["execution"] = {
        "crashdump_dir": str(tmp_path / "crash"),
        "crashfile_format": "txt",
        "poll_sleep_duration": "0.05",
    }
    for number in range(4):
        node = engine.Node(WriteOrDie(), name=f"n{number}")
        node.inputs.path = str(tmp_path / f"{number}.txt")
        node.inputs.dies = number == 1
        workflow.add_nodes([node])
    plugin = SurvivingMultiProcPlugin(plugin_args={"n_procs": 1, "mp_context": "spawn"})
    with pytest.raises(RuntimeError):
        workflow.run(plugin=plugin)
    assert sorted(path.name for path in tmp_path.glob("*.txt")) == ["0.txt", "2.txt", "3.txt"]
    (crash,) = (tmp_path / "crash").glob("crash-*.txt")
    assert KILLED in crash.read_text()


class Meet(SimpleInterface):
    """Waits until its twin runs too."""

    input_spec = _InputSpec
    output_spec = _OutputSpec

    def _run_interface(self, runtime):
        own = Path(self.inputs.path)
        own.write_text("here")
        other = own.with_name({"one": "two", "two": "one"}[own.name])
        for _ in range(WAITS):
            if other.exists():
                self._results["path"] = str(other)
                return runtime
            time.sleep(WAIT_S)
        raise RuntimeError(f"{other} did not start")


@pytest.mark.timeout(120)
def test_two_segmentations_run_at_once_in_the_documented_container(tmp_path):
    page = (Path(__file__).parents[2] / "docs" / "docker.md").read_text()
    nprocs, memory = re.search(r"--nprocs (\d+) --mem ([\d.]+)$", page, re.MULTILINE).groups()
    workflow = engine.Workflow(name="w", base_dir=str(tmp_path))
    workflow.config["execution"] = {"crashdump_dir": str(tmp_path / "crash")}
    for name in ("one", "two"):
        node = engine.Node(Meet(), name=name, n_procs=1, mem_gb=MEMORY_GB["Segment"])
        node.inputs.path, node.inputs.dies = str(tmp_path / name), False
        workflow.add_nodes([node])
    arguments = {"n_procs": int(nprocs), "memory_gb": float(memory), "mp_context": "spawn"}
    plugin = SurvivingMultiProcPlugin(plugin_args=arguments)
    done = workflow.run(plugin=plugin)  # a node whose twin does not start fails
    assert len(done) == 2
