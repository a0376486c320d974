"""The packages of the extra `dashboard`: whether they are here, and Plotly's script from its own.

Plotly itself is not imported, which takes a second and is not needed: only the script that its
wheel brings is.
"""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Final

from instrumentation.errors import InvalidConfig

__all__ = ["FOR_PAGE", "FOR_REPORT", "check_packages", "plotly_script", "style_marks"]

FOR_PAGE: Final = ("plotly", "starlette", "uvicorn")
FOR_REPORT: Final = ("plotly",)

_SCRIPT: Final = Path("package_data", "plotly.min.js")
_STYLE_GUARD: Final = re.compile(r'getElementById\("([0-9a-f]{64})"\)')


def check_packages(name: str, packages: tuple[str, ...]) -> None:
    """Refuse what is asked for by ``name`` (a flag) where a package that it needs is not here.

    Raises:
        InvalidConfig: one is not.
    """
    if any(importlib.util.find_spec(package) is None for package in packages):
        raise InvalidConfig(
            f"{name} needs packages that are not here: pip install 'workermanager[dashboard]'"
        )


def plotly_script(name: str) -> Path:
    """Where Plotly's script is; ``name`` is what a refusal calls what is asked for.

    Raises:
        InvalidConfig: Plotly is not installed, or has no script where all its wheels had it.
    """
    check_packages(name, FOR_REPORT)
    spec = importlib.util.find_spec("plotly")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        script = Path(place) / _SCRIPT
        if script.is_file():
            return script
    raise InvalidConfig(f"{name}: the plotly that is installed has no {_SCRIPT}: install another")


def style_marks(script: str) -> str:
    """Empty elements that keep Plotly's script from adding style sheets of its own to a page.

    It adds that of its maps, which our pages have none of, as it is loaded, unless it finds its
    id. Pages forbid such sheets; without the marks the browser would log the refusal of it.
    """
    ids = dict.fromkeys(_STYLE_GUARD.findall(script))
    return "\n".join(f'<meta id="{one}">' for one in ids)
