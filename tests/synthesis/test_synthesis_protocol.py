"""What the scanner does: phases, the fold, noise, ghosts, chemical shift; and the protocols."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from bids_mfi.cli.verbs import build_verb_parser
from bids_mfi.measure.dixon import phase_cosine
from bids_mfi.synthesis.painting import TissueVolume
from bids_mfi.synthesis.protocol import (
    IMAGING_FREQUENCY_MHZ,
    PROTOCOLS,
    VARIED,
    acquire,
    draw_protocol,
    draw_settings,
    log_receive_field,
    noise_range,
    spread_axes,
)

SHAPE = (24, 20, 16)


def settings_of(name="paper", **changes):
    drawn = draw_settings(np.random.default_rng(0), PROTOCOLS[name])
    clean = {
        "noise": 0.0, "field": (0.0,) * 9, "chemical_shift_voxels": 0.0, "ghost": 0.0,
        "motion_voxels": 0.0,
        "fat_gain": 1.0, "scale": 100.0,
    }  # fmt: skip
    return replace(drawn, **(clean | changes))


def body_of(water, fat):
    shape = torch.ones(SHAPE)
    return TissueVolume(water * shape, fat * shape, torch.zeros(SHAPE, dtype=torch.uint8))


def scan(water, fat, seed=0, **changes):
    volume = water if isinstance(water, TissueVolume) else body_of(water, fat)
    return acquire(np.random.default_rng(seed), volume, settings_of(**changes))


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)
def test_echo_times_are_in_and_out_of_phase_as_discovery_sees_it(protocol):
    mhz = IMAGING_FREQUENCY_MHZ[protocol.field_strength_t]
    for seed in range(20):
        drawn = draw_settings(np.random.default_rng(seed), protocol)
        assert phase_cosine(drawn.in_phase_ms / 1000, mhz) > 0.8
        assert phase_cosine(drawn.out_phase_ms / 1000, mhz) < -0.8


def test_images_by_hand():
    """W = .8 and F = .2 with perfect phases and no decay: sum and difference."""
    tesla = 3.0
    turn_ms = 1000 / (3.4 * IMAGING_FREQUENCY_MHZ[tesla])
    exact = {
        "field_strength_t": tesla, "in_phase_ms": turn_ms, "out_phase_ms": turn_ms / 2,
        "water_t2star_ms": 1e9, "fat_t2star_ms": 1e9,
    }  # fmt: skip
    in_phase, out_phase = scan(0.8, 0.2, **exact)
    assert in_phase[3, 4, 5].item() == pytest.approx(100.0, rel=1e-5)
    assert out_phase[3, 4, 5].item() == pytest.approx(60.0, rel=1e-5)
    _, folded = scan(0.2, 0.8, **exact)
    assert folded[3, 4, 5].item() == pytest.approx(60.0, rel=1e-5)


def test_decay_takes_more_of_the_later_echo():
    in_phase, out_phase = scan(1.0, 0.0, in_phase_ms=2.46, out_phase_ms=3.69, water_t2star_ms=30.0)
    assert in_phase[0, 0, 0].item() == pytest.approx(100 * np.exp(-2.46 / 30), rel=1e-5)
    assert out_phase[0, 0, 0].item() == pytest.approx(100 * np.exp(-3.69 / 30), rel=1e-5)


def test_noise_is_rician():
    """In air the magnitude of complex noise has the mean sd sqrt(pi / 2)."""
    in_phase, _ = scan(0.0, 0.0, noise=0.05)
    assert float(in_phase.mean()) == pytest.approx(5 * np.sqrt(np.pi / 2), rel=0.02)
    bright, _ = scan(1.0, 0.0, noise=0.05)
    assert float(bright.std()) == pytest.approx(5.0, rel=0.05)


def test_chemical_shift_moves_fat_only():
    volume = body_of(0.0, 0.0)
    volume.water[12, 10, 8] = 1.0
    volume.fat[5, 5, 5] = 1.0
    in_phase, _ = scan(volume, None, chemical_shift_voxels=0.5, readout_axis=0)
    assert in_phase[12, 10, 8] > 90
    assert in_phase[5, 5, 5].item() == pytest.approx(in_phase[6, 5, 5].item())
    assert in_phase[4, 5, 5].item() == 0


def test_ghosts_repeat_the_image_along_the_phase_axis():
    volume = body_of(0.0, 0.0)
    volume.water[12, 10, 8] = 1.0
    in_phase, _ = scan(volume, None, ghost=0.1, ghost_share=0.25, phase_axis=1)
    plain, _ = scan(volume, None)
    assert in_phase[12, 10, 8].item() == pytest.approx(0.9 * plain.max().item(), rel=1e-5)
    assert in_phase[12, 15, 8].item() == pytest.approx(0.05 * plain.max().item(), rel=1e-5)
    assert in_phase[12, 5, 8] == in_phase[12, 15, 8]
    assert int((in_phase > 0).sum()) == 3


def test_motion_blurs_along_the_phase_axis():
    volume = body_of(0.0, 0.0)
    volume.water[12, 10, 8] = 1.0
    blurred, _ = scan(volume, None, motion_voxels=1.0, phase_axis=1)
    plain, _ = scan(volume, None)
    third = plain.max().item() / 3
    assert blurred[12, 9:12, 8].tolist() == pytest.approx([third] * 3, rel=1e-5)
    assert int((blurred > 1e-3).sum()) == 3


def test_receive_field_is_smooth_and_even_without_coefficients():
    axes = spread_axes(torch.ones(SHAPE))
    assert torch.equal(log_receive_field(axes, (0.0,) * 9), torch.zeros(SHAPE))
    logarithm = log_receive_field(axes, (0.3, *(0.0,) * 8))
    assert logarithm[-1, 0, 0].item() == pytest.approx(0.3)
    assert logarithm[0, 0, 0].item() == pytest.approx(-0.3)


def test_settings_lie_in_their_ranges():
    for name, protocol in PROTOCOLS.items():
        normal = {"axial": 2, "coronal": 1, "sagittal": 0}[protocol.plane]
        for seed in range(10):
            drawn = draw_settings(np.random.default_rng(seed), protocol)
            assert drawn.protocol == name
            assert protocol.slice_mm[0] <= drawn.spacing_mm[normal] <= protocol.slice_mm[1]
            assert normal not in (drawn.readout_axis, drawn.phase_axis)
            assert drawn.readout_axis != drawn.phase_axis
            for low_high, extent in zip(protocol.coverage_mm, drawn.coverage_mm, strict=True):
                assert low_high[0] <= extent <= low_high[1]


def test_varied_draws_every_protocol_and_more_noise():
    rng = np.random.default_rng(1)
    drawn = [draw_protocol(rng, VARIED) for _ in range(300)]
    assert {protocol.name for protocol in drawn} == set(PROTOCOLS)
    low, high = noise_range()
    assert all(low <= p.noise[0] < p.noise[1] <= high for p in drawn)
    assert draw_protocol(rng, "paper") is PROTOCOLS["paper"]


def test_protocols_cover_what_is_promised():
    planes = {protocol.plane for protocol in PROTOCOLS.values()}
    assert planes == {"axial", "coronal", "sagittal"}
    assert {protocol.field_strength_t for protocol in PROTOCOLS.values()} == {1.5, 3.0}
    in_plane = [size for protocol in PROTOCOLS.values() for size in protocol.in_plane_mm]
    slices = [size for protocol in PROTOCOLS.values() for size in protocol.slice_mm]
    assert (min(in_plane), max(in_plane)) == (0.5, 1.2)
    assert min(slices) <= 2.0
    assert max(slices) == 5.0
    moved = [draw_settings(np.random.default_rng(s), PROTOCOLS["coronal-1.5T"]) for s in range(80)]
    share = np.mean([settings.ghost > 0 and settings.motion_voxels > 0 for settings in moved])
    assert 0.15 < share < 0.45


def test_help_names_all_protocols(capsys):
    with pytest.raises(SystemExit):
        build_verb_parser().parse_args(["simulate", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert all(name in text.replace("- ", "-") for name in (*PROTOCOLS, VARIED))
