"""Tasks beyond a clip from a prompt, each for any system that can do it."""

from videofusion.tasks.edit import METHODS, edit
from videofusion.tasks.extend import check_windows, extend, generate

__all__ = ["METHODS", "check_windows", "edit", "extend", "generate"]
