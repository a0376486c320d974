"""What reports tell of where a run took place."""

import getpass
import platform
import socket

from workermanager.machine import describe_machine
from workermanager.version import VERSION


def test_a_machine_is_told_by_versions_and_size():
    told = describe_machine()
    assert set(told) == {"workermanager", "python", "system", "cpus"}
    assert told["workermanager"] == VERSION
    assert platform.python_version() in told["python"]
    assert platform.system() in told["system"]
    assert int(told["cpus"]) >= 1


def test_nothing_that_is_told_names_the_machine_or_its_user():
    told = " ".join(describe_machine().values()).lower().split()
    assert socket.gethostname().lower() not in told
    assert getpass.getuser().lower() not in told
