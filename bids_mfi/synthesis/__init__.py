"""Synthetic neck scans: random anatomy to in-phase and out-of-phase images.

Two ways lead to a scan, and ``sources`` joins them for ``simulate`` (a BIDS dataset):

The built-in phantom, from the ground up: ``tissues`` (what there is), ``sections`` (the hand-drawn
cross-sections), ``shapes`` (curves to voxels), ``phantom`` (a random neck), ``composition`` (fat in
its muscles), ``acquisition`` (the scanner), ``cases`` (what training consumes).

Label maps of real anatomy: ``labelmap`` (a map, taken apart once by ``structures``, ``spine`` and
``depth``), ``noise``, ``deformation``, ``subject`` (a random person), ``points``, ``tubes`` and
``painting`` (its voxels), ``levels`` (its vertebrae in a scan), ``protocol`` (sites and scanners),
``randomised`` (both from wider ranges), ``anatomical`` (one scan; what training consumes).
"""
