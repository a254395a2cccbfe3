"""How far a temperature may go; apart from `sampling`, so that the command line starts fast."""

SMALLEST_TEMPERATURE, LARGEST_TEMPERATURE = 1e-4, 100.0
