"""Other model servers beside ours, with the same model and the same numbers to answer."""
