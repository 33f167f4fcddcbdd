"""Experiments that the notebooks run; each is loaded on first use."""

from .. import lazy

_NAMES = {
    "experiments": "ExamSliders beside_the_paper convolutions downhill error_ratios known_galaxies lone_light "
    "lone_objects mean_ious networks_of open_field paper_cases plus_minus published put_in recovered report_card "
    "shipped_networks truth_check",
    "exercises": "check",
    "learning": "leak_experiment network_sizes shipped_histories sizes_table2 small_lessons stand_ins take_exam",
    "scoreboard": "class_images submit",
    "trust": "CONDITIONS TrustExplorer crowded_sky crowding flagged observed outside strange trust_map two_skies",
}

__getattr__, __dir__, __all__ = lazy(__name__, _NAMES)
