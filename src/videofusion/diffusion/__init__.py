"""The theory of diffusion, free of networks and files: schedules, predictions, noise, losses, guidance, samplers."""

from videofusion.diffusion.conditions import Conditions
from videofusion.diffusion.denoiser import Denoiser, NetworkDenoiser
from videofusion.diffusion.grids import SPACINGS, times
from videofusion.diffusion.guidance import ClassifierFree, Term
from videofusion.diffusion.kernels import KernelNoise, make_noise
from videofusion.diffusion.known import Following, Known
from videofusion.diffusion.losses import frame_errors, joint_errors
from videofusion.diffusion.noise import DecomposedNoise, IndependentNoise, Keys, Noise, NoiseSource, base_frame, bind
from videofusion.diffusion.prediction import Prediction, expand
from videofusion.diffusion.samplers import SAMPLERS, get_sampler, invert
from videofusion.diffusion.schedules import SCHEDULES, Schedule, make_schedule

__all__ = [
    "SAMPLERS",
    "SCHEDULES",
    "SPACINGS",
    "ClassifierFree",
    "Conditions",
    "DecomposedNoise",
    "Denoiser",
    "Following",
    "IndependentNoise",
    "KernelNoise",
    "Keys",
    "Known",
    "NetworkDenoiser",
    "Noise",
    "NoiseSource",
    "Prediction",
    "Schedule",
    "Term",
    "base_frame",
    "bind",
    "expand",
    "frame_errors",
    "get_sampler",
    "invert",
    "joint_errors",
    "make_noise",
    "make_schedule",
    "times",
]
