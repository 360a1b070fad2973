"""Make the small reference files of this folder; see README.md.

Usage: python make_reference.py REFERENCE_DIR, where REFERENCE_DIR holds ``network/``, ``loss/``
and ``variables.json`` as README.md describes them.
"""

import json
import shutil
import sys
from pathlib import Path

import numpy as np

from bids_mfi.niftynet.tensor_bundle import open_checkpoint, read_tensors

INTERMEDIATES = ("pool", "pool_bn", "down1", "stack2", "skip2", "skip2_up", "logits_half")


def main(reference: Path, out: Path) -> None:
    """Write the files of this folder into ``out``."""
    rows = json.loads((reference / "variables.json").read_text())
    checkpoint = open_checkpoint(reference / "network" / "model.ckpt-100000")
    variables = read_tensors(checkpoint, [row["tf"] for row in rows])
    weights = {}
    for row in rows:
        value = variables[row["tf"]]
        assert list(value.shape) == row["tf_shape"], row
        kernel = value.ndim == 5
        weights[row["torch"]] = np.transpose(value, (4, 3, 0, 1, 2)) if kernel else value
    np.savez_compressed(out / "weights.npz", **weights)
    names = {row["torch"]: row["tf"] for row in rows}
    (out / "variables.json").write_text(json.dumps(names, indent=1) + "\n")
    shutil.copyfile(checkpoint.index, out / "model.ckpt-100000.index")
    network = reference / "network"
    forward = {
        "input_b": np.load(network / "input.npz")["b"],
        "logits_b": np.load(network / "expected.npz")["b"],
        "logits_train_b": np.load(reference / "loss" / "expected_trainmode_b.npz")["b"][:, ::2],
    }
    intermediates = np.load(network / "intermediates_b.npz")
    forward.update({name: intermediates[name] for name in INTERMEDIATES})
    np.savez_compressed(out / "forward.npz", **forward)
    larger = {
        "input_a": np.load(network / "input.npz")["a"],
        "logits_a": np.load(network / "expected.npz")["a"][:, ::4, ::4, ::4],
    }
    np.savez_compressed(out / "larger.npz", **larger)
    loss = np.load(reference / "loss" / "loss_reference.npz")
    losses = ("dice", "cross_entropy", "dice_hinge", "dice_hinge_double_softmax")
    kept = ("logits", "labels", *(f"loss_{name}" for name in losses))
    gradients = ("grad_dice_hinge", "grad_dice_hinge_double_softmax")
    np.savez_compressed(out / "loss.npz", **{name: loss[name] for name in kept + gradients})


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(__file__).parent)
