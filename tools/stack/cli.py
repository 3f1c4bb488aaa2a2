"""The command line: `up`, `down`, `status`, `env`."""

import argparse
import shlex
import sys
from pathlib import Path

from tools.stack.errors import StackError
from tools.stack.paths import default_state_dir
from tools.stack.progress import say
from tools.stack.stack import CLASSES, Stack, StackOptions


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tools.stack", description="Kafka, S3 store and Iceberg REST catalog, without Docker."
    )
    parser.add_argument("--state", type=Path, default=default_state_dir(), help="folder of state, data and logs (%(default)s)")
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="start; what runs already is left alone")
    up.add_argument("--only", default=",".join(CLASSES), help="components, comma-separated (%(default)s)")
    up.add_argument("--fresh", action="store_true", help="stop what runs and delete its data first")
    for name in CLASSES:
        up.add_argument(f"--{name}-port", type=int, help=f"first port of {name}; a free one by default")
    down = commands.add_parser("down", help="stop; data stays unless --delete is given")
    down.add_argument("--delete", action="store_true", help="delete data and logs too")
    commands.add_parser("status", help="say what runs; exit code 1 if a started component has died")
    env = commands.add_parser("env", help='print variables: eval "$(python -m tools.stack env)"')
    env.add_argument("--principal", default="worker", choices=("worker", "maintenance", "analyst"))
    for command in (up, down, env, commands.choices["status"]):
        command.add_argument("--state", type=Path, default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    return parser


def _up(arguments: argparse.Namespace) -> int:
    ports = {name: getattr(arguments, f"{name}_port") for name in CLASSES}
    given = {name: port for name, port in ports.items() if port is not None}
    if arguments.fresh:
        Stack(arguments.state).remove()
    options = StackOptions(only=tuple(arguments.only.split(",")), ports=given)
    stack = Stack(arguments.state, options)
    stack.start()
    return _status(stack)


def _status(stack: Stack) -> int:
    died = False
    for component in stack.all():
        if component.process is None:
            continue
        alive = component.is_alive()
        died |= not alive
        state = f"pid {component.process.pid}" if alive else "DIED"
        say(f"{component.name:8} 127.0.0.1:{component.port:<6} {state}")
    if all(component.process is None for component in stack.all()):
        say("nothing runs")
    return int(died)


def main() -> int:
    """Runs one command; returns the exit code."""
    arguments = _parser().parse_args()
    try:
        if arguments.command == "up":
            return _up(arguments)
        stack = Stack(arguments.state, StackOptions(only=()))
        if arguments.command == "down":
            if arguments.delete:
                stack.remove()
            else:
                stack.stop()
            return 0
        if arguments.command == "status":
            return _status(stack)
        environment = stack.environment(arguments.principal)
    except StackError as error:
        say(f"error: {error}")
        return 1
    for name, value in environment.items():
        sys.stdout.write(f"export {name}={shlex.quote(value)}\n")
    return 0 if environment else 1
