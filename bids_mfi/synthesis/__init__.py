"""Synthetic neck scans: random anatomy to in-phase and out-of-phase images.

Must not know networks, BIDS discovery, derivatives or reports. The parts, from the ground up:
``tissues`` (what there is), ``sections`` (the hand-drawn cross-sections), ``shapes`` (curves to
voxels), ``phantom`` (a random neck), ``composition`` (fat in its muscles), ``acquisition`` (the
scanner), ``cases`` (what training consumes) and ``simulate`` (a BIDS dataset).
"""
