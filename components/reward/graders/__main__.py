"""Prints the built-in graders, their rewards and their options: `python -m components.reward.graders`."""

from components.reward.grader_lookup import built_in_graders


def table() -> str:
    """Return a Markdown table with a row per built-in grader."""
    rows = [("grader", "reward", "options"), ("---", "---", "---")]
    for name, grader in built_in_graders().items():
        options = ", ".join(f"`{option}`" for option in grader.options)
        rows.append((f"`{name}`", grader.summary.removeprefix("Return ").rstrip("."), options))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


if __name__ == "__main__":
    print(table())
