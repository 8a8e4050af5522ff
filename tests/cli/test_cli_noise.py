"""Silence changes a whole process, so each test has its own."""

import subprocess
import sys

import pytest

PROGRAM = """
import logging, os, warnings
from lens_plugins.cli.noise import quieten
quieten()
logging.getLogger("lens_plugins.hosts.loading").warning("eps %g", 1e-5)
logging.getLogger("transformers.modeling_utils").info("theirs, info")
warnings.warn("theirs, a warning")
warnings.warn_explicit("raw\\nmicrovolts", UserWarning, "eeg.py", 1, module="lens_plugins.inputs.eeg")
print(os.environ["TRANSFORMERS_VERBOSITY"], os.environ.get("HF_HUB_DISABLE_PROGRESS_BARS"))
"""


def ended(env: dict[str, str]):
    return subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, env={"PATH": "", **env}
    )


def test_only_our_warnings_are_shown_in_one_line_each():
    done = ended({})
    assert done.stderr == "warning: eps 1e-05\nwarning: raw microvolts\n"
    assert done.stdout == "error 1\n"


def test_what_the_user_sets_stays():
    assert ended({"TRANSFORMERS_VERBOSITY": "info"}).stdout == "info 1\n"


@pytest.mark.parametrize("extra", [{"LENS_PLUGINS_DEBUG": "1", "TRANSFORMERS_VERBOSITY": "info"}])
def test_debugging_hears_everything(extra):
    done = ended(extra)
    assert "theirs, a warning" in done.stderr
    assert done.stdout == "info None\n"
