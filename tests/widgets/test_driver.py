"""The driver of widgets: nothing that a callback raises is lost. `tests/tools` runs whole notebooks with it."""

import json

import ipywidgets as ipw
import widget_driver

from blendkit.widgets.view import shown_errors


def test_shown_errors_says_records_and_goes_on(tmp_path, monkeypatch, errors):
    file, message = tmp_path / "errors.jsonl", ipw.HTML()
    monkeypatch.setenv(widget_driver.FILE_VARIABLE, str(file))
    callback = shown_errors("dividing", message)(lambda x: 1 / x)
    assert callback(0) is None
    assert "(dividing): division by zero" in message.value
    assert 'role="alert"' in message.value
    assert json.loads(file.read_text()) == errors[0]
    assert "dividing: ZeroDivisionError: division by zero (test_driver.py, line" in widget_driver.report(errors)
    widget_driver.record("again", error := ValueError("x"))
    widget_driver.record("and again", error)
    assert len(errors) == 2
    errors.clear()
    assert callback(2) == 0.5
    assert message.value == ""
