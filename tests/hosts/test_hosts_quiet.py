"""Libraries are silent where we load through them, and nowhere else."""

import logging
import sys
import threading
from importlib import import_module
from importlib.util import find_spec

import pytest
from transformers.utils import logging as transformers_logging

from lens_plugins import load_host
from lens_plugins.hosts.quiet import quiet
from lens_plugins.testing.small import write_host


class Handler(logging.Handler):
    def __init__(self):
        super().__init__()
        self.said = []

    def emit(self, record):
        self.said.append(record.getMessage())


@pytest.fixture(autouse=True)
def _bars(monkeypatch):
    """Bars are on, as libraries have them, whatever a command of an earlier test has switched off."""
    modules = ["transformers.utils.logging", *["diffusers.utils.logging"] * (find_spec("diffusers") is not None)]
    before = {name: import_module(name).is_progress_bar_enabled() for name in modules}
    for name in modules:
        import_module(name).enable_progress_bar()
    monkeypatch.delenv("HF_HUB_DISABLE_PROGRESS_BARS", raising=False)
    yield
    for name, on in before.items():
        if not on:
            import_module(name).disable_progress_bar()


@pytest.fixture
def handler():
    """One of transformers' own."""
    handler = Handler()
    logger = logging.getLogger("transformers")
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


@pytest.fixture
def said(handler):
    """What it writes."""
    return handler.said


def bar(capfd):
    list(transformers_logging.tqdm(range(2), desc="Loading things"))
    return "Loading things" in capfd.readouterr().err


def test_warnings_and_bars_of_this_block_alone_are_kept_back(said, capfd):
    logger = logging.getLogger("transformers.models.somewhere")
    with quiet():
        with quiet():
            logger.warning("inner")
        logger.warning("outer")
        logger.error("broken")
        assert not bar(capfd)
    logger.warning("after")
    assert said == ["broken", "after"]
    assert bar(capfd)


def test_other_threads_speak_as_before(said, capfd):
    logger = logging.getLogger("transformers.models.somewhere")
    inside, spoken, seen = threading.Event(), threading.Event(), []

    def other():
        inside.wait()
        logger.warning("from elsewhere")
        seen.append(bar(capfd))
        spoken.set()

    thread = threading.Thread(target=other)
    thread.start()
    with quiet():
        inside.set()
        spoken.wait()
        logger.warning("from here")
    thread.join()
    assert said == ["from elsewhere"]
    assert seen == [True]


def test_blocks_of_threads_that_overlap_leave_nothing_behind(said):
    handlers = logging.getLogger("transformers").handlers
    before = [list(handler.filters) for handler in handlers]
    hook = transformers_logging.set_tqdm_hook(None)
    transformers_logging.set_tqdm_hook(hook)
    first, second = threading.Event(), threading.Event()

    def early():
        with quiet():
            first.set()
            second.wait()

    thread = threading.Thread(target=early)
    thread.start()
    first.wait()
    with quiet():
        second.set()
        thread.join()
    assert [list(handler.filters) for handler in handlers] == before
    assert transformers_logging.set_tqdm_hook(hook) is hook


def test_what_a_user_asks_for_is_said(said, monkeypatch):
    logger = logging.getLogger("transformers")
    monkeypatch.setattr(logger, "level", logging.INFO)
    logger.manager._clear_cache()
    with quiet():
        logger.warning("asked for")
    monkeypatch.undo()
    logger.manager._clear_cache()
    monkeypatch.setenv("LENS_PLUGINS_DEBUG", "1")
    with quiet():
        logger.warning("everything")
    assert said == ["asked for", "everything"]


def test_a_handler_that_libraries_share_with_others_still_shows_the_others(handler, said):
    own = logging.getLogger("lens_plugins.hosts.somewhere")
    own.addHandler(handler)
    with quiet():
        own.warning("ours")
        logging.getLogger("transformers").warning("theirs")
    own.removeHandler(handler)
    assert said == ["ours"]


def test_an_error_inside_brings_everything_back(said):
    with pytest.raises(ValueError, match="broken"), quiet():
        raise ValueError("broken")
    logging.getLogger("transformers").warning("after")
    assert said == ["after"]


def test_loading_says_nothing(tmp_path, capfd):
    folder = write_host(tmp_path, "instructblip-llama")
    capfd.readouterr()
    load_host(folder)
    assert capfd.readouterr() == ("", "")


def test_loading_and_drawing_say_nothing(tmp_path, capfd):
    pytest.importorskip("diffusers")
    from lens_plugins.testing.small import small_input
    from lens_plugins.testing.small_seed import write_seed_host

    folder = write_seed_host(tmp_path)
    capfd.readouterr()
    reply = load_host(folder).generate(small_input("image"), force_image=True, seed=1, max_new_tokens=8)
    assert len(reply.images) == 1
    assert capfd.readouterr() == ("", "")
    assert sys.modules["diffusers"].utils.logging.is_progress_bar_enabled()
