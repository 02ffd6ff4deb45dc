"""How streams of tokens are woven into one sequence: said once, used three times.

`columns` has the cells and what a layout is; `weave` lays streams out as training data and `unweave` reads them
back; a `Driver` talks by the same columns. `tables` makes it fast where the columns are always the same.
"""

from duologue.layout.columns import Cell, Column, Columns, Grid, Hear, Layout, Put, Run, Say, Streams, Tokens
from duologue.layout.driving import Ask, Driver
from duologue.layout.weaving import unweave, weave

__all__ = [
    "Ask",
    "Cell",
    "Column",
    "Columns",
    "Driver",
    "Grid",
    "Hear",
    "Layout",
    "Put",
    "Run",
    "Say",
    "Streams",
    "Tokens",
    "unweave",
    "weave",
]
