"""What can be known about this machine and a configuration before a run starts."""
