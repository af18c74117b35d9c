"""Commands about the program itself: `version` and `completion`."""

import click
from click.shell_completion import get_completion_class

from .failure import USAGE, Failed
from .output import line, raw

__all__ = ["completion", "version"]

_SHELLS = ("bash", "zsh", "fish")


@click.command(epilog="Example: sidecar version", short_help="Print the version.")
def version() -> None:
    """Print the version of this program; a running sidecar's is in `sidecar status`."""
    from .. import __version__

    line(__version__)


@click.command(
    epilog='Example: eval "$(sidecar completion bash)"    |    '
    "sidecar completion fish > ~/.config/fish/completions/sidecar.fish",
    short_help="Print a shell's completion script.",
)
@click.argument("shell", type=click.Choice(_SHELLS))
@click.pass_context
def completion(ctx: click.Context, *, shell: str) -> None:
    """Print a shell's completion script."""
    kind = get_completion_class(shell)
    if kind is None:
        raise Failed(f"this version of click has no completion for {shell}", USAGE)
    script = kind(ctx.find_root().command, {}, "sidecar", "_SIDECAR_COMPLETE")
    raw(script.source().encode())
