"""A Sample and where it comes from: simulated, downloaded or read, and cleaned."""
