"""What the service costs, as ratios to a bare handler that is measured in the same run."""
