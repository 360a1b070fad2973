"""The nipype doors of a scan's graph: load, one pure call, save; must not hide any decision.

Inputs are files or frozen dataclasses of scalars: nipype caches these rightly, and arrays or
folders wrongly.
"""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    SimpleInterface,
    TraitedSpec,
    traits,
)
from nipype.interfaces.base.support import Bunch

from bids_mfi.derivatives import ScanRecord, save_scan
from bids_mfi.dixon import DixonPair, fat_fraction_percent, read_fat_and_water, read_pair
from bids_mfi.grid import encode_image, read_image, read_labels
from bids_mfi.network.bundle import ModelBundle
from bids_mfi.quality import QCFlag, check_scan
from bids_mfi.quantify import MuscleMeasure, measure_muscles


class _ResampleInputSpec(BaseInterfaceInputSpec):
    pair = traits.Instance(DixonPair, mandatory=True)
    bundle = traits.Instance(ModelBundle, mandatory=True)


class _ResampleOutputSpec(TraitedSpec):
    channels = File(exists=True, desc="npy, float32, shape (channel, x, y, z), model grid")


class Resample(SimpleInterface):
    """In-phase and out-of-phase images -> standardised channels on the model grid."""

    input_spec = _ResampleInputSpec
    output_spec = _ResampleOutputSpec

    def _run_interface(self, runtime: Bunch) -> Bunch:
        from bids_mfi.network.segment import prepare_channels

        in_phase, out_phase, grid = read_pair(self.inputs.pair)
        channels = prepare_channels(in_phase, out_phase, grid, self.inputs.bundle)
        path = Path(runtime.cwd) / "channels.npy"
        np.save(path, channels)
        self._results["channels"] = str(path)
        return runtime


class _SegmentInputSpec(BaseInterfaceInputSpec):
    channels = File(exists=True, mandatory=True)
    pair = traits.Instance(DixonPair, mandatory=True)
    bundle = traits.Instance(ModelBundle, mandatory=True)
    weights = File(exists=True, mandatory=True, desc="the bundle's weights, for the cache")
    device = traits.Str(mandatory=True)
    threads = traits.Int(mandatory=True)


class _SegmentOutputSpec(TraitedSpec):
    labels = File(exists=True, desc="label map on the scan's own grid")


class Segment(SimpleInterface):
    """Channels on the model grid -> label map on the scan's own grid."""

    input_spec = _SegmentInputSpec
    output_spec = _SegmentOutputSpec

    def _run_interface(self, runtime: Bunch) -> Bunch:
        from bids_mfi.grid import read_grid
        from bids_mfi.network.segment import segment_on_grid

        grid = read_grid(self.inputs.pair.in_phase)
        labels = segment_on_grid(
            np.load(self.inputs.channels),
            grid,
            self.inputs.bundle,
            device=self.inputs.device,
            threads=self.inputs.threads,
        )
        path = Path(runtime.cwd) / "labels.nii.gz"
        path.write_bytes(encode_image(labels, grid))
        self._results["labels"] = str(path)
        return runtime


class _QuantifyInputSpec(BaseInterfaceInputSpec):
    labels = File(exists=True, mandatory=True)
    pair = traits.Instance(DixonPair, mandatory=True)
    bundle = traits.Instance(ModelBundle, mandatory=True)
    fat_water = traits.Enum("computed", "scanner", mandatory=True, usedefault=False)


class _QuantifyOutputSpec(TraitedSpec):
    measures = File(exists=True, desc="JSON: measures and flags")
    fat_fraction = File(exists=True, desc="fat fraction, percent, float32")
    water = File(exists=True, desc="npy, water, float32")


class Quantify(SimpleInterface):
    """Label map, fat and water -> measures, quality flags, fat-fraction map."""

    input_spec = _QuantifyInputSpec
    output_spec = _QuantifyOutputSpec

    def _run_interface(self, runtime: Bunch) -> Bunch:
        table = self.inputs.bundle.table
        fat, water, grid = read_fat_and_water(self.inputs.pair, self.inputs.fat_water)
        labels, _ = read_labels(Path(self.inputs.labels))
        measures = measure_muscles(labels, water, fat, grid.voxel_volume_ml, table)
        flags = check_scan(measures, labels, grid, table, self.inputs.fat_water == "computed")
        folder = Path(runtime.cwd)
        found = {
            "measures": [asdict(measure) for measure in measures],
            "flags": [asdict(flag) for flag in flags],
        }
        (folder / "measures.json").write_text(json.dumps(found))
        fraction = fat_fraction_percent(fat, water).astype(np.float32)
        (folder / "fat_fraction.nii.gz").write_bytes(encode_image(fraction, grid))
        np.save(folder / "water.npy", water.astype(np.float32))
        self._results["measures"] = str(folder / "measures.json")
        self._results["fat_fraction"] = str(folder / "fat_fraction.nii.gz")
        self._results["water"] = str(folder / "water.npy")
        return runtime
