"""Pipelines: one a file, run by `python -m tools.pipeline NAME`.

They are not in grids/, since `dora grid` takes every file there for a grid.
"""
