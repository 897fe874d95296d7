"""What a process alone does, and the checks over what processes gathered; tests/training has several processes."""
import pytest

from add.errors import UserError
from add.runtime.world import World, check_own_gpus, check_same


def test_alone_nobody_waits():
    world = World()
    world.barrier()
    world.agree("source images", ["a.png"])
    assert world.gather(3) == [3] and world.any(True) and not world.any(False) and world.is_main


def test_disagreement_names_every_process():
    check_same("steps", ["2", "2", "2"])
    with pytest.raises(UserError) as caught:
        check_same("steps", ["2", "3", "x" * 999])
    message = str(caught.value)
    assert "different steps" in message and "process 1: 3" in message and "file system" in message
    assert len(message) < 500


@pytest.mark.parametrize("places", [
    [("a", "GPU-1"), ("a", "GPU-2")], [("a", "0"), ("b", "0")], [("a", "GPU-1")]])
def test_a_gpu_for_each_process(places):
    check_own_gpus(places)


def test_a_shared_gpu_is_refused():
    with pytest.raises(UserError, match=r"processes 0, 2 share GPU 0 of a: .*start 2 process.*--device cpu"):
        check_own_gpus([("a", "0"), ("b", "0"), ("a", "0")])
