"""Libraries get what they cannot do without."""

import os

from components.base import libraries


def test_a_user_whom_no_passwd_file_knows_has_a_home(monkeypatch):
    import pwd

    def unknown(number):
        raise KeyError(number)

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.setattr(os, "environ", {})
    libraries.calm()
    assert os.environ["HOME"] == "/"
    monkeypatch.setattr(os, "environ", {"HOME": "/home/somebody"})
    libraries.calm()
    assert os.environ["HOME"] == "/home/somebody"
