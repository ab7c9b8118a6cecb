"""How good clips are: metrics, the feature networks that they look through, protocols of published numbers."""
