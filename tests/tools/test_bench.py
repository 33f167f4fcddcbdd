"""The page of the benchmarks; what is measured is the machine's, and no test."""

from tools.bench import notebooks
from tools.bench.page import write
from tools.bench.rows import Row


def test_the_page_has_every_row_and_counts_what_is_met(tmp_path):
    rows = [Row("images", 3000, "blends/s", "loop", 2000, ratio_least=1.5), Row("GPU", note="there is none | here")]
    rows += [Row("import", 0.4, "s", "NumPy", 0.1, most=0.3, ratio_most=5), Row("lost", most=1)]
    found = {"render": ("Side by\nside.", rows), "costs": ("", [Row("costs", note="died", broken=True)])}
    text = write(found, tmp_path, 9.0, 0.0).read_text("utf-8")
    assert "| images | 3,000 blends/s | loop: 2,000 blends/s | 1.5 | ratio ≥ 1.5 | met |\n| GPU | there is" in text
    assert "| import | 0.4 s | NumPy: 0.1 s | 4 | ≤ 0.3 s, ratio ≤ 5 | **missed** |\n" in text
    assert "| costs | died | – | – | – | **missed** |\n\n" in text
    assert "1 of the 4 rows with a limit met it; missed: import; lost; costs." in text
    assert text.endswith("## How it was measured\n\n**Render.** Side by side.\n")
    assert len(notebooks.stated()) == 2 * len([*notebooks.notebook_rows(tmp_path)]) == 16
