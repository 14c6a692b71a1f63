"""Draw the pictures of docs/gallery.md by the code that stands above each of them.

``python docs/make_gallery.py runs/studies/quickstart``; code without a picture is not run.
"""

import re
import sys
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent
DOTS_AN_INCH = 80


def main(run: Path) -> None:
    """Draw the pictures of a run."""
    known: dict[str, Any] = {"folder": run}
    for code, picture in drawings((DOCS / "gallery.md").read_text()):
        if picture or "folder" in code:
            exec(compile(code, "docs/gallery.md", "exec"), known)
        if picture:
            known["figure"].savefig(DOCS / picture, dpi=DOTS_AN_INCH, metadata={"Software": None})


def drawings(page: str) -> list[tuple[str, str]]:
    """Return each block of Python, and the picture below it or an empty string."""
    return re.findall(r"```python\n(.*?)```(?:\n\n!\[[^]]*\]\(([^)]*)\))?", page, re.DOTALL)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
