"""Stemgrid: a music source separation lab.

The package follows one sentence::

    conf + data -> solver (augment -> model -> target -> loss) -> XP folder -> release package
                -> inference pipeline -> stems / scores / report
"""

__version__ = "0.1.0"
