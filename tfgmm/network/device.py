"""Number formats that this machine computes fastest, and loading of batches into the GPU memory."""

from pathlib import Path

import tensorflow as tf

from tfgmm.runs.experiment import Experiment


def processor_precision() -> str:
    """Return ``bfloat16`` if the processor multiplies in it (AVX512-BF16 or AMX), else ``float32``.

    Returns
    -------
    str
        Name of a number format.
    """
    processor = Path("/proc/cpuinfo")
    flags = processor.read_text().split() if processor.is_file() else []
    return "bfloat16" if {"avx512_bf16", "amx_bf16"} & set(flags) else "float32"


def native_precision() -> str:
    """Return the fastest number format in which a network still learns on this machine.

    Returns
    -------
    str
        ``bfloat16`` on NVIDIA GPUs of compute capability 8 or more, ``float16`` on GPUs of capability 7.x,
        whose tensor cores lack bfloat16, ``float32`` on older GPUs; without a GPU the format of
        `processor_precision`.
    """
    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        return processor_precision()
    capability = tf.config.experimental.get_device_details(gpus[0]).get("compute_capability", (0, 0))
    return "bfloat16" if capability >= (8, 0) else "float16" if capability >= (7, 0) else "float32"


def resolved(experiment: Experiment) -> Experiment:
    """Return the experiment with the precision ``auto`` replaced by the format of `native_precision`.

    Parameters
    ----------
    experiment : Experiment
        Description of a run.

    Returns
    -------
    Experiment
        The same object if its precision is not ``auto``.
    """
    if experiment.network.precision != "auto":
        return experiment
    return experiment.computed_in(native_precision())


def on_device(batches: tf.data.Dataset) -> tf.data.Dataset:
    """Return a pipeline that loads batches ahead into the memory of the GPU, if the machine has one.

    Parameters
    ----------
    batches : tf.data.Dataset
        Finished pipeline: no step may follow the loading.

    Returns
    -------
    tf.data.Dataset
        Without a GPU, `batches` unchanged.
    """
    gpus = tf.config.list_logical_devices("GPU")
    return batches.apply(tf.data.experimental.prefetch_to_device(gpus[0].name, 2)) if gpus else batches
