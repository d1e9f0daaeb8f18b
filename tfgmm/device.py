"""What the processor or the GPU of this machine is good at."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tensorflow as tf

PROCESSOR = Path("/proc/cpuinfo")
NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")


def native_precision() -> str:
    """The fastest precision in which a network still learns.

    ``bfloat16`` where it is multiplied natively (NVIDIA GPUs from compute capability 8, processors with
    AVX512-BF16 or AMX), ``float16`` on GPUs whose tensor cores know only that (7.x), else ``float32``.
    """
    capability = compute_capability()
    if capability is not None:
        return "bfloat16" if capability >= (8, 0) else "float16" if capability >= (7, 0) else "float32"
    flags = PROCESSOR.read_text().split() if PROCESSOR.is_file() else []
    return "bfloat16" if {"avx512_bf16", "amx_bf16"} & set(flags) else "float32"


def compute_capability() -> tuple[int, int] | None:
    """That of the first GPU that TensorFlow can use, if there is one."""
    if not NVIDIA_DRIVER.is_file():  # to ask TensorFlow takes seconds
        return None
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    details = tf.config.experimental.get_device_details(gpus[0]) if gpus else {}
    return details.get("compute_capability")


def on_device(batches: "tf.data.Dataset") -> "tf.data.Dataset":
    """Batches that wait in the memory of the GPU, if there is one; the last step of a pipeline."""
    import tensorflow as tf

    gpus = tf.config.list_logical_devices("GPU")
    return batches.apply(tf.data.experimental.prefetch_to_device(gpus[0].name, 2)) if gpus else batches
