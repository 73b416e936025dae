"""The measurement for a GPU: its whole path runs on any machine, and without a device it says so."""

import pytest

from bench import gpu

pytestmark = pytest.mark.filterwarnings("ignore")


def test_a_small_shape_goes_the_whole_way_on_a_cpu(tmp_path):
    gpu.write_base(tmp_path, "tiny")
    rows = gpu.table(gpu.measure(tmp_path, "tiny", 1, gpu.work))
    sides = [row.split(" | ")[0:3] for row in rows[2:]]
    assert sides == [[f"| {method}", "32", side] for method in gpu.METHODS for side in gpu.SIDES.values()]


def test_without_a_device_a_sentence_says_so(monkeypatch, capsys):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr("sys.argv", ["bench.gpu"])
    gpu.main()
    assert capsys.readouterr().out == f"{gpu.NO_DEVICE}\n"
