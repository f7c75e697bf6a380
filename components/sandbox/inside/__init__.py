"""The code that runs in the sandbox, where nothing exists but the standard library and these modules."""
