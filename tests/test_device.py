"""What the machine is good at, as TensorFlow tells it; no GPU is needed."""

import pytest
import tensorflow as tf

from tfgmm.network import batches as device


@pytest.fixture
def gpu(monkeypatch):
    """Pretend that there is a GPU, and what is known of it."""
    monkeypatch.setattr(device, "processor_precision", lambda: "that of the processor")

    def pretend(**details) -> None:
        monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["a GPU"])
        monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda one: details)

    return pretend


@pytest.mark.parametrize(
    ("capability", "precision"),
    [((9, 0), "bfloat16"), ((8, 0), "bfloat16"), ((7, 5), "float16"), ((6, 1), "float32")],
)
def test_precision_of_a_gpu_whatever_the_processor(gpu, capability, precision):
    gpu(compute_capability=capability)
    assert device.native_precision() == precision


def test_precision_of_a_gpu_that_does_not_say_what_it_is(gpu):
    gpu(device_name="?")
    assert device.native_precision() == "float32"


@pytest.mark.usefixtures("gpu")
def test_precision_without_a_gpu():
    assert device.native_precision() == "that of the processor"


def test_batches_go_to_the_gpu(monkeypatch):
    batches, processors = tf.data.Dataset.range(5), tf.config.list_logical_devices("CPU")
    assert device.on_device(batches) is batches
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: processors)
    moved = device.on_device(batches)
    assert [int(one) for one in moved] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("flags", "precision"),
    [("fma avx512_bf16", "bfloat16"), ("amx_bf16", "bfloat16"), ("avx512f avx512_bf16x", "float32")],
)
def test_precision_of_a_processor(monkeypatch, flags, precision):
    monkeypatch.setattr(device.Path, "is_file", lambda self: True)
    monkeypatch.setattr(device.Path, "read_text", lambda self: f"flags\t: {flags} sse\n")
    assert device.processor_precision() == precision


def test_only_auto_is_replaced(monkeypatch, tiny):
    monkeypatch.setattr(device, "native_precision", lambda: "float16")
    chosen = tiny.computed_in("auto")
    assert device.resolved(chosen).network.precision == "float16"
    assert device.resolved(tiny) == tiny
