"""What serves only those who maintain blendkit."""
