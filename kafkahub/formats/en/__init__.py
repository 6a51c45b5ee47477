"""English, with times as they stand in logs."""
