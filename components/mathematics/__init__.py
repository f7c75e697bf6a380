"""Equality of mathematical answers.

    notation -> formula -> equivalence      tokens, a tree, and its comparison with another tree
    exact, values                           the value of an expression
    quantities                              numbers with their units, for the grader numeric
    regions, units, words                   parts of the number line, units of measurement, answers in words
    verification                            math-verify, for what the notation does not know

Knows nothing of completions or rewards. The standard library and mpmath; sympy only behind `verification`.
"""
