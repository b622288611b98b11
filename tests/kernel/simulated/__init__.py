"""A seeded simulation of a whole kernel on virtual time: many programs, few slots, and an unkind world.

One seed is one history: `history.simulate(seed)`. What it is made of is drawn in `scenario.py`; `endpoint.py`
is what is behind the cores, `world.py` who calls, `programs.py` and `tools.py` what they do, `meddler.py` who
interferes, `verdicts.py` which answers are right. `watch.py` and its rules (`order.py`, `places.py` and
`books.py`) look at the kernel whenever nothing is left to do at a moment. `bugs.py` has slips to be planted.

The kernel is the real one but for its store, which is a database in memory (`machine.py`).
"""
