"""Metrics: functions over features or frames, with their intervals."""
