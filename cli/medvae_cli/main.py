"""The command group, which converts the errors of the commands to messages and exit codes."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import click

from medvae.errors import MedvaeError, UsageProblem
from medvae.notices import forget_notices
from medvae_cli.audit import audit
from medvae_cli.augment import augment
from medvae_cli.demo import demo
from medvae_cli.denoise import denoise
from medvae_cli.inspect import inspect
from medvae_cli.latent import latent
from medvae_cli.printing import printable
from medvae_cli.train import train

__all__ = ["cli", "main"]


class CommandGroup(click.Group):
    """Group that reports errors and interrupts in one line: exit code 2 for wrong usage, else 1."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        try:
            with _stopped_by_signals(), _notices_on_stderr():
                return super().invoke(ctx)
        except KeyboardInterrupt as error:
            if ctx.params["debug"]:
                raise
            raise click.ClickException(printable(str(error) or "the run was stopped")) from error
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except UsageProblem as error:
            if ctx.params["debug"]:
                raise
            raise click.UsageError(printable(self._message(ctx, error)), ctx) from error
        except MedvaeError as error:
            if ctx.params["debug"]:
                raise
            raise click.ClickException(printable(self._message(ctx, error))) from error
        except BrokenPipeError:
            raise  # the reader of the output has closed it; click exits quietly
        except Exception as error:
            if ctx.params["debug"]:
                raise
            what = printable(" ".join(f"{type(error).__name__}: {error}".split()))
            raise click.ClickException(
                f"{what} (this should not happen: run 'medvae --debug ...' and report it)"
            ) from error

    def _message(self, ctx: click.Context, error: MedvaeError) -> str:
        """Return the message of an error, with the option in place of the argument."""
        command = self.commands.get(ctx.invoked_subcommand or "")
        for option in command.params if command else ():
            if option.name == error.parameter and isinstance(option, click.Option):
                return f"{option.opts[0]}: {str(error).removeprefix(f'{error.parameter}: ')}"
        return str(error)


class _Lines(logging.Handler):
    """Handler that prints each notice of the library as one line."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print a notice."""
        warning = click.style("Warning:", fg="yellow", bold=True)
        click.echo(f"{warning} {printable(record.getMessage())}", err=True)


@contextmanager
def _notices_on_stderr() -> Iterator[None]:
    """Print the notices of the library during a command, each line once."""
    log, lines = logging.getLogger("medvae"), _Lines()
    forget_notices()
    log.addHandler(lines)
    log.propagate = False  # training configures the root logger, which would repeat them
    try:
        yield
    finally:
        log.removeHandler(lines)
        log.propagate = True


@contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """Let SIGTERM stop a command as Ctrl-C does; a second signal ends it at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    # A signal that the caller has chosen to ignore stays ignored, as with nohup.
    caught = [number for number, handler in before.items() if handler is not signal.SIG_IGN]

    def stop(number: int, frame: FrameType | None) -> None:
        for each in caught:
            signal.signal(each, signal.SIG_DFL)
        raise KeyboardInterrupt

    for number in caught:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in caught:
            signal.signal(number, before[number])


@click.group("medvae", cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="monai-medvae", prog_name="medvae")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def cli(debug: bool) -> None:
    """Enlarge detection training sets of MR, CT and X-ray slices.

    \b
    Example:
      medvae inspect studies/ --labels studies/coco.json
    """


for command in (demo, inspect, train, augment, audit, latent, denoise):
    cli.add_command(command)


def main() -> None:
    """Run the command line."""
    cli()


if __name__ == "__main__":
    main()
