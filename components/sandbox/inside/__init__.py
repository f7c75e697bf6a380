"""What runs in the sandbox: the standard library and these modules are all that is there."""
