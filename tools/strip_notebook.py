"""A git filter: a notebook on its way into git loses outputs, counts, widget state and what an editor notes in it.

`make` sets it up with plain Python, so that it works without the environment; what is no notebook passes as it is.
"""

import json
import sys

METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def stripped(given: bytes) -> bytes:
    """The notebook as git keeps it, the same however often it was run and saved."""
    try:
        notebook = json.loads(given)
        for cell in notebook["cells"]:
            cell["metadata"] = {key: cell["metadata"][key] for key in ("tags",) if key in cell["metadata"]}
            cell |= {"outputs": [], "execution_count": None} if cell["cell_type"] == "code" else {}
    except (ValueError, KeyError, TypeError):
        return given
    notebook["metadata"] = METADATA
    return (json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n").encode()


if __name__ == "__main__":
    sys.stdout.buffer.write(stripped(sys.stdin.buffer.read()))
