"""When periodic jobs are due, and what becomes of each time: values and rules, no clock, no thread.

What runs then is the business of `workermanager.scheduler`.
"""

from __future__ import annotations

__all__: list[str] = []
