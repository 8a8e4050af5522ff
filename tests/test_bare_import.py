"""What is cheap stays cheap: no torch before it is needed."""

import subprocess
import sys

import pytest

HEAVY = ("torch", "transformers", "numpy", "PIL")
ALL_HELP = """
from typer.main import get_command
from lens_plugins.cli.main import command_line, run

def show(command, path):
    assert run([*path, "--help"]) == 0
    for name, below in getattr(command, "commands", {}).items():
        show(below, [*path, name])

show(get_command(command_line()), [])
"""


def loaded_after(code: str) -> str:
    """The heavy modules that a fresh interpreter has loaded after running `code`."""
    program = f"{code}\nimport sys\nprint('loaded:', *(name for name in {HEAVY!r} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1]


@pytest.mark.parametrize(
    "code",
    [
        "import lens_plugins",
        "import lens_plugins; dir(lens_plugins); lens_plugins.__version__",
        "from lens_plugins import LensPluginsError, catalog; catalog.find_host('Salesforce/blip2-opt-2.7b')",
    ],
)
def test_import_is_light(code):
    assert loaded_after(code) == "loaded:"


def test_help_of_every_command_is_light():
    assert loaded_after(ALL_HELP) == "loaded:"


def test_public_names_load_on_first_use():
    assert loaded_after("import lens_plugins; lens_plugins.read") != "loaded:"


def test_every_public_name_is_there():
    import lens_plugins

    assert [name for name in lens_plugins.__all__ if not hasattr(lens_plugins, name)] == []
    assert set(lens_plugins.__all__) <= set(dir(lens_plugins))
    with pytest.raises(AttributeError, match="no attribute 'load_hosts'"):
        lens_plugins.load_hosts  # noqa: B018


def test_module_and_command_are_one():
    done = subprocess.run(
        [sys.executable, "-m", "lens_plugins", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("lens-plugins ")
