"""What a person sees of a run: the live view in the terminal, TensorBoard events, and the run as one HTML page."""
