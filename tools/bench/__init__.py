"""The benchmarks: one table of timings, each beside a reference that was measured in the same run."""
