"""What `benchmarks/claims.py` measures: one module for each claim, and what they share."""
