"""Every command explains itself, and shells complete what is typed."""

from __future__ import annotations

import inspect
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import medvae
from medvae_cli.main import cli

COMMANDS = sorted(cli.commands)
MEDVAE = Path(sys.executable).with_name("medvae")


def examples(name: str) -> list[list[str]]:
    """Return the examples in the help of a command, as a shell would take them apart."""
    result = CliRunner().invoke(cli, [name, "--help"], terminal_width=200)
    assert result.exit_code == 0
    (text,) = re.findall(r"Examples:\n(.*?)\n\n", result.stdout, re.DOTALL)
    return [shlex.split(line) for line in text.splitlines()]


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_examples_that_can_be_typed(name: str) -> None:
    command = cli.commands[name]
    known = {flag for one in command.params for flag in (*one.opts, *one.secondary_opts)}
    found = examples(name)
    assert found
    for words in found:
        typed = words[: words.index("|")] if "|" in words else words
        assert typed[:2] == ["medvae", name]
        assert {word for word in typed if word.startswith("--")} <= known
        required = [one for one in command.params if one.required]
        for one in required:
            if isinstance(one, click.Option):
                assert set(one.opts) & set(typed)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_explained(name: str) -> None:
    options = [one for one in cli.commands[name].params if isinstance(one, click.Option)]
    plain = {"epochs", "batch_size", "seed"}
    assert [one.name for one in options if not one.help and one.name not in plain] == []


def test_the_door_lists_all_commands() -> None:
    result = CliRunner().invoke(cli, ["--help"])
    assert [name for name in COMMANDS if f"\n  {name} " not in result.stdout] == []


@pytest.mark.parametrize(
    ("shell", "words", "found"),
    [
        ("bash", "medvae au", "plain,augment"),
        ("bash", "medvae augment --sam", "plain,--sampler"),
        ("zsh", "medvae au", "plain\naugment\nWrite synthetic slices"),
    ],
)
def test_completions(shell: str, words: str, found: str) -> None:
    place = str(len(words.split()) - 1)
    asked = {"_MEDVAE_COMPLETE": f"{shell}_complete", "COMP_WORDS": words, "COMP_CWORD": place}
    done = subprocess.run(
        [MEDVAE], env=os.environ | asked, capture_output=True, text=True, check=True
    )
    assert found in done.stdout


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_the_line_of_the_readme_sets_completion_up(shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"needs {shell}")
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    (line,) = re.findall(rf'`(eval "\$\(_MEDVAE_COMPLETE={shell}_source medvae\)")`', readme)
    begin = "autoload -U compinit && compinit -D; " if shell == "zsh" else ""
    asked = {"bash": "complete -p medvae", "zsh": "echo $_comps[medvae]"}[shell]
    path = {"PATH": f"{MEDVAE.parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        [shell, "-c", f"{begin}{line}; {asked}"],
        env=os.environ | path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "_medvae_completion" in done.stdout


@pytest.mark.parametrize("name", ["augment", "denoise"])
def test_options_have_the_defaults_of_the_library(name: str) -> None:
    known = inspect.signature(getattr(medvae, name)).parameters
    given = [".", "--model", "run", "--out", "out"]
    with cli.commands[name].make_context(name, given) as context:
        for option, value in context.params.items():
            if option in known.keys() - {"studies", "model", "out"}:
                default = known[option].default
                plain = (
                    ",".join(default) if isinstance(value, str) and default != value else default
                )
                assert value == plain, option
