"""Chains tested in milliseconds: on one thread, in virtual time, with rows kept in memory.

What is simulated, and what is not, is in ``docs/testing.md``.
"""

from __future__ import annotations

from instrumentation.invocations import Completed, Invocation
from workermanager.testing.clock import VirtualClock
from workermanager.testing.rehearsal import Rehearsal

__all__ = ["Completed", "Invocation", "Rehearsal", "VirtualClock"]
