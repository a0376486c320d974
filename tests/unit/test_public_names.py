import importlib
import pkgutil
import subprocess
import sys

import pytest

import instrumentation
import workermanager

HEAVY = ("sqlalchemy", "faker", "rich", "rich_click", "click", "loguru", "msgspec", "dotenv")


def module_names():
    for package in (instrumentation, workermanager):
        yield package.__name__
        for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            if not module.name.endswith("__main__"):
                yield module.name


MODULES = sorted(module_names())


def in_sorting_order(name):
    """CONSTANTS, then Classes, then functions, as the linter wants them."""
    return (not name.isupper(), not name[0].isupper(), name)


def heavy_after(statement):
    code = f"{statement}\nimport sys\nprint(*(name for name in {HEAVY} if name in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.split()


def test_the_modules_of_both_packages_are_found():
    assert {"instrumentation.steps", "workermanager.clock", "workermanager.cli.run"} < {*MODULES}


@pytest.mark.parametrize("name", MODULES)
def test_every_public_name_exists(name):
    module = importlib.import_module(name)
    assert [one for one in module.__all__ if not hasattr(module, one)] == []


@pytest.mark.parametrize("name", MODULES)
def test_public_names_are_listed_once_and_sorted(name):
    listed = importlib.import_module(name).__all__
    assert listed == sorted(set(listed), key=in_sorting_order)


@pytest.mark.parametrize("name", MODULES)
def test_public_names_are_not_private(name):
    assert [one for one in importlib.import_module(name).__all__ if one.startswith("_")] == []


def test_what_instrumentation_offers_workermanager_offers_too():
    assert {*instrumentation.__all__} <= {*workermanager.__all__}
    for name in instrumentation.__all__:
        assert getattr(workermanager, name) is getattr(instrumentation, name)


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'workermanager' has no attribute 'Wroker'"):
        _ = workermanager.Wroker


def test_everything_can_be_imported_at_once():
    assert "loguru" in heavy_after(
        "from workermanager import *\nassert callable(Worker) and callable(load_report)"
    )


@pytest.mark.parametrize("statement", ["import workermanager", "import instrumentation"])
def test_importing_a_package_imports_no_third_party(statement):
    assert heavy_after(statement) == []


def test_defining_a_worker_imports_neither_sqlalchemy_nor_faker_nor_the_command_line():
    statement = "from workermanager import Worker\nWorker(lambda ctx, params: None)"
    assert {"sqlalchemy", "faker", "rich", "rich_click", "click"}.isdisjoint(heavy_after(statement))
