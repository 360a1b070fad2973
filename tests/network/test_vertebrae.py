"""Vertebral bodies beside the muscles, and local intensity: classes, losses, bundles, mirrors."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from toy_training import plan_of, train

from bids_mfi.errors import BundleError, InputError
from bids_mfi.muscles import WEBER2021, paper_table
from bids_mfi.network.bundle import METADATA, ModelBundle
from bids_mfi.network.bundle_files import load_bundle, write_bundle
from bids_mfi.network.dense_vnet import DenseVNet
from bids_mfi.network.engine_torch import TorchEngine
from bids_mfi.network.intensity import PROBABILITIES_PERCENT
from bids_mfi.network.loaded_networks import load_network
from bids_mfi.network.local_intensity import standardise_locally
from bids_mfi.network.logits import fold_vertebrae, part_vertebrae, segment_all_classes
from bids_mfi.network.segment import label_channels, prepare_volume
from bids_mfi.options import LOCAL, TrainOptions
from bids_mfi.synthesis.cases import make_phantom_case
from bids_mfi.training.augment import mirror
from bids_mfi.training.batches import TrainingData, check_labels
from bids_mfi.training.loss import fold_unknown_vertebrae as fold_unknown
from bids_mfi.training.loss import smooth_dice_and_cross_entropy
from bids_mfi.training.plan import check_vertebrae
from bids_mfi.training.run import without_vertebrae
from bids_mfi.training.widen import set_classes
from bids_mfi.vertebrae import NO_MUSCLE, VERTEBRAE, vertebra_indices

CPU = torch.device("cpu")
SPACING_MM = (4.0, 4.0, 6.0)
CLASSES = 15 + len(VERTEBRAE)


def draft(folder, **changes):
    landmarks = (tuple(float(p) for p in PROBABILITIES_PERCENT),) * 2
    bundle = ModelBundle(
        folder=folder, name="bones", version="0", sha256="", spacing_mm=SPACING_MM,
        landmarks=landmarks, table=paper_table(), description="Random weights.", licence="CC0-1.0",
    )  # fmt: skip
    return replace(bundle, **changes)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    torch.manual_seed(1)
    state = DenseVNet(out_channels=CLASSES, normalization="instance").state_dict()
    described = draft(
        tmp_path_factory.mktemp("bundle") / "bones", vertebrae=VERTEBRAE, intensity=LOCAL,
        landmarks=((), ()), landmark_percentiles=(), mirrored=True,
    )  # fmt: skip
    return write_bundle(described, state, "free\n")


@pytest.fixture(scope="module")
def case():
    return make_phantom_case(2, SPACING_MM, (48, 40, 16))


def engine_of(bundle):
    return TorchEngine(load_network(bundle, CPU))


def channels_of(case):
    return np.stack([case.in_phase, case.out_phase]).astype(np.float32)


class TestBundle:
    def test_it_is_read_back_as_it_was_written(self, bundle):
        found = load_bundle(bundle.folder)
        assert (found.vertebrae, found.intensity) == (VERTEBRAE, LOCAL)
        assert (found.muscle_classes, found.out_channels) == (15, CLASSES)
        assert found.identity == bundle.identity
        assert load_network(found, CPU).final.out_channels == CLASSES

    def test_metadata_name_every_class(self, bundle):
        document = json.loads((bundle.folder / METADATA).read_text())
        names = document["network_data_format"]["outputs"]["pred"]["channel_def"]
        assert [names[str(i)] for i in vertebra_indices(15)] == [f"vertebra_{v}" for v in VERTEBRAE]
        assert len(names) == CLASSES

    def test_what_decides_labels_decides_the_identity(self, bundle):
        others = [
            replace(bundle, vertebrae=VERTEBRAE[:-1]),
            replace(bundle, intensity="landmarks"),
        ]
        assert len({bundle.identity, *(other.identity for other in others)}) == 3

    @pytest.mark.parametrize(
        ("change", "finding"),
        [
            ({"vertebrae": ["C2", "C2"]}, "each once"),
            ({"vertebrae": ["L4"]}, "each once"),
            ({"vertebrae": "C2"}, "a list expected"),
            ({"intensity": "global"}, "intensity 'global'"),
            ({"landmarks": {"in_phase": [1.0], "out_phase": []}}, "landmarks"),
        ],
    )
    def test_what_does_not_fit_is_refused(self, bundle, tmp_path, change, finding):
        written = replace(bundle, folder=tmp_path / "other")
        write_bundle(written, load_network(bundle, CPU).state_dict(), "free\n")
        path = written.folder / METADATA
        document = json.loads(path.read_text())
        document["bids_mfi"] |= change
        path.write_text(json.dumps(document))
        with pytest.raises(BundleError, match=finding):
            load_bundle(written.folder)

    def test_weights_without_the_classes_are_refused(self, tmp_path):
        state = DenseVNet(normalization="instance").state_dict()
        written = write_bundle(draft(tmp_path / "few"), state, "free\n")
        path = written.folder / METADATA
        document = json.loads(path.read_text())
        document["bids_mfi"]["vertebrae"] = list(VERTEBRAE)
        path.write_text(json.dumps(document))
        with pytest.raises(BundleError, match="network_def"):
            load_network(load_bundle(written.folder), CPU)


class TestUse:
    def test_labels_are_of_muscles_only(self, bundle, case):
        labels = label_channels(channels_of(case), bundle, engine_of(bundle))
        assert set(np.unique(labels).tolist()) <= set(range(15))

    def test_vertebrae_are_numbered_from_the_top(self, bundle):
        logits = np.zeros((CLASSES, 3, 1, 1), np.float32)
        logits[0], logits[15, 1], logits[21, 2] = 1.0, 2.0, 2.0
        assert part_vertebrae(logits.argmax(axis=0), bundle).ravel().tolist() == [0, 1, 7]

    def test_a_vertebra_is_background_to_the_muscles(self, bundle):
        logits = np.zeros((CLASSES, 2, 1, 1), np.float32)
        logits[3], logits[16, 1] = 1.0, 2.0
        folded = fold_vertebrae(logits, bundle)
        assert folded.shape[0] == 15
        assert folded.argmax(axis=0).ravel().tolist() == [3, 0]

    def test_images_are_standardised_by_their_surroundings(self, bundle, case):
        padded, inside = prepare_volume(channels_of(case), bundle)
        expected = standardise_locally(channels_of(case), SPACING_MM)
        assert np.array_equal(padded[(slice(None), *inside)], expected)

    def test_a_mirrored_scan_gets_mirrored_vertebrae(self, bundle, case):
        engine, channels = engine_of(bundle), channels_of(case)
        plain = segment_all_classes(channels, bundle, engine)
        turned = segment_all_classes(np.ascontiguousarray(channels[:, ::-1]), bundle, engine)
        for index in vertebra_indices(15):
            assert np.allclose(turned[index][::-1], plain[index], atol=1e-4)


class TestLearning:
    def test_added_classes_change_no_logit_of_the_others(self):
        torch.manual_seed(2)
        network = DenseVNet(normalization="instance").eval()
        image = torch.randn(1, 2, 16, 16, 8)
        with torch.inference_mode():
            before = network(image)
            set_classes(network, CLASSES)
            after = network(image)
        assert after.shape[1] == CLASSES
        assert torch.allclose(after[:, :15], before, atol=1e-5)

    def test_classes_are_taken_away_again(self):
        network = DenseVNet(out_channels=CLASSES, normalization="instance").eval()
        image = torch.randn(1, 2, 16, 16, 8)
        with torch.inference_mode():
            before = network(image)
            set_classes(network, 15)
            assert torch.allclose(network(image), before[:, :15], atol=1e-5)

    def test_vertebrae_need_a_label_map_to_be_learnt(self, bundle):
        wanted = TrainOptions(vertebrae=True)
        with pytest.raises(InputError, match="--label-map"):
            check_vertebrae(plan_of(wanted, (), None))
        check_vertebrae(plan_of(wanted, (Path("neck.nii.gz"),), None))
        check_vertebrae(plan_of(wanted, (), bundle))  # which knows them already
        check_vertebrae(plan_of(TrainOptions(), (), None))

    def test_where_vertebrae_are_unknown_they_count_as_background(self):
        torch.manual_seed(3)
        logits = torch.randn(2, CLASSES, 8, 8, 8)
        labels = torch.randint(0, 15, (2, 8, 8, 8))
        unknown = labels.clone()
        unknown[1][unknown[1] == 0] = NO_MUSCLE
        folded, found = fold_unknown(logits, unknown, 15)
        assert torch.equal(found, labels)
        assert torch.equal(folded[0], logits[0])
        before, after = logits[1].softmax(dim=0), folded[1].softmax(dim=0)
        assert torch.allclose(after[1:15], before[1:15], atol=1e-6)
        assert torch.allclose(after[0], before[0] + before[15:].sum(dim=0), atol=1e-6)
        assert float(after[15:].max()) < 1e-6

    def test_known_labels_are_left_alone(self):
        logits, labels = torch.randn(1, CLASSES, 8, 8, 8), torch.full((1, 8, 8, 8), 16)
        folded, found = fold_unknown(logits, labels, 15)
        assert folded is logits
        assert found is labels

    def test_the_gradient_of_unknown_voxels_leaves_vertebrae_their_share(self):
        logits = torch.zeros(1, CLASSES, 8, 8, 8)
        logits[:, 16] = 4.0
        logits.requires_grad_()
        labels = torch.full((1, 8, 8, 8), NO_MUSCLE)
        smooth_dice_and_cross_entropy(*fold_unknown(logits, labels, 15)).backward()
        vertebra, background = (float(logits.grad[0, i].sum()) for i in (16, 0))
        assert vertebra < 0
        assert background < 0

    def test_mirroring_keeps_vertebrae_and_unknown_voxels(self):
        labels = np.array([1, 2, 15, 21, NO_MUSCLE, 0], np.int16).reshape(6, 1, 1)
        images = np.zeros((2, 6, 1, 1), np.float32)
        found = mirror(images, labels, WEBER2021)[1].ravel().tolist()
        assert found == [0, NO_MUSCLE, 21, 15, 1, 2]

    def test_labels_of_vertebrae_need_a_bundle_that_learns_them(self, bundle):
        labels = np.array([0, 14, 15, 21, NO_MUSCLE], np.int16)
        check_labels(labels, bundle.table, bundle)
        for without in (None, replace(bundle, vertebrae=())):
            with pytest.raises(ValueError, match="15, 21"):
                check_labels(labels, bundle.table, without)

    def test_a_case_of_the_phantom_says_that_its_vertebrae_are_unknown(self, case):
        marked = without_vertebrae(case, TrainOptions(vertebrae=True))
        assert not (marked.labels == 0).any()
        assert np.array_equal(marked.labels > 14, case.labels == 0)
        assert without_vertebrae(case, TrainOptions()) is case

    def test_a_training_adds_vertebrae_and_local_intensity_to_a_bundle(self, tmp_path, case):
        state = DenseVNet(normalization="instance").state_dict()
        start = write_bundle(draft(tmp_path / "start"), state, "free\n")
        data = TrainingData(
            case_at=lambda number: case, validation=[case], table=start.table, count=1
        )
        options = TrainOptions(
            steps=2, validate_every=2, vertebrae=True, intensity=LOCAL, device="cpu",
            spacing_mm=SPACING_MM,
        )  # fmt: skip
        made = train(options, data, tmp_path / "out", start=start)
        found = load_bundle(made.folder)
        assert (found.vertebrae, found.intensity, found.landmarks) == (VERTEBRAE, LOCAL, ((), ()))
        again = train(
            TrainOptions(steps=2, validate_every=2, device="cpu"), data, tmp_path / "2", start=found
        )
        assert (again.vertebrae, again.intensity) == (VERTEBRAE, LOCAL)
