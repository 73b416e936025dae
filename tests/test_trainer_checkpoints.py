"""Checkpoints: whole or not there, whatever ends a save; the state of an optimizer without a pickle."""

import errno
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from trainer import UserError, checkpoints

pytestmark = pytest.mark.filterwarnings("ignore")

# Saves step 1, then lets a child for each point save step 2 and be killed there: at a byte of a file by the limit of
# its size, at a call by SIGKILL. Prints for each which step is found whole afterwards.
KILLED = """
import json, os, resource, signal, sys
from pathlib import Path
import torch
from trainer import checkpoints

def save(run, step):
    state = {"numbers": list(range(200)), "batches": str(step)}
    weights = {"a": torch.full((1000,), float(step)), "b": torch.full((10,), float(step))}
    checkpoints.save(run, step, {"weights": weights, "optimizer": {"0.step": torch.tensor(float(step))}}, state)

def calls_of_a_save(run):
    count = 0
    def profile(*event):
        nonlocal count
        count += 1
    sys.setprofile(profile)
    save(run, 2)
    sys.setprofile(None)
    return count

def die_at_byte(run, byte):
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (byte, byte))
    save(run, 2)

def die_at_call(run, call):
    count = 0
    def profile(*event):
        nonlocal count
        count += 1
        if count == call:
            os.kill(os.getpid(), signal.SIGKILL)
    sys.setprofile(profile)
    save(run, 2)

folder, points = Path(sys.argv[1]), int(sys.argv[2])
save(folder / "trial", 1)
calls = calls_of_a_save(folder / "trial")
deaths = [(die_at_byte, round(4100 * (n + 0.5) / points)) for n in range(points)]
deaths += [(die_at_call, round(calls * (n + 0.5) / points)) for n in range(points)]
for number, (die, point) in enumerate(deaths):
    run = folder / str(number)
    save(run, 1)
    child = os.fork()
    if not child:
        die(run, point)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    whole, reasons = checkpoints.newest_whole(run)
    weights = whole.tensors("weights")
    save(run, 3)
    left = sorted(path.name for path in (run / "checkpoints").iterdir())
    print(json.dumps([os.WIFSIGNALED(status), whole.step, {float(x) for x in weights["a"]} == {float(whole.step)},
                      whole.state["batches"] == str(whole.step), reasons, left]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="kills children at a size of file, as Linux can")
def test_a_save_killed_at_any_byte_and_any_call_leaves_the_checkpoint_before_it(tmp_path):
    points = os.environ.get("KILLED_SAVES", "5")  # of each kind
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", KILLED, str(tmp_path), points],
        capture_output=True, text=True, cwd=Path(__file__).parent.parent,
    )  # fmt: skip
    ends = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(ends) == 2 * int(points), done.stderr
    assert all(was_killed for was_killed, *_ in ends[: int(points)])
    for _, step, is_that_of_the_step, has_its_state, reasons, left in ends:
        assert (step in (1, 2), is_that_of_the_step, has_its_state, reasons) == (True, True, True, [])
        assert [name for name in left if not name.startswith("step-")] == []


def save(run, step):
    import torch

    return checkpoints.save(run, step, {"weights": {"a": torch.full((100,), float(step))}}, {"batches": "x"})


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda path: (path / "weights.safetensors").unlink(), "weights.safetensors is missing"),
        (lambda path: os.truncate(path / "weights.safetensors", 50), "weights.safetensors is not as it was saved"),
        (lambda path: (path / "state.json").write_text('{"step": 9}'), "state.json is not as it was saved"),
        (lambda path: (path / "files.json").write_text("{"), "files.json or state.json is not as it was saved"),
        (lambda path: (path / "files.json").write_text("{}"), "files.json does not name state.json"),
        (lambda path: (path / "files.json").unlink(), "files.json is missing"),
    ],
)
def test_a_checkpoint_that_is_not_whole_is_passed_over_and_the_reason_said(spoil, reason, tmp_path):
    save(tmp_path, 1)
    spoil(save(tmp_path, 2))
    found, reasons = checkpoints.newest_whole(tmp_path)
    assert found.step == 1
    assert reasons == [f"The checkpoint of step 2 is not whole: {reason}."]


def test_a_disk_that_fills_while_saving_is_said_and_the_last_checkpoint_is_kept(tmp_path, monkeypatch):
    save(tmp_path, 1)

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoints, "write", full)
    said = (
        f"The checkpoint of step 2 could not be saved, since the disk of {tmp_path}/ is full. That of step 1 is whole. "
        f"Make room, then go on with: python -m trainer resume {tmp_path}"
    )
    with pytest.raises(UserError, match=re.escape(said)):
        save(tmp_path, 2)
    assert checkpoints.newest_whole(tmp_path)[0].step == 1
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-000001"]


def test_only_the_steps_asked_for_are_kept(tmp_path):
    for step in (1, 2, 3):
        save(tmp_path, step)
    checkpoints.keep_only(tmp_path, {1, 3})
    assert checkpoints.numbers(tmp_path / "checkpoints") == [1, 3]


def test_an_optimizer_goes_on_as_if_it_had_never_been_written_down(tmp_path):
    import torch

    def train(steps, packed=None):
        torch.manual_seed(1)
        weight = torch.nn.Parameter(torch.ones(3))
        optimizer = torch.optim.AdamW([weight], lr=0.1, fused=True)
        if packed:
            weight.data = packed[2]
            optimizer.load_state_dict(checkpoints.unpack_optimizer(packed[0], json.loads(json.dumps(packed[1]))))
        for _ in range(steps):
            optimizer.zero_grad()
            (weight**2).sum().backward()
            optimizer.step()
        return *checkpoints.pack_optimizer(optimizer.state_dict()), weight.data

    assert torch.equal(train(10)[2], train(5, train(5))[2])


def test_no_pickle_is_ever_loaded():
    for file in (Path(__file__).parent.parent / "trainer").rglob("*.py"):
        assert not re.search(r"torch\.load|torch\.save|import pickle|joblib|resume_from_checkpoint=", file.read_text())
