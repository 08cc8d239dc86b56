"""Translators: public checkpoints of other programs to our architectures, options and weights."""
