"""What a model is asked for beside a clip from a prompt: each for any system that can."""

from videofusion.tasks.edit import METHODS, edit
from videofusion.tasks.extend import check_windows, extend, generate

__all__ = ["METHODS", "check_windows", "edit", "extend", "generate"]
