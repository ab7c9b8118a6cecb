"""The feature networks of published video metrics, with weights from the user.

Video in, rows of features out. Which file of weights, which preprocessing and which layer are part of a number, so each
combination has a name in `EXTRACTORS`, and an extractor carries the checksum of its weights.
"""

from videofusion.evaluation.extractors.load import EXTRACTORS, load_extractor
from videofusion.evaluation.extractors.network_extractor import Extractor, NetworkExtractor
from videofusion.evaluation.extractors.weights import convert

__all__ = ["EXTRACTORS", "Extractor", "NetworkExtractor", "convert", "load_extractor"]
