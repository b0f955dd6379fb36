"""Which model is meant, and where its file comes from."""
