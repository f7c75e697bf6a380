"""The built-in example: two-digit addition with a policy small enough for two cores."""
