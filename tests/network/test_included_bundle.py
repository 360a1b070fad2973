"""The included model is the one that changelog and model card speak of, and MONAI can load it."""

import hashlib
from pathlib import Path

import pytest
import torch
from monai_parser import read_by_monai

from bids_mfi.muscles import LONG_NAMES, paper_table
from bids_mfi.network.bundle import LICENSE
from bids_mfi.network.bundle_files import load_bundle
from bids_mfi.network.loaded_networks import load_network
from bids_mfi.participant.plan import DEFAULT_BUNDLE
from bids_mfi.training.model_cards import read_card
from bids_mfi.vertebrae import VERTEBRAE

ROOT = Path(__file__).parents[2]
MOST_BYTES = 8_000_000


@pytest.fixture(scope="module")
def bundle():
    return load_bundle(DEFAULT_BUNDLE)


def test_its_hash_is_in_the_changelog_under_numbers(bundle):
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    numbers = changelog.partition("### Numbers")[2].partition("\n## ")[0]
    assert f"`{bundle.name}` {bundle.version}, sha256\n  {bundle.sha256}" in numbers


def test_the_model_card_is_its_own(bundle):
    card = " ".join((ROOT / "docs" / "model-card.md").read_text(encoding="utf-8").split())
    for value in (bundle.name, bundle.version, bundle.sha256, "CC BY-SA 4.0", "BodyParts3D"):
        assert value in card
    assert "No Dixon scan of a person was used" in card
    assert "not a medical device" in card


def test_it_has_the_card_and_licence_that_its_training_names(bundle):
    card = read_card(bundle.name)
    assert (bundle.version, bundle.licence) == (card.version, card.licence)
    assert " ".join(bundle.description.split()) == " ".join(card.description.split())
    assert (bundle.folder / LICENSE).read_text(encoding="utf-8") == card.licence_text
    assert "no scan of a person" in dict(bundle.training)["data"]


def test_its_weights_are_small_and_those_that_the_metadata_name(bundle):
    content = bundle.weights.read_bytes()
    assert len(content) < MOST_BYTES
    assert hashlib.sha256(content).hexdigest() == bundle.sha256


def test_it_labels_fourteen_whole_muscles_and_vertebral_bodies(bundle):
    assert bundle.table == paper_table(dict.fromkeys(LONG_NAMES, "all"))
    assert bundle.vertebrae == VERTEBRAE


def test_monai_loads_it_and_gives_the_same_logits(bundle):
    network, _ = read_by_monai(bundle.folder)
    images = torch.rand(1, 2, 32, 24, 16, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        found = network.eval()(images)
        wanted = load_network(bundle, torch.device("cpu"))(images)
    assert found.shape == (1, 15 + len(VERTEBRAE), 32, 24, 16)
    assert torch.equal(found, wanted)
