"""The networks' exam: train them, score them on galaxies never seen and under other skies, write the results page."""
