"""What the machine is good at, told by files and by TensorFlow; no GPU is needed."""

import pytest
import tensorflow as tf

from tfgmm import device


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """Write what the machine says of itself: processor flags, and the GPU's compute capability if any."""

    def write(flags: str, capability: tuple[int, int] | None = None, driver: bool = True) -> None:
        (tmp_path / "cpuinfo").write_text(f"flags\t: {flags} sse\n")
        monkeypatch.setattr(device, "PROCESSOR", tmp_path / "cpuinfo")
        monkeypatch.setattr(device, "NVIDIA_DRIVER", tmp_path / ("cpuinfo" if driver else "none"))
        gpus = [] if capability is None else ["GPU"]
        monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: gpus)
        details = {"compute_capability": capability}
        monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda gpu: details)

    return write


@pytest.mark.parametrize(
    ("flags", "precision"),
    [("fma avx512_bf16", "bfloat16"), ("amx_bf16", "bfloat16"), ("avx512f avx512_bf16x", "float32")],
)
@pytest.mark.parametrize("driver", [True, False])
def test_precision_of_a_processor(machine, flags, precision, driver):
    machine(flags, driver=driver)
    assert device.native_precision() == precision


@pytest.mark.parametrize(
    ("capability", "precision"),
    [((9, 0), "bfloat16"), ((8, 0), "bfloat16"), ((7, 5), "float16"), ((6, 1), "float32")],
)
def test_precision_of_a_gpu_whatever_the_processor(machine, capability, precision):
    machine("avx512_bf16", capability)
    assert device.native_precision() == precision


def test_tensorflow_is_not_asked_without_a_driver(machine, monkeypatch):
    machine("sse", driver=False)
    monkeypatch.delattr(tf.config, "list_physical_devices")
    assert device.native_precision() == "float32"


def test_batches_go_to_the_gpu(monkeypatch):
    batches, processors = tf.data.Dataset.range(5), tf.config.list_logical_devices("CPU")
    assert device.on_device(batches) is batches
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: processors)
    moved = device.on_device(batches)
    assert [int(one) for one in moved] == [0, 1, 2, 3, 4]
