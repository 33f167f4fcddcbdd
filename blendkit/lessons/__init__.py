"""Experiments that the notebooks run; each is loaded on first use."""

from importlib import import_module

_NAMES = {
    "basics": "convolutions downhill",
    "comparing": "ExamSliders paper_cases plus_minus published",
    "experiments": "beside_the_paper error_ratios lone_light lone_objects mean_ious networks_of report_card "
    "shipped_networks truth_check",
    "exercises": "check",
    "learning": "leak_experiment network_sizes shipped_histories sizes_table2 small_lessons stand_ins take_exam",
    "scoreboard": "class_images submit",
    "trust": "CONDITIONS TrustExplorer crowded_sky crowding flagged observed outside strange trust_map two_skies",
}
_HOME = {name: home for home, names in _NAMES.items() for name in names.split()}

__all__ = [*_HOME]


def __getattr__(name):
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if _HOME[name] in ("learning", "trust"):
        import_module("blendkit.networks.backend").load_keras()
    return getattr(import_module(f".{_HOME[name]}", __name__), name)


def __dir__():
    return sorted({*globals(), *__all__})
