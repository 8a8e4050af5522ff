"""Sentences that reach a terminal."""

from lens_plugins.errors import InputError, InternalError, LensPluginsError


def test_exit_codes():
    assert (LensPluginsError.exit_code, InputError.exit_code, InternalError.exit_code) == (2, 2, 1)


def test_what_a_terminal_would_obey_is_spelt_out():
    name = "\x1b[2J\x1b]0;owned\x07a\rb\x9b1m\u202egnp.\udcff"
    told = str(InputError(f"There is no file {name}; check its name.\n  line 2: ä 椅子 …"))
    assert told == (
        "There is no file \\x1b[2J\\x1b]0;owned\\x07a\\rb\\x9b1m\\u202egnp.\\udcff; check its name.\n  line 2: ä 椅子 …"
    )
    told.encode()  # a lone surrogate cannot be printed


def test_an_error_without_a_sentence():
    assert str(LensPluginsError()) == ""
