"""Frames out of video files, exactly: decoding, containers, pictures, arrays."""
