"""Curation: from raw videos to clips worth training on.

A stage looks at one span of one file and answers with a row of plain values (`stage.py`); the rows of a stage are one
Parquet file (`store.py`); processes do the work, and only paths and spans travel to them (`pool.py`, `ray_engine.py`).
`curate.py` runs the stages in order, `thresholds.py` says what is kept, `report.py` shows it.
"""
