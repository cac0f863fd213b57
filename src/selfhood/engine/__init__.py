"""What answers: one protocol, and the engine that runs in this process."""
