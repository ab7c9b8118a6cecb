"""Papers' plans of comparison, and scaling on paper: run from a checkout, as `python -m studies.compare`."""
