"""Tasks beyond a clip from a prompt, each for any system that can do it."""

from videofusion.tasks.extend import check_windows, extend, generate

__all__ = ["check_windows", "extend", "generate"]
