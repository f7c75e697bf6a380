"""Programs with one operator or constant changed."""

import ast
from random import Random

_SWAPS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitAnd,
    ast.Lt: ast.GtE,
    ast.LtE: ast.Gt,
    ast.Gt: ast.LtE,
    ast.GtE: ast.Lt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.And: ast.Or,
    ast.Or: ast.And,
}


def mutated(program: str, seed: int) -> tuple[str, str] | None:
    """Return the program with one change, and the change as `line: before -> after`; None if nothing can change.

    An operator is changed if there is one, else a constant: truth values flip, numbers grow by one, texts by a letter.
    """
    tree = ast.parse(program)
    nodes = list(ast.walk(tree))
    documentation = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    operators = [node for node in nodes if isinstance(node, ast.BinOp | ast.Compare | ast.BoolOp | ast.AugAssign)]
    constants = [
        node
        for node in nodes
        if isinstance(node, ast.Constant)
        and isinstance(node.value, int | float | str)
        and id(node) not in documentation
    ]
    if not operators and not constants:
        return None
    node = Random(seed).choice(operators or constants)
    before = ast.unparse(node)
    match node:
        case ast.Compare():
            node.ops[0] = _SWAPS[type(node.ops[0])]()
        case ast.Constant(value=bool()):
            node.value = not node.value
        case ast.Constant(value=str()):
            node.value += "x"
        case ast.Constant():
            node.value += 1
        case _:
            node.op = _SWAPS[type(node.op)]()
    return ast.unparse(tree), f"line {node.lineno}: {before} -> {ast.unparse(node)}"
