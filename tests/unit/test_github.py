"""What GitHub reads: workflows run the Makefile and nothing else, forms are complete, nothing holds a secret."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
FORMS = [form for form in sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml")) if form.stem != "config"]
TARGETS = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))


def read(file: Path) -> Any:
    return yaml.safe_load(file.read_text())


def steps(workflow: Any) -> list[dict[str, Any]]:
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.stem)
def test_a_workflow_runs_targets_of_the_makefile_only(file: Path) -> None:
    commands = [step["run"] for step in steps(read(file)) if "run" in step]
    assert commands
    assert [command for command in commands if command.removeprefix("make ") not in TARGETS] == []


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.stem)
def test_a_workflow_may_only_read_and_holds_no_secret(file: Path) -> None:
    workflow = read(file)
    assert workflow["permissions"] == {"contents": "read"}
    assert "secrets." not in file.read_text()
    for job in workflow["jobs"].values():
        # only jobs that publish may do more, and these run no command of the repository
        assert "permissions" not in job or not any("run" in step for step in job["steps"])


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.stem)
def test_actions_are_pinned_to_a_version(file: Path) -> None:
    used = [step["uses"] for step in steps(read(file)) if "uses" in step]
    assert [action for action in used if not re.fullmatch(r"[\w-]+/[\w-]+@(v\d+|release/v\d+)", action)] == []


def test_tests_run_on_three_pythons_and_three_systems() -> None:
    matrix = read(ROOT / ".github" / "workflows" / "checks.yml")["jobs"]["test"]["strategy"]["matrix"]
    assert matrix["python"] == ["3.11", "3.12", "3.13"]
    assert [system.partition("-")[0] for system in matrix["system"]] == ["ubuntu", "macos", "windows"]


def test_a_release_is_published_without_a_token() -> None:
    jobs = read(ROOT / ".github" / "workflows" / "release.yml")["jobs"]
    assert jobs["publish"]["permissions"] == {"id-token": "write"}
    assert jobs["publish"]["needs"] == "build"
    assert {"make test", "make wheel"} <= {step.get("run") for step in jobs["build"]["steps"]}


def test_pre_commit_runs_what_make_check_runs() -> None:
    (repository,) = read(ROOT / ".pre-commit-config.yaml")["repos"]
    assert repository["repo"] == "local"
    assert [hook["entry"] for hook in repository["hooks"]] == ["make check"]


def test_ci_runs_the_checks_the_tests_and_the_docs() -> None:
    text = (ROOT / ".ci" / "run").read_text()
    assert {"check", "test", "docs"} <= set(re.findall(r"^make ([a-z-]+)$", text, re.MULTILINE))


@pytest.mark.parametrize("file", FORMS, ids=lambda file: file.stem)
def test_an_issue_form_has_what_github_needs(file: Path) -> None:
    form = read(file)
    assert {"name", "description", "body"} <= form.keys()
    for part in form["body"]:
        assert {"type", "id", "attributes"} <= part.keys() and part["attributes"]["label"]


def test_dependencies_and_actions_are_kept_up_to_date() -> None:
    kept = {update["package-ecosystem"] for update in read(ROOT / ".github" / "dependabot.yml")["updates"]}
    assert kept == {"pip", "github-actions"}
