"""The theory of diffusion, free of networks and files: schedules, predictions, noise, losses, guidance, samplers."""
