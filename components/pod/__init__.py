"""Layout pod: the stages of the loop as processes under one supervisor."""
