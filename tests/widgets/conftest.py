"""Every test of a widget begins without widgets; what callbacks raise ends it unless it was expected."""

import asyncio
import threading

import ipywidgets as ipw
import pytest
import widget_driver


@pytest.fixture(autouse=True)
def errors(monkeypatch):
    """What callbacks raised by now; a test that expects errors clears the list."""
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)  # put back in the end
    monkeypatch.delenv(widget_driver.FILE_VARIABLE, raising=False)
    ipw.Widget.close_all()
    widget_driver.ERRORS.clear()
    widget_driver.watch()
    yield widget_driver.ERRORS
    assert not widget_driver.ERRORS, widget_driver.report(widget_driver.ERRORS)


drive = pytest.fixture(lambda: lambda: asyncio.run(widget_driver.drive()))  # moves every widget that there is
