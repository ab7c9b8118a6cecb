"""What a video U-Net has beyond an image U-Net: a table of designs, and the layers and reaches that its rows name."""

from videofusion.networks.temporal.design import LAYERS, TEMPORAL_DESIGNS, LayerSizes, TemporalDesign, temporal_design
from videofusion.networks.temporal.reach import REACHES

__all__ = ["LAYERS", "REACHES", "TEMPORAL_DESIGNS", "LayerSizes", "TemporalDesign", "temporal_design"]
