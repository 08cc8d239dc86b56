"""Experiment grids: one question a file, run by `dora grid NAME`."""
