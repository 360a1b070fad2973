"""The part of a scan that a network has to see.

Air around the body costs time, and with instance normalisation it counts in the statistics of every
layer: ``docs/decisions/body-box.md``.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Box = tuple[slice, slice, slice]

MARGIN_MM = 5.0
# A smaller piece of the foreground, as a ghost or noise in air, does not enlarge the box.
LEAST_SHARE = 0.01


def find_body_box(foreground: NDArray[np.bool_], spacing_mm: tuple[float, float, float]) -> Box:
    """Find the bounding box of the body and MARGIN_MM around it.

    The body is every connected piece of the foreground that has at least LEAST_SHARE of it. Without
    any, the box is the whole volume.

    Parameters
    ----------
    foreground : ndarray of bool, shape (x, y, z)
        From :func:`bids_mfi.network.intensity.find_foreground`.
    spacing_mm : tuple of float

    Examples
    --------
    >>> foreground = np.zeros((40, 30, 4), dtype=np.bool_)
    >>> foreground[20:30, 10:20] = True
    >>> find_body_box(foreground, (1.0, 1.0, 3.0))
    (slice(15, 35, None), slice(5, 25, None), slice(0, 4, None))
    """
    pieces, _ = ndimage.label(foreground)
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    body = (sizes >= LEAST_SHARE * sizes.sum()) & (sizes > 0)
    found = ndimage.find_objects(body[pieces].astype(np.int8))
    if not found:
        return tuple(slice(0, size) for size in foreground.shape)  # type: ignore[return-value]
    margins = [round(MARGIN_MM / size) for size in spacing_mm]
    x, y, z = (
        slice(max(0, part.start - margin), min(size, part.stop + margin))
        for part, margin, size in zip(found[0], margins, foreground.shape, strict=True)
    )
    return x, y, z
