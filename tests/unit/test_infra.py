"""Whether what is in infra/ would be understood, as far as that shows without running it."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from dockerfile_parse import DockerfileParser

from workermanager.cli import cli
from workermanager.durations import parse_duration
from workermanager.worker import Worker

TOP = Path(__file__).parents[2]
COMPOSE = TOP / "infra/compose.yaml"
NODES = ("roach-1", "roach-2", "roach-3")


def accepts(*command):
    """Run a checker; its complaint is the failure's message."""
    done = subprocess.run(command, cwd=TOP, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    return True


# The image


@pytest.fixture(scope="module")
def dockerfile():
    with (TOP / "infra/Dockerfile").open("rb") as file:
        return DockerfileParser(fileobj=file).structure


def values(dockerfile, instruction):
    return [line["value"] for line in dockerfile if line["instruction"] == instruction]


def test_the_images_that_it_is_made_from_are_pinned_to_a_tag(dockerfile):
    bases = [value.split()[0] for value in values(dockerfile, "FROM")]
    assert len(bases) == 2
    for base in bases:
        name, _, tag = base.partition(":")
        assert name == "python"
        assert tag not in {"", "latest"}


def test_both_stages_have_the_same_python(dockerfile):
    assert len({value.split()[0] for value in values(dockerfile, "FROM")}) == 1


def test_the_image_does_not_run_as_root(dockerfile):
    assert values(dockerfile, "USER")[-1] not in {"root", "0"}


def test_the_entry_point_is_an_installed_command_in_exec_form(dockerfile):
    assert [json.loads(value) for value in values(dockerfile, "ENTRYPOINT")] == [["workermanager"]]
    assert [json.loads(value) for value in values(dockerfile, "CMD")] == [["--help"]]
    assert 'workermanager = "workermanager.cli:main"' in (TOP / "pyproject.toml").read_text()


def test_the_packages_are_checked_against_their_hashes(dockerfile):
    commands = [one for value in values(dockerfile, "RUN") for one in value.split("&&")]
    installs = [one for one in commands if "pip" in one and "install " in one]
    assert len(installs) == 3
    assert all("--require-hashes" in one or "--no-deps dist/*.whl" in one for one in installs)


def test_a_run_has_the_very_versions_that_the_tests_have():
    def pins(path):
        lines = (TOP / path).read_text().splitlines()
        return {line.split()[0] for line in lines if "==" in line}

    assert {"psycopg", "sqlalchemy-cockroachdb"} <= {
        pin.partition("==")[0] for pin in pins("infra/runtime.lock")
    }
    assert pins("infra/runtime.lock") < pins("requirements.lock")


def sources(dockerfile):
    copies = [value.split() for value in values(dockerfile, "COPY")]
    local = [words for words in copies if not words[0].startswith("--from=")]
    return [word for words in local for word in words[:-1] if not word.startswith("--")]


def test_what_is_copied_is_there_and_not_ignored(dockerfile):
    rules = (TOP / ".dockerignore").read_text().splitlines()
    assert {"requirements.lock", "workermanager", "examples"} <= set(sources(dockerfile))
    for source in sources(dockerfile):
        assert (TOP / source).exists(), source
        assert f"!{source}" in rules


def test_nothing_but_what_is_copied_is_sent_to_the_build(dockerfile):
    rules = [rule for rule in (TOP / ".dockerignore").read_text().split("\n") if rule[:1] != "#"]
    assert rules[0] == "*"
    assert {rule[1:] for rule in rules if rule.startswith("!")} == set(sources(dockerfile))


# The cluster


@pytest.fixture(scope="module")
def compose():
    return yaml.safe_load(COMPOSE.read_text())


@pytest.fixture(scope="module")
def services(compose):
    return compose["services"]


@pytest.mark.parametrize("name", NODES)
def test_a_node_joins_all_three_under_its_own_name(services, name):
    command = services[name]["command"]
    assert command[0] == "start"
    assert f"--advertise-addr={name}" in command
    assert f"--join={','.join(NODES)}" in command


@pytest.mark.parametrize("name", NODES)
def test_a_node_says_whether_it_is_ready_and_keeps_its_data(services, name):
    assert services[name]["healthcheck"]["test"][0] == "CMD"
    assert services[name]["volumes"] == [f"{name}:/cockroach/cockroach-data"]


def test_every_database_service_has_the_same_pinned_image(services):
    (image,) = {service["image"] for service in services.values() if "image" in service}
    assert image.startswith("cockroachdb/cockroach:v")


def test_every_service_has_a_bound_on_its_memory(services):
    assert {*NODES, "init", "worker"} == set(services)
    assert all(service["mem_limit"] for service in services.values())


def test_every_dependency_is_a_service_and_has_a_condition_that_it_can_meet(services):
    for service in services.values():
        for name, how in service.get("depends_on", {}).items():
            condition = how["condition"]
            assert condition in {
                "service_started",
                "service_healthy",
                "service_completed_successfully",
            }
            assert condition != "service_healthy" or "healthcheck" in services[name]


def test_the_worker_starts_once_the_cluster_is_initialized_and_ready(services):
    conditions = {name: how["condition"] for name, how in services["worker"]["depends_on"].items()}
    ready = dict.fromkeys(NODES, "service_healthy")
    assert conditions == {"init": "service_completed_successfully", **ready}


def test_the_cluster_is_initialized_before_it_is_ready(services):
    conditions = {how["condition"] for how in services["init"]["depends_on"].values()}
    assert conditions == {"service_started"}  # only what it does makes them healthy


def test_every_volume_is_declared_and_used(compose, services):
    volumes = [volume for service in services.values() for volume in service.get("volumes", [])]
    used = [volume.partition(":")[0] for volume in volumes]
    assert sorted(used) == sorted(compose["volumes"])


def test_ports_are_published_to_this_machine_only_and_each_one_once(services):
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert len(ports) == 6
    assert all(port.startswith("127.0.0.1:") for port in ports)
    assert len({port.rpartition(":")[0] for port in ports}) == 6


def test_the_script_that_initializes_is_one_and_makes_the_workers_database(services):
    shell, flags = services["init"]["entrypoint"]
    (script,) = services["init"]["command"]
    assert flags.endswith("c")
    assert accepts(shell, "-n", flags, script)
    assert "cockroach init --insecure" in script
    assert "CREATE DATABASE IF NOT EXISTS companies" in script
    assert "/companies?" in services["worker"]["command"][-1]


def test_the_worker_is_built_from_this_repository(services):
    build = services["worker"]["build"]
    context = COMPOSE.parent / build["context"]
    assert context.resolve() == TOP
    assert (context / build["dockerfile"]).is_file()


def test_the_workers_command_is_one(services, monkeypatch):
    monkeypatch.chdir(TOP)
    name, *flags = services["worker"]["command"]
    assert cli.get_command(None, name).make_context(name, list(flags)).params["seed"] == 7
    checked = CliRunner().invoke(cli, ["check", *flags])
    assert checked.exit_code == 0, checked.output
    assert "roach-1:26257/companies" in checked.output


def test_the_worker_may_take_its_grace_before_it_is_killed(services):
    period = parse_duration(services["worker"]["stop_grace_period"], "stop_grace_period")
    assert period > Worker(lambda ctx, params: None, ticks=1).plan().grace_ns


def has_compose():
    try:
        subprocess.run(("docker", "compose", "version"), capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


def test_compose_takes_it_where_there_is_one():
    assert COMPOSE.is_file()
    assert not has_compose() or accepts("docker", "compose", "-f", str(COMPOSE), "config", "-q")


# The scripts


@pytest.mark.parametrize(("shell", "script"), [("sh", "infra/setup.sh"), ("bash", ".ci/run")])
def test_a_script_can_be_parsed(shell, script):
    assert accepts(shell, "-n", script)


STAND_INS = ("chromium", "php", "Rscript", "postgres")


@pytest.fixture
def see_to_what_tests_need(tmp_path):
    """Call setup.sh where only some programs are, by somebody who may not install the others."""

    def call(*programs):
        for name in ("dirname", "sh"):
            (tmp_path / name).symlink_to(shutil.which(name))
        for name, answer in {"id": "echo 1000", **dict.fromkeys(programs, "exit 1")}.items():
            (tmp_path / name).write_text(f"#!/bin/sh\n{answer}\n")
            (tmp_path / name).chmod(0o755)
        command = ("sh", "infra/setup.sh", "tests")
        environment = {"PATH": str(tmp_path)}
        return subprocess.run(
            command, cwd=TOP, env=environment, capture_output=True, text=True, check=False
        )

    return call


def test_where_all_that_tests_need_is_there_nothing_is_said_or_installed(see_to_what_tests_need):
    done = see_to_what_tests_need(*STAND_INS)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("program", "told"),
    [
        ("chromium", "Chromium is missing: apt-get install chromium fonts-dejavu-core\n"),
        ("php", "PHP is missing: apt-get install php-cli\n"),
        ("Rscript", "Rscript is missing: apt-get install r-base-core\n"),
    ],
)
def test_who_may_not_install_is_told_in_a_line_what_is_missing(
    program, told, see_to_what_tests_need
):
    done = see_to_what_tests_need(*(name for name in STAND_INS if name != program))
    assert (done.returncode, done.stdout, done.stderr) == (1, "", told)
