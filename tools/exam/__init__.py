"""The networks' exam: train them, score them on galaxies never seen and under other skies, write the results page."""

from blendkit.networks.backend import load_keras

load_keras()  # before a file imports Keras by itself: without what TensorFlow says at its start
