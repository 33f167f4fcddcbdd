"""The networks: how they are built, trained and stored."""
