"""Grading of programs: finding them in a completion, reading tests from data, running one against the other.

The program computes values in the sandbox. What is expected of it stays outside, or with a judge in a process of its
own: a program that ends early, patches its interpreter or overrides `==` has nothing to patch.
"""
