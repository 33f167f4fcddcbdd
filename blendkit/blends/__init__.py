"""Blends: tables of recipes, and the pixels rendered from them, in NumPy or on the device that trains."""
