"""Synthetic neck scans: from random anatomy to in-phase and out-of-phase images and their truth.

Anatomy, its random variation, the simulated scanner and the simulated datasets belong here.

- Built-in phantom: ``section_tables``, ``sections`` and ``shapes`` (its cross-sections),
  ``phantom`` (a random neck), ``composition`` (fat in its muscles), ``acquisition`` (its scan),
  ``cases`` (training cases).
- Label maps: ``anatomies`` (those included), ``labelmap`` (one map, prepared with ``structures``,
  ``spine``, ``depth`` and ``slices``), ``deformation``, ``volumes``, ``subject`` (a random person),
  ``points``, ``tubes``, ``noise`` and ``painting`` (its voxels), ``levels`` (of its vertebrae),
  ``randomised`` (wider ranges), ``anatomical`` (scans and training cases).
- Both: ``tissues``, ``protocol`` (scanners), ``sources``, ``simulate`` (a BIDS dataset).
"""
