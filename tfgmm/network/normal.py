"""Normal distribution of ln IM at every pixel, and its likelihood at the stations of records."""

import keras
import numpy as np
import tensorflow as tf
from keras import ops
from tensorflow_probability import distributions as tfd

from tfgmm.stats import ergodic


@keras.saving.register_keras_serializable("tfgmm")
class NormalLayer(keras.layers.Layer):
    r"""A Keras layer that turns a parameter map into Normal distributions of ln IM at every pixel.

    .. math:: \mu_k = \mu_{0k} + a_k p_k, \quad \sigma_k = a_k \, \mathrm{softplus}(p_{K+k}) + \sigma_{min}

    for the intensity measure k of K.

    Parameters
    ----------
    location : float or sequence of float, [K]
        :math:`\mu_{0k}`, the means of the training targets, ln units.
    scale : float or sequence of float, [K]
        :math:`a_k`, the standard deviations of the training targets, ln units.
    min_stddev : float
        :math:`\sigma_{min}`, a lower limit that keeps the likelihood bounded, ln units.
    """

    def __init__(self, location=(0.0,), scale=(1.0,), min_stddev: float = 0.05, **kwargs):
        super().__init__(**kwargs)
        self.location, self.scale = (np.atleast_1d(values).astype(float) for values in (location, scale))
        self.min_stddev = min_stddev

    def call(self, parameters, median=None):
        """Return Normal distributions of ln IM, [batch, row, col, K].

        Parameters
        ----------
        parameters : tensor, [batch, row, col, 2 K]
            The parameters p at every pixel, without unit: those of the means, then those of the standard
            deviations.
        median : tensor, [batch, row, col], optional
            Ergodic median of ln IM, added to the mean (`ErgodicMedian`).

        Returns
        -------
        tfd.Normal, [batch, row, col, K]
            In ln units, IM in the units of `tfgmm.core.imt`.
        """
        count = len(self.location)
        location, scale = (ops.convert_to_tensor(v, parameters.dtype) for v in (self.location, self.scale))
        mean = location + scale * parameters[..., :count]
        stddev = scale * ops.softplus(parameters[..., count:]) + self.min_stddev
        return tfd.Normal(mean if median is None else mean + median[..., None], stddev)

    def compute_output_spec(self, parameters, median=None):
        """Return shape and type of the mean, which stand for the distribution in the Keras graph."""
        shape = (*parameters.shape[:-1], len(self.location))
        return keras.KerasTensor(shape, dtype=parameters.dtype)

    def get_config(self):
        """Return the constructor arguments, for the ``.keras`` file."""
        own = {"location": self.location.tolist(), "scale": self.scale.tolist()}
        return super().get_config() | own | {"min_stddev": self.min_stddev}


@keras.saving.register_keras_serializable("tfgmm")
class ErgodicMedian(keras.layers.Layer):
    """A Keras layer that computes the fitted ergodic median of ln IM on the output window.

    It is part of networks that version 0.1 trained with the target ``residual``, and of no other network.

    The output window is the input map without `margin` pixels at each edge.

    Parameters
    ----------
    coefficients : sequence of float
        Coefficients of the model of `tfgmm.stats.ergodic`.
    channels : sequence of int
        Positions of ``magnitude``, ``r_hyp`` and ``event_depth`` among the channels.
    margin : int
        Number of pixels between the edges of the input and the output window.
    """

    def __init__(self, coefficients, channels, margin: int, **kwargs):
        super().__init__(**kwargs)
        self.coefficients, self.channels, self.margin = tuple(coefficients), tuple(channels), margin

    def call(self, maps):
        """Return the ergodic median of ln IM at every pixel of the output window.

        Parameters
        ----------
        maps : tensor, [batch, row, col, channel]
            Input maps in the units of the channels.

        Returns
        -------
        tensor, [batch, row - 2 margin, col - 2 margin]
            Ln units, IM in g.
        """
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
    """Return the distributions at the pixels of stations.

    Parameters
    ----------
    normal : tfd.Normal, [batch, row, col, K]
        Distributions of ln IM at every pixel, of K intensity measures.
    pixels : tensor of int32, [batch, stations, 2]
        Row and column of each station.

    Returns
    -------
    tfd.Normal, [batch, stations, K]
    """
    gather = lambda values: tf.gather_nd(values, pixels, batch_dims=1)  # noqa: E731
    return tfd.Normal(gather(normal.loc), gather(normal.scale))


def gain_of_correlation(z: tf.Tensor, weight: tf.Tensor, rho: float) -> tf.Tensor:
    r"""Return how the log-likelihood changes if all records of an event have the same correlation.

    .. math:: \frac{1}{2} \sum_s w_s z_s^2 - \frac{1}{2} \left[\frac{\sum_s w_s (z_s - \bar z)^2}{1 - \rho}
              + \frac{\sum_s w_s}{1 + (n - 1) \rho} \, \bar z^2 \right], \quad
              n = \frac{(\sum_s w_s)^2}{\sum_s w_s^2}

    with the weighted mean :math:`\bar z` over the records of an event and their effective number n. The
    mean of n records tells what n / (1 + (n - 1) rho) independent ones tell. For weights of 1 it is the
    difference between the log-densities of correlated and of independent Normal variables, without
    constants; for any weights the expectation of the terms is that of independent records.

    Parameters
    ----------
    z : tensor, [event, stations, K]
        Standardised residuals.
    weight : tensor, [event, stations, K]
        Weights of the records; 0 for what is no record.
    rho : float
        Correlation of two records of an event, the share of the event term in their variance; at least 0,
        less than 1.

    Returns
    -------
    tensor, [event, K]
    """
    total = tf.reduce_sum(weight, axis=1)
    count = tf.math.divide_no_nan(total**2, tf.reduce_sum(weight**2, axis=1))
    mean = tf.math.divide_no_nan(tf.reduce_sum(weight * z, axis=1), total)
    within = tf.reduce_sum(weight * (z - mean[:, None]) ** 2, axis=1)
    between = total * mean**2
    of_correlated = within / (1 - rho) + between / (1 + tf.maximum(count - 1, 0.0) * rho)
    return (within + between - of_correlated) / 2


@keras.saving.register_keras_serializable("tfgmm")
class GroundMotionModel(keras.Model):
    """A Keras model whose output are Normal distributions of ln IM at every pixel, [batch, row, col, K].

    The loss is the negative log-likelihood of the records at the pixels of their stations.

    Attributes
    ----------
    correlation : float
        Correlation of the records of an event in the loss, less than 1; it is not saved with the model.
    """

    correlation = 0.0

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        r"""Return the negative log-likelihood of the records, as a mean over the events of the batch.

        .. math:: L = \frac{1}{B} \sum_{e=1}^{B} \sum_s \sum_{k=1}^{K} w_{esk}
                  \left[\ln\sigma + \frac{(r - \mu)^2}{2\sigma^2} + \frac{\ln 2\pi}{2}\right],
                  \quad \sigma^2 = s^2 + v

        at the pixel of each station, with the network's mean :math:`\mu` and standard deviation s of the
        intensity measure k; two stations in one pixel contribute two terms. Padded stations, and measures
        that a record lacks, have the weight 0. The residual r is
        ln IM minus the backbone and the mean of the field; v is the variance that the field leaves open.
        Both come from records that the field has not seen, so that s is the noise of a record alone: a
        composite likelihood of single records. Without field, v is 0. With a `correlation`, the gain of
        `gain_of_correlation` is added to the sum over the records of each event and measure.

        Parameters
        ----------
        x : tensor, optional
            Input maps, not used.
        y : dict of str to tensor
            ``pixels`` [batch, stations, 2]; ``ln_im`` (the residual r), ``variance`` and ``weight``,
            [batch, stations, K] each.
        y_pred : tfd.Normal, [batch, row, col, K]
            Output of the model.
        sample_weight : None
            Not used.
        training : bool
            Not used: training and stopping records have the same likelihood.

        Returns
        -------
        tensor, []

        References
        ----------
        Lilienkamp et al. (2022), equation 4. Varin, Reid & Firth (2011), An overview of composite
        likelihood methods, Statistica Sinica 21, section 2.
        """
        normal = at_stations(y_pred, y["pixels"])
        record = tfd.Normal(normal.loc, tf.sqrt(normal.scale**2 + y["variance"]))
        log_prob = record.log_prob(y["ln_im"])
        total = tf.reduce_sum(y["weight"] * log_prob)
        if self.correlation:
            z = (y["ln_im"] - record.loc) / record.scale
            total += tf.reduce_sum(gain_of_correlation(z, y["weight"], self.correlation))
        return -total / tf.cast(tf.shape(log_prob)[0], log_prob.dtype)

    def predict_step(self, data):
        """Return mean and standard deviation of ln IM for one batch of maps; Keras calls it in ``predict``.

        Parameters
        ----------
        data : tensor, [batch, row, col, channel]
            Input maps, alone or in a tuple as Keras gives them.

        Returns
        -------
        dict of str to tensor, [batch, row, col, K]
            ``mean`` and ``stddev`` of ln IM at each output pixel.
        """
        maps, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        normal = self(maps, training=False)
        return {"mean": normal.loc, "stddev": normal.scale}
