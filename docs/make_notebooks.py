"""Run the notebooks of docs/notebooks from top to bottom, and keep below each cell what it shows.

``python docs/make_notebooks.py`` runs all of them, in an empty folder and an empty home.
"""

import ast
import base64
import io
import json
import os
import tempfile
from contextlib import chdir, redirect_stdout
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt

NOTEBOOKS = Path(__file__).resolve().parent / "notebooks"
DOTS_AN_INCH = 80


def main() -> None:
    """Run every notebook and write it back."""
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        notebook = json.loads(path.read_text())
        with tempfile.TemporaryDirectory() as folder, chdir(folder):
            os.environ["RHEOBASE_HOME"] = folder
            run(notebook)
        path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")


def run(notebook: dict[str, Any]) -> None:
    """Run the cells of a notebook in order, and put into each what it prints and shows."""
    known: dict[str, Any] = {}
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    for number, cell in enumerate(cells, 1):
        body = ast.parse("".join(cell["source"])).body
        last = body.pop() if isinstance(body[-1], ast.Expr) else None
        printed = io.StringIO()
        with redirect_stdout(printed):
            exec(compile(ast.Module(body, []), f"cell {number}", "exec"), known)
            shown = None
            if isinstance(last, ast.Expr):
                shown = eval(compile(ast.Expression(last.value), f"cell {number}", "eval"), known)
        cell["execution_count"] = number
        cell["outputs"] = _outputs(printed.getvalue(), shown, number)


def _outputs(printed: str, shown: Any, number: int) -> list[dict[str, Any]]:
    outputs: list[dict[str, Any]] = []
    if printed:
        outputs.append({"output_type": "stream", "name": "stdout", "text": _lines(printed)})
    for figure in map(plt.figure, plt.get_fignums()):
        page = io.BytesIO()
        figure.savefig(page, dpi=DOTS_AN_INCH, metadata={"Software": None})
        data = {"image/png": base64.b64encode(page.getvalue()).decode()}
        outputs.append({"output_type": "display_data", "metadata": {}, "data": data})
    plt.close("all")
    if shown is not None:
        data = {"text/plain": _lines(repr(shown))}
        html = shown._repr_html_() if hasattr(shown, "_repr_html_") else None
        if html:
            data["text/html"] = _lines(html)
        if hasattr(shown, "_repr_png_"):
            data["image/png"] = base64.b64encode(shown._repr_png_()).decode()
        result = {"output_type": "execute_result", "metadata": {}, "data": data}
        outputs.append(result | {"execution_count": number})
    return outputs


def _lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


if __name__ == "__main__":
    main()
