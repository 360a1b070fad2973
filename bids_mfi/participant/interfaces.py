"""The nipype interfaces of a scan's graph: load, one pure call, save.

Inputs are files or frozen dataclasses of scalars, because nipype caches these correctly, but not
arrays or folders.
"""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    SimpleInterface,
    TraitedSpec,
    isdefined,
    traits,
)
from nipype.interfaces.base.support import Bunch
from numpy.typing import NDArray

from bids_mfi.bids.saved_scans import save_scan
from bids_mfi.bids.scan_files import ScanRecord, ScanResults, check_unchanged, identify_scan
from bids_mfi.grid import Grid
from bids_mfi.images import encode_image, stored_grid
from bids_mfi.measure.dixon import ScanSignals, fat_and_water, fat_fraction_percent
from bids_mfi.measure.erosion import find_slice_axis
from bids_mfi.measure.levels import LevelMeasure, find_levels, measure_levels
from bids_mfi.measure.muscle_order import check_order
from bids_mfi.measure.orientation import check_orientation
from bids_mfi.measure.pair import DixonPair, images_of
from bids_mfi.measure.pair_checks import RatioMeasures
from bids_mfi.measure.pair_images import complete_signals, read_measured_pair, read_pair_zooms_mm
from bids_mfi.measure.pair_quality import check_pair
from bids_mfi.measure.quality import QCFlag, check_scan, check_size
from bids_mfi.measure.quantify import MuscleMeasure, measure_muscles
from bids_mfi.measure.slices import SliceMeasure, measure_slices
from bids_mfi.network.bundle import ModelBundle
from bids_mfi.network.engine import EngineFacts
from bids_mfi.network.engines import EngineChoice, load_engine
from bids_mfi.network.inference import choose_inference
from bids_mfi.network.segment import resample_channels, segment_to_grid
from bids_mfi.report.figures import draw_figures

PAIR = ("in_phase", "out_phase")
READ_SIGNALS = {"computed": PAIR, "scanner": (*PAIR, "fat", "water")}  # the others are computed


def _save_array(runtime: Bunch, name: str, volume: NDArray[Any]) -> str:
    """Save an array for the next steps as ``NAME.npy`` in the folder of the step."""
    path = Path(runtime.cwd) / f"{name}.npy"
    np.save(path, volume)
    return str(path)


def pack_exactly(image: NDArray[np.float64]) -> NDArray[Any]:
    """Give the smallest of int16, float32 and float64 that holds every value of an image.

    Parameters
    ----------
    image : ndarray of float64
        Finite values.

    Examples
    --------
    >>> [pack_exactly(np.array([value])).dtype.name for value in (3.0, 0.5, 0.1, 4e4)]
    ['int16', 'float32', 'float64', 'float32']
    """
    for kind in (np.int16, np.float32):
        with np.errstate(invalid="ignore", over="ignore"):  # values beyond the range of the type
            packed = image.astype(kind)
        if np.array_equal(packed, image):
            return packed
    return image


class _ResampleInputSpec(BaseInterfaceInputSpec):
    record = traits.Instance(ScanRecord, mandatory=True)
    bundle = traits.Instance(ModelBundle, mandatory=True)
    fat_water = traits.Enum("computed", "scanner", mandatory=True, usedefault=False)
    threads = traits.Int(mandatory=True)


class _ResampleOutputSpec(TraitedSpec):
    channels = File(exists=True, desc="npy, float32, shape (channel, x, y, z), model grid")
    in_phase = File(exists=True, desc="npy, the image that was read and checked")
    out_phase = File(exists=True, desc="npy, the image that was read and checked")
    fat = File(exists=True, desc="npy, the scanner's own image, if it is used")
    water = File(exists=True, desc="the same of water")
    shown_water = File(exists=True, desc="npy, water, float32")
    fat_fraction = File(exists=True, desc="npy, fat fraction, percent, float32")
    ratios = traits.Instance(RatioMeasures, desc="of the two images")
    model_grid = traits.Instance(Grid)
    grid = traits.Instance(Grid, desc="grid of the scan")
    record = traits.Instance(ScanRecord, desc="with the SHA-256 of the images at the start")


class Resample(SimpleInterface):
    """In-phase and out-of-phase images -> channels on the model grid, fat fraction."""

    input_spec = _ResampleInputSpec
    output_spec = _ResampleOutputSpec

    def _run_interface(self, runtime: Bunch) -> Bunch:
        pair, source = self.inputs.record.pair, self.inputs.fat_water
        self._results["record"] = identify_scan(self.inputs.record)
        in_phase, out_phase, grid, self._results["ratios"] = read_measured_pair(
            pair, self.inputs.threads
        )
        signals = complete_signals(in_phase, out_phase, grid, pair, source)
        zooms = read_pair_zooms_mm(pair)
        channels, model_grid = resample_channels(
            in_phase, out_phase, grid, self.inputs.bundle, zooms
        )
        self._results |= {"model_grid": model_grid, "grid": grid}
        fraction = fat_fraction_percent(signals.fat, signals.water).astype(np.float32)
        saved = {name: pack_exactly(getattr(signals, name)) for name in READ_SIGNALS[source]}
        saved |= {"shown_water": signals.water.astype(np.float32), "fat_fraction": fraction}
        for name, array in ({"channels": channels} | saved).items():
            self._results[name] = _save_array(runtime, name, array)
        return runtime


class _SegmentInputSpec(BaseInterfaceInputSpec):
    channels = File(exists=True, mandatory=True)
    model_grid = traits.Instance(Grid, mandatory=True)
    grid = traits.Instance(Grid, mandatory=True, desc="grid of the scan")
    bundle = traits.Instance(ModelBundle, mandatory=True)
    weights = File(exists=True, mandatory=True, desc="the bundle's weights, for nipype's hash")
    choice = traits.Instance(EngineChoice, mandatory=True)


class _SegmentOutputSpec(TraitedSpec):
    labels = File(exists=True, desc="npy, int16, label map on the scan's own grid")
    vertebrae = File(exists=True, desc="the same of vertebral bodies, if the bundle has them")
    engine = traits.Instance(EngineFacts)


class Segment(SimpleInterface):
    """Channels on the model grid -> label map on the scan's own grid."""

    input_spec = _SegmentInputSpec
    output_spec = _SegmentOutputSpec

    def _run_interface(self, runtime: Bunch) -> Bunch:
        bundle, scan_grid = self.inputs.bundle, self.inputs.grid
        choice = self.inputs.choice
        engine = load_engine(bundle, choice)
        channels, model_grid = np.load(self.inputs.channels), self.inputs.model_grid
        labels, vertebrae = segment_to_grid(
            channels, model_grid, scan_grid, bundle, engine, choice.threads
        )
        self._results["engine"] = engine.facts
        for name, found in (("labels", labels), ("vertebrae", vertebrae)):
            if found is not None:
                self._results[name] = _save_array(runtime, name, found)
        return runtime


class _QuantifyInputSpec(BaseInterfaceInputSpec):
    labels = File(exists=True, mandatory=True)
    vertebrae = File(exists=True, desc="where the bundle labels them")
    pair = traits.Instance(DixonPair, mandatory=True)
    in_phase = File(exists=True, mandatory=True)
    out_phase = File(exists=True, mandatory=True)
    fat = File(exists=True, desc="the scanner's own image, if it is used")
    water = File(exists=True, desc="the same of water")
    ratios = traits.Instance(RatioMeasures, mandatory=True)
    grid = traits.Instance(Grid, mandatory=True, desc="grid of the scan")
    model_grid = traits.Instance(Grid, mandatory=True)
    bundle = traits.Instance(ModelBundle, mandatory=True)
    fat_water = traits.Enum("computed", "scanner", mandatory=True, usedefault=False)


class _QuantifyOutputSpec(TraitedSpec):
    measures = File(exists=True, desc="JSON: measures and flags")


class Quantify(SimpleInterface):
    """Label map, fat and water -> measures, quality flags."""

    input_spec = _QuantifyInputSpec
    output_spec = _QuantifyOutputSpec

    def _run_interface(self, runtime: Bunch) -> Bunch:
        bundle, table = self.inputs.bundle, self.inputs.bundle.table
        grid, pair, source = self.inputs.grid, self.inputs.pair, self.inputs.fat_water
        signals = self._load_signals(source)
        water, fat, computed = signals.water, signals.fat, source == "computed"
        labels = np.load(self.inputs.labels)
        measures = measure_muscles(
            labels, water, fat, grid.voxel_volume_ml, table, find_slice_axis(grid)
        )
        flags = check_orientation(images_of(pair, source))
        flags += check_size(self.inputs.model_grid.shape, choose_inference(bundle).least_shape)
        flags += check_pair(signals, pair, computed, self.inputs.ratios)
        flags += check_order(labels, grid, table)
        flags += check_scan(measures, labels, grid, table, computed, signals)
        levels: list[LevelMeasure] = []
        if isdefined(self.inputs.vertebrae):
            vertebrae = np.load(self.inputs.vertebrae)
            slices, doubts = find_levels(vertebrae, grid, bundle.vertebrae)
            levels = measure_levels(labels, slices, water, fat, grid, table)
            flags += doubts
        folder = Path(runtime.cwd)
        found = {
            "measures": [asdict(measure) for measure in measures],
            "levels": [asdict(level) for level in levels],
            "slices": [asdict(one) for one in measure_slices(labels, water, fat, grid, table)],
            "flags": [asdict(flag) for flag in flags],
        }
        (folder / "measures.json").write_text(json.dumps(found))
        self._results["measures"] = str(folder / "measures.json")
        return runtime

    def _load_signals(self, source: str) -> ScanSignals:
        paths = {name: getattr(self.inputs, name) for name in READ_SIGNALS[source]}
        images = {name: np.load(path).astype(np.float64) for name, path in paths.items()}
        if source == "computed":
            fat, water = fat_and_water(images["in_phase"], images["out_phase"])
            images |= {"fat": fat, "water": water}
        return ScanSignals(**images)


class _ReportInputSpec(BaseInterfaceInputSpec):
    labels = File(exists=True, mandatory=True)
    vertebrae = File(exists=True, desc="where the bundle labels them")
    water = File(exists=True, mandatory=True)
    fat_fraction = File(exists=True, mandatory=True)
    grid = traits.Instance(Grid, mandatory=True, desc="grid of the scan")
    bundle = traits.Instance(ModelBundle, mandatory=True)


class _ReportOutputSpec(TraitedSpec):
    figures = traits.List(File(exists=True), desc="PNG, one per figure of the page")


class Report(SimpleInterface):
    """Label map, water and fat fraction -> figures of the report page."""

    input_spec = _ReportInputSpec
    output_spec = _ReportOutputSpec

    def _run_interface(self, runtime: Bunch) -> Bunch:
        labels, grid = np.load(self.inputs.labels), stored_grid(self.inputs.grid)
        water, fraction = np.load(self.inputs.water), np.load(self.inputs.fat_fraction)
        bundle, vertebrae = self.inputs.bundle, None
        if isdefined(self.inputs.vertebrae):
            vertebrae = (np.load(self.inputs.vertebrae), bundle.vertebrae)
        pictures = draw_figures(water, fraction, labels, grid, bundle.table, vertebrae)
        paths = [Path(runtime.cwd) / f"{name}.png" for name in pictures]
        for path in paths:
            path.write_bytes(pictures[path.stem])
        self._results["figures"] = [str(path) for path in paths]
        return runtime


class _SaveInputSpec(BaseInterfaceInputSpec):
    labels = File(exists=True, mandatory=True)
    vertebrae = File(exists=True, desc="where the bundle labels them")
    fat_fraction = File(exists=True, mandatory=True)
    measures = File(exists=True, mandatory=True)
    figures = traits.List(File(exists=True), mandatory=True)
    grid = traits.Instance(Grid, mandatory=True, desc="grid of the scan")
    record = traits.Instance(ScanRecord, mandatory=True)
    engine = traits.Instance(EngineFacts, mandatory=True)
    output_dir = traits.Str(mandatory=True)


class _SaveOutputSpec(TraitedSpec):
    table = File(exists=True, desc="the scan's *_mfi.tsv in OUTPUT_DIR")


class Save(SimpleInterface):
    """All results of a scan -> OUTPUT_DIR; the marker of completeness is written last."""

    input_spec = _SaveInputSpec
    output_spec = _SaveOutputSpec

    def _run_interface(self, runtime: Bunch) -> Bunch:
        grid, vertebrae = self.inputs.grid, self.inputs.vertebrae
        check_unchanged(self.inputs.record)
        found = json.loads(Path(self.inputs.measures).read_text())
        results = ScanResults(
            dseg=encode_image(np.load(self.inputs.labels), grid),
            ffmap=encode_image(np.load(self.inputs.fat_fraction), stored_grid(grid)),
            measures=tuple(MuscleMeasure(**row) for row in found["measures"]),
            flags=tuple(QCFlag(**row) for row in found["flags"]),
            figures=tuple(
                (Path(path).stem, Path(path).read_bytes()) for path in self.inputs.figures
            ),
            vertebrae=encode_image(np.load(vertebrae), grid) if isdefined(vertebrae) else None,
            levels=tuple(LevelMeasure(**row) for row in found["levels"]),
            slices=tuple(SliceMeasure(**row) for row in found["slices"]),
        )
        record = replace(self.inputs.record, engine=self.inputs.engine.describe())
        paths = save_scan(Path(self.inputs.output_dir), record, results)
        self._results["table"] = str(paths.mfi_tsv)
        return runtime
