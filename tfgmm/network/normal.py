"""A Normal distribution at every pixel; its likelihood at stations, with event and site terms."""

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from keras import ops
from tensorflow_probability import distributions as tfd

from tfgmm.stats import ergodic, mixed_effects

#: Steps after which site terms are estimated again while a network learns.
TERMS_EVERY = 50
#: Share of a site term that is subtracted from its records while f learns; the rest pulls on f.
SUBTRACTED_SHARE = 0.8


class RandomTerms(keras.layers.Layer):
    r"""Event and site terms of the training records while a network learns.

    Parameters
    ----------
    records : int
        Records that train.
    tau, phi_s2s, phi_ss : float
        Standard deviations to begin with, ln units.

    Attributes
    ----------
    stddev : keras.Variable, [3]
        tau, phi_S2S and phi_SS.
    variance : keras.Variable, []
        Variance of the terms that are left in the training records.
    offset : keras.Variable, [records]
        Subtracted from each record before f is compared with it.
    residual : keras.Variable, [records]
        Observed minus f when each record was last seen in training; NaN before.
    """

    def __init__(self, records: int, tau: float, phi_s2s: float, phi_ss: float) -> None:
        super().__init__(name="random_terms", trainable=False, dtype="float32")
        self.stddev = self.add_weight(shape=(3,), initializer="zeros", name="stddev")
        self.variance = self.add_weight(shape=(), initializer="zeros", name="variance")
        self.offset, self.residual = (
            self.add_weight(shape=(records,), initializer="zeros", name=name)
            for name in ("offset", "residual")
        )
        self.stddev.assign([tau, phi_s2s, phi_ss])
        self.variance.assign(tau**2 + phi_s2s**2)
        self.residual.assign(np.full(records, np.nan))
        self.built = True

    def of_unknown(self) -> tuple[float, tf.Tensor]:
        """Return offset and variance of records of other events at other sites than those that train."""
        return 0.0, tf.reduce_sum(self.stddev.value[:2] ** 2)

    def of_training(self, y: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the offset of a batch's records, [batch, stations], and their variance."""
        return tf.gather(self.offset.value, y["record"]), self.variance.value

    def remember(self, y: dict[str, tf.Tensor], mean: tf.Tensor) -> None:
        """Keep the residuals of a batch."""
        is_record = y["weight"] > 0
        record, residual = (
            tf.boolean_mask(values, is_record) for values in (y["record"], y["ln_im"] - mean)
        )
        self.residual.value.scatter_nd_update(record[:, tf.newaxis], residual)


class RandomTermsUpdate(keras.callbacks.Callback):
    r"""A callback that estimates site terms from the residuals, every 50 steps and after each epoch.

    Single records pull f towards the mean of their site, its own term included, in proportion to their
    number: sites of many records would be learned by heart, and those of few would hardly count
    beside them. With all of the terms subtracted nothing would hold f where there is no station. So

    .. math:: y_{es} - \alpha\, \delta S2S_s, \quad v = \tau^2 + (1 - \alpha)^2 \phi_{S2S}^2, \quad
        \alpha = 0.8

    Residuals are those of the steps themselves: an extra pass would take a third longer. Variances are
    estimated after each epoch, by restricted maximum likelihood.

    Parameters
    ----------
    records : pandas.DataFrame
        ``event_id`` and ``site_id`` of the records that train.
    """

    def __init__(self, records: pd.DataFrame) -> None:
        super().__init__()
        self.records = records

    def on_train_batch_end(self, batch, logs=None):
        """Estimate the terms again."""
        if (batch + 1) % TERMS_EVERY == 0:
            equations = mixed_effects.MixedModelEquations(*self._residuals())
            self._subtract(equations.solve(*self.model.random_terms.stddev.numpy().astype(float)))

    def on_epoch_end(self, epoch, logs=None):
        """Estimate the variances, and with them the terms."""
        fitted = mixed_effects.fit(*self._residuals())
        self.model.random_terms.stddev.assign([fitted.tau, fitted.phi_s2s, fitted.phi_ss])
        self._subtract(fitted)

    def _residuals(self) -> tuple[np.ndarray, np.ndarray, pd.Series, pd.Series]:
        """Return an intercept, and residuals, events and sites of the records that have been seen."""
        residual = self.model.random_terms.residual.numpy()
        seen = np.isfinite(residual)
        records = self.records[seen]
        return np.ones((seen.sum(), 1)), residual[seen], records["event_id"], records["site_id"]

    def _subtract(self, fitted: mixed_effects.CrossedEffects) -> None:
        """Set the offsets of the records to most of their site terms, and the variance of what is left."""
        terms, of_site = self.model.random_terms, self.records["site_id"].map(fitted.site_terms)
        terms.offset.assign(SUBTRACTED_SHARE * of_site.fillna(0.0).to_numpy())
        terms.variance.assign(fitted.tau**2 + ((1 - SUBTRACTED_SHARE) * fitted.phi_s2s) ** 2)


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
