"""Where programs that a model wrote run, and nowhere else.

Outside: `layers` says what this machine offers, `modes` picks or refuses, `process` starts the sandbox and speaks
with it. Inside (`inside/`, standard library only): a warm interpreter that forks a confined process per program.
"""
