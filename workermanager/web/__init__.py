"""What people look at in a browser: the live page, and the report as one HTML file.

Imported only where one of them is asked for; they need the packages of the extra `dashboard`.
"""

from __future__ import annotations

__all__: list[str] = []
