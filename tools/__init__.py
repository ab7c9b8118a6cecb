"""Makers of the weights that ship, and their reports: run from a checkout, as `python -m tools.judge_report`."""
