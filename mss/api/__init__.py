"""Separation for programs: typed options, one class, events; the command line is built on it."""
