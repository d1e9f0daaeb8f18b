"""The plain reference: the network, its loss and its training step as Keras has them, in one file.

`scripts/benchmark.py` measures against it and the tests prove tfgmm equal to it. It takes standardised maps
and returns the two numbers of the likelihood at every output pixel.
"""

import keras
import tensorflow as tf
from keras import layers


def network(size: int, channels: int, depth: int, base: int, precision: str = "float32") -> keras.Model:
    """A U-Net of valid convolutions, [batch, size, size, channels] -> [batch, output, output, 2].

    Parameters
    ----------
    precision : str
        ``float32``, or ``bfloat16`` for Keras's mixed precision throughout.

    References
    ----------
    Ronneberger, Fischer & Brox (2015), Figure 1.
    """
    dtype = {"float32": "float32", "bfloat16": "mixed_bfloat16"}[precision]
    shared = {"dtype": dtype, "kernel_initializer": "he_normal"}
    maps = x = keras.Input((size, size, channels))
    skips = []
    for filters in (base * 2**i for i in range(depth)):
        x = layers.Conv2D(filters, 3, activation="relu", **shared)(x)
        x = layers.Conv2D(filters, 3, activation="relu", **shared)(x)
        skips.append(x)
        x = layers.MaxPooling2D(2, dtype=dtype)(x)
    x = layers.Conv2D(base * 2**depth, 3, activation="relu", **shared)(x)
    x = layers.Conv2D(base * 2**depth, 3, activation="relu", **shared)(x)
    for skip in reversed(skips):
        filters = skip.shape[-1]
        x = layers.Conv2DTranspose(filters, 2, strides=2, **shared)(x)
        edge = (skip.shape[1] - x.shape[1]) // 2
        x = layers.Concatenate(dtype=dtype)([layers.Cropping2D(edge, dtype=dtype)(skip), x])
        x = layers.Conv2D(filters, 3, activation="relu", **shared)(x)
        x = layers.Conv2D(filters, 3, activation="relu", **shared)(x)
    parameters = layers.Conv2D(2, 1, dtype="float32", kernel_initializer="he_normal")(x)
    return PlainModel(maps, parameters)


class PlainModel(keras.Model):
    """A network whose loss is the likelihood at the stations' pixels."""

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Weighted negative log-likelihood of a Normal distribution, mean over the batch's events."""
        at_station = tf.gather_nd(y_pred, y["pixels"], batch_dims=1)
        mean, stddev = at_station[..., 0], tf.nn.softplus(at_station[..., 1]) + 0.05
        ln_im, weight = y["ln_im"][..., 0], y["weight"][..., 0]
        log_likelihood = -0.5 * ((ln_im - mean) / stddev) ** 2 - tf.math.log(stddev) - 0.9189385332
        return -tf.reduce_sum(weight * log_likelihood) / tf.cast(tf.shape(mean)[0], tf.float32)


def compiled(*args, **kwargs) -> keras.Model:
    """The network with Adam at its constant default rate."""
    model = network(*args, **kwargs)
    model.compile(keras.optimizers.Adam(1e-3), jit_compile=False)
    return model
