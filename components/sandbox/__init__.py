"""A sandbox for programs that a model wrote, and a runner of tests against them. Knows nothing of machine learning.

Outside the sandbox:

    extraction      finds the program in a text
    suite           reads a program's tests from the columns of a data set
    runner          runs a suite of tests against a program in the sandbox
    layers, modes   find out what this machine offers to confine programs with, and choose from it
    sandbox         starts the sandbox and talks to it
    seccomp, paths  list the system calls and the files that programs may use

Inside it (`inside/`, standard library only) a warm interpreter forks one confined process per program.

The program computes values in the sandbox. The expected values stay outside, or in a second sandboxed process, so it
gains nothing by ending early, patching its interpreter or overriding `==`.
"""
