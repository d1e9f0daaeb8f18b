"""A Normal distribution at every pixel, its likelihood at station pixels."""

import keras
import tensorflow as tf
from keras import ops
from tensorflow_probability import distributions as tfd

from tfgmm.network.random_terms import RandomTerms
from tfgmm.stats import ergodic


@keras.saving.register_keras_serializable("tfgmm")
class NormalLayer(keras.layers.Layer):
    r"""A layer that turns a parameter map into a Normal distribution of ln IM at every pixel.

    .. math:: \mu = \mu_0 + a p_0, \quad \sigma = a \, \mathrm{softplus}(p_1) + \sigma_{min}

    Parameters
    ----------
    location : float
        :math:`\mu_0`, the mean of the training target.
    scale : float
        :math:`a`, its standard deviation.
    min_stddev : float
        :math:`\sigma_{min}`, the floor that keeps the likelihood bounded.
    """

    def __init__(self, location: float = 0.0, scale: float = 1.0, min_stddev: float = 0.05, **kwargs):
        super().__init__(**kwargs)
        self.location, self.scale, self.min_stddev = location, scale, min_stddev

    def call(self, parameters, median=None):
        """Turn parameters [batch, row, col, 2] into a Normal [batch, row, col], moved by a median."""
        mean = self.location + self.scale * parameters[..., 0]
        stddev = self.scale * ops.softplus(parameters[..., 1]) + self.min_stddev
        return tfd.Normal(mean if median is None else mean + median, stddev)

    def compute_output_spec(self, parameters, median=None):
        """Return the shape and type of the mean, which Keras needs in place of the distribution."""
        return keras.KerasTensor(parameters.shape[:-1], dtype=parameters.dtype)

    def get_config(self):
        """Return the constructor arguments, for the ``.keras`` file."""
        own = {"location": self.location, "scale": self.scale, "min_stddev": self.min_stddev}
        return super().get_config() | own


@keras.saving.register_keras_serializable("tfgmm")
class ErgodicMedian(keras.layers.Layer):
    """A layer that turns channels into the fitted ergodic median of ln IM on the output window.

    Parameters
    ----------
    coefficients : sequence of float
        Of `tfgmm.stats.ergodic`.
    channels : sequence of int
        Positions of ``magnitude``, ``r_hyp`` and ``event_depth`` among the channels.
    margin : int
        Pixels to crop from each edge.
    """

    def __init__(self, coefficients, channels, margin: int, **kwargs):
        super().__init__(**kwargs)
        self.coefficients, self.channels, self.margin = tuple(coefficients), tuple(channels), margin

    def call(self, maps):
        """Return the median [batch, row - 2 margin, col - 2 margin] of maps [batch, row, col, channel]."""
        m = self.margin
        inner = maps[:, m : maps.shape[1] - m, m : maps.shape[2] - m]
        magnitude, r_hyp, depth = (inner[..., i] for i in self.channels)
        r_hyp = ops.maximum(r_hyp, 1.0)
        terms = ergodic.terms(magnitude, r_hyp, ops.log(r_hyp), depth)
        return sum(c * term for c, term in zip(self.coefficients, terms, strict=True))

    def get_config(self):
        """Return the constructor arguments, for the ``.keras`` file."""
        own = {"coefficients": self.coefficients, "channels": self.channels, "margin": self.margin}
        return super().get_config() | own


def at_stations(normal: tfd.Normal, pixels: tf.Tensor) -> tfd.Normal:
    """Take the distribution at the pixels of stations.

    Parameters
    ----------
    normal : tfd.Normal, [batch, row, col]
    pixels : tensor of int32, [batch, stations, 2]

    Returns
    -------
    tfd.Normal, [batch, stations]
    """
    gather = lambda values: tf.gather_nd(values, pixels, batch_dims=1)  # noqa: E731
    return tfd.Normal(gather(normal.loc), gather(normal.scale))


@keras.saving.register_keras_serializable("tfgmm")
class GroundMotionModel(keras.Model):
    """Keras model whose output is a Normal map and whose loss is its likelihood at the stations."""

    random_terms: RandomTerms | None = None

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        r"""Return the negative log-likelihood of the records, mean over the batch's events.

        .. math:: L = \frac{1}{B} \sum_{e=1}^{B} \sum_s w_{es}
                  \left[\ln\sigma + \frac{(\ln y - \mu)^2}{2\sigma^2} + \frac{\ln 2\pi}{2}\right]

        at the pixel of each station s; two stations in one pixel are two terms, padded stations
        weigh nothing. With random effects the network's standard deviation is that within an event
        and a site; what `RandomTerms` has for the records is taken off y and added to the variance,
        :math:`\sigma^2 = \phi_{SS}^2 + v`: a composite likelihood of single records.

        References
        ----------
        Lilienkamp et al. (2022), equation 4. Varin, Reid & Firth (2011), An overview of composite
        likelihood methods, Statistica Sinica 21, section 2.
        """
        normal = at_stations(y_pred, y["pixels"])
        observed = y["ln_im"]
        if self.random_terms is not None:
            terms = self.random_terms
            if training:
                terms.remember(y, normal.loc)
            offset, variance = terms.of_training(y) if training else terms.of_unknown()
            observed, normal = (
                observed - offset,
                tfd.Normal(normal.loc, tf.sqrt(normal.scale**2 + variance)),
            )
        log_prob = normal.log_prob(observed)
        return -tf.reduce_sum(y["weight"] * log_prob) / tf.cast(tf.shape(log_prob)[0], log_prob.dtype)

    def predict_step(self, data):
        """Return maps of mean and standard deviation, as ``predict`` needs them."""
        maps, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        normal = self(maps, training=False)
        return {"mean": normal.loc, "stddev": normal.scale}
