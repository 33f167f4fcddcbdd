"""The driver of widgets: nothing that a callback raises is lost. `tests/tools` runs whole notebooks with it."""

import asyncio
import json

import ipywidgets as ipw
import pytest
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


def driven_errors(drive, errors, timeout=60):
    """Drives all widgets; gives what was found."""
    with pytest.raises(widget_driver.WidgetError) as caught:
        drive(timeout)
    errors.clear()
    return str(caught.value).splitlines()


@pytest.mark.parametrize(
    ("kind", "given", "end"),
    [
        ("IntSlider", {"value": 3, "min": 0, "max": 10}, 10),
        ("FloatLogSlider", {"value": 10, "min": 0, "max": 3}, 1000),
        ("IntRangeSlider", {"value": (2, 4), "min": 0, "max": 9}, (9, 9)),
        ("Dropdown", {"value": "b", "options": "abc"}, "c"),
        ("SelectMultiple", {"value": ("a", "b"), "options": "ab"}, ("b",)),
        ("SelectionRangeSlider", {"index": (0, 1), "options": "abc"}, ("c", "c")),
        ("Checkbox", {"value": False}, True),
    ],
)
def test_an_error_at_one_end_is_found_and_the_control_put_back(kind, given, end, drive, errors):
    def callback(change):
        assert change.new != end, "the far end"

    control = getattr(ipw, kind)(**given)
    start = control.value
    control.observe(callback, "value")
    (line,) = driven_errors(drive, errors)
    assert f"{kind} '' set to" in line
    assert "AssertionError: the far end" in line
    assert control.value == start


def test_all_is_quiet_when_all_is_well(drive):
    slider, seen, disabled = ipw.IntSlider(3, 0, 10), [], ipw.IntSlider(disabled=True)
    slider.observe(lambda change: seen.append(change.new), "value")
    disabled.observe(seen.append, "value")
    drive()
    assert seen == [0, 10, 3]


def test_a_task_is_waited_for_and_its_failure_found_though_somebody_holds_it(drive, errors):
    async def answer(value):
        await asyncio.sleep(value)
        raise ZeroDivisionError

    slider, held = ipw.FloatSlider(0, min=0, max=0.02, step=0.01), []
    slider.observe(lambda change: held.append(asyncio.get_running_loop().create_task(answer(change.new))), "value")
    found = driven_errors(drive, errors)
    assert [line.partition(" (")[0] for line in found] == ["background task: ZeroDivisionError: "] * 2
    slider.max = 60
    assert "no answer within 0.1 s" in driven_errors(drive, errors, 0.1)[0]
