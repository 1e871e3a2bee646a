"""Configs of curation: python -m data_pipeline.main --config=configs/curation/NAME.py."""
