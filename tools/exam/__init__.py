"""The networks' exam: train them, fine-tune on real galaxies, score on galaxies never seen, write the results page."""
