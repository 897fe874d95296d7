"""Whole slides: reading regions at a resolution, annotations of QuPath, and tiles cut from both."""
