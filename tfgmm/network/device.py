"""What the GPU of this machine is good at, if it has one."""

from pathlib import Path

import tensorflow as tf

from tfgmm.runs.experiment import Experiment


def processor_precision() -> str:
    """Return ``bfloat16`` where the processor multiplies it (AVX512-BF16 or AMX), else ``float32``."""
    processor = Path("/proc/cpuinfo")
    flags = processor.read_text().split() if processor.is_file() else []
    return "bfloat16" if {"avx512_bf16", "amx_bf16"} & set(flags) else "float32"


def native_precision() -> str:
    """Return the fastest number format in which a network still learns on the device in use.

    ``bfloat16`` on NVIDIA GPUs from compute capability 8, ``float16`` on those whose tensor cores know
    only that (7.x), ``float32`` on older ones; without a GPU that of `processor_precision`.
    """
    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        return processor_precision()
    capability = tf.config.experimental.get_device_details(gpus[0]).get("compute_capability", (0, 0))
    return "bfloat16" if capability >= (8, 0) else "float16" if capability >= (7, 0) else "float32"


def resolved(experiment: Experiment) -> Experiment:
    """Return the experiment with a precision of ``auto`` replaced by that of `native_precision`."""
    if experiment.network.precision != "auto":
        return experiment
    return experiment.computed_in(native_precision())


def on_device(batches: tf.data.Dataset) -> tf.data.Dataset:
    """Load batches ahead into the memory of the GPU, if there is one; the last step of a pipeline."""
    gpus = tf.config.list_logical_devices("GPU")
    return batches.apply(tf.data.experimental.prefetch_to_device(gpus[0].name, 2)) if gpus else batches
