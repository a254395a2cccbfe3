"""Long tests that try to break the suite: `make soak`. A module is a part; `tests/test_soak.py` runs all in short."""
