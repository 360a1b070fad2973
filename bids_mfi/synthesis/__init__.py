"""Synthetic neck scans: random anatomy to in-phase and out-of-phase images.

Scans come from two kinds of anatomy; ``sources`` combines them for ``simulate`` (a BIDS dataset).

Built-in phantom, in order of dependence: ``tissues`` (tissue types), ``sections`` (hand-drawn
cross-sections), ``shapes`` (curves to voxels), ``phantom`` (a random neck), ``composition`` (fat in
its muscles), ``acquisition`` (the scanner), ``cases`` (training cases).

Label maps of real anatomy: ``labelmap`` (a map, analysed once by ``structures``, ``spine`` and
``depth``), ``noise``, ``deformation``, ``subject`` (a random person), ``points``, ``tubes`` and
``painting`` (its voxels), ``levels`` (its vertebrae in a scan), ``protocol`` (sites and scanners),
``randomised`` (both with wider ranges), ``anatomical`` (one scan; training cases).
"""
