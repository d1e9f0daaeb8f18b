"""U-Net of valid convolutions: input channels -> parameter map."""

import keras
from keras import layers

from tfgmm.runs.experiment import Network


def conv(
    filters: int,
    size: int,
    name: str,
    policy: str,
    *,
    activation: str | None = "relu",
    initializer: str | keras.initializers.Initializer = "he_normal",
) -> layers.Layer:
    """Return a valid convolution, as a Keras layer.

    Parameters
    ----------
    filters : int
        Number of output channels.
    size : int
        Side of the kernel, pixels.
    name : str
        Name of the layer.
    policy : str
        Keras precision policy, for example ``mixed_bfloat16``.
    activation : str or None
        Activation function; None for a linear layer.
    initializer : str or keras.initializers.Initializer
        Initial values of the kernel; those of He et al. by default.

    Returns
    -------
    keras.layers.Layer
    """
    return layers.Conv2D(
        filters, size, activation=activation, kernel_initializer=initializer, dtype=policy, name=name
    )


def level(x, filters: int, name: str, policy: str):
    """Apply two valid 3x3 convolutions, each of which takes one pixel off every edge.

    Parameters
    ----------
    x : keras.KerasTensor, [batch, size, size, channels]
        Input of the level.
    filters : int
        Number of output channels.
    name, policy : str
        First part of the layers' names, and Keras precision policy.

    Returns
    -------
    keras.KerasTensor, [batch, size - 4, size - 4, filters]
    """
    x = conv(filters, 3, f"{name}_conv1", policy)(x)
    return conv(filters, 3, f"{name}_conv2", policy)(x)


def parameter_map(x, settings: Network, measures: int = 1):
    """Apply the U-Net to standardised channels; return the parameters of the distributions at each pixel.

    Parameters
    ----------
    x : keras.KerasTensor, [batch, input_size, input_size, channels]
    settings : Network
        Filters of the first level, number of levels and precision of the U-Net.
    measures : int
        Number K of intensity measures, which share all layers but the last.

    Returns
    -------
    keras.KerasTensor, [batch, output_size, output_size, 2 K]
        Parameters without unit, from which `tfgmm.network.normal.NormalLayer` makes the K means and the K
        standard deviations of ln IM. They are float32, whatever the precision of the inner layers.

    References
    ----------
    Ronneberger, Fischer & Brox (2015), Figure 1; Lilienkamp et al. (2022), Figure 1.
    """
    policy = "float32" if settings.precision == "float32" else f"mixed_{settings.precision}"
    filters = [settings.base * 2**i for i in range(settings.depth + 1)]
    skips = []
    for i, width in enumerate(filters[:-1]):
        x = level(x, width, f"down{i}", policy)
        skips.append(x)
        x = layers.MaxPooling2D(2, dtype=policy, name=f"pool{i}")(x)
    x = level(x, filters[-1], "bottom", policy)
    for i in reversed(range(settings.depth)):
        x = layers.Conv2DTranspose(
            filters[i], 2, strides=2, kernel_initializer="he_normal", dtype=policy, name=f"up{i}_upsample"
        )(x)
        crop = (skips[i].shape[1] - x.shape[1]) // 2
        skip = layers.Cropping2D(crop, dtype=policy, name=f"up{i}_crop")(skips[i])
        x = layers.Concatenate(dtype=policy, name=f"up{i}_skip")([skip, x])
        x = level(x, filters[i], f"up{i}", policy)
    # Random parameters of as many measures as there are features draw every feature to zero before any is
    # used: those of K measures begin K times smaller.
    smaller = keras.initializers.VarianceScaling(2.0 / measures**2, "fan_in", "truncated_normal")
    return conv(2 * measures, 1, "parameters", "float32", activation=None, initializer=smaller)(x)
