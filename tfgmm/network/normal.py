"""Normal distribution of ln IM at every pixel; its likelihood at stations, with event and site terms."""

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from keras import ops
from tensorflow_probability import distributions as tfd

from tfgmm.stats import ergodic, mixed_effects

#: Number of training steps between two estimates of the site terms.
TERMS_EVERY = 50
#: Share of a site term that is subtracted from the records of the site while the network learns.
SUBTRACTED_SHARE = 0.8


class RandomTerms(keras.layers.Layer):
    """Event and site terms of the training records, estimated while a network learns.

    Parameters
    ----------
    records : int
        Number of training records.
    tau, phi_s2s, phi_ss : float
        Initial standard deviations, ln units.

    Attributes
    ----------
    stddev : keras.Variable, [3]
        tau, phi_S2S and phi_SS, ln units.
    variance : keras.Variable, []
        Variance of the part of event and site terms that is not subtracted from the training records,
        squared ln units.
    offset : keras.Variable, [records]
        Part of the site term that is subtracted from each record in the loss, ln units.
    residual : keras.Variable, [records]
        Observed ln IM minus the network's mean, from the latest training step that included the record;
        NaN before the first such step.
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
        """Return offset and variance of records of unknown events and sites: 0 and tau^2 + phi_S2S^2.

        Returns
        -------
        offset : float
            0, ln units.
        variance : tensor, []
            Squared ln units.
        """
        return 0.0, tf.reduce_sum(self.stddev.value[:2] ** 2)

    def of_training(self, y: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        """Return offset and variance of the training records of a batch.

        The offset is subtracted from ln IM in the loss; the variance is added to that of the network.

        Parameters
        ----------
        y : dict of str to tensor
            Station tensors of a batch, with ``record``, the numbers of the records, [batch, stations].

        Returns
        -------
        offset : tensor, [batch, stations]
            Ln units.
        variance : tensor, []
            Squared ln units.
        """
        return tf.gather(self.offset.value, y["record"]), self.variance.value

    def remember(self, y: dict[str, tf.Tensor], mean: tf.Tensor) -> None:
        """Store the residuals, observed ln IM minus `mean`, of the records of a batch.

        Parameters
        ----------
        y : dict of str to tensor, [batch, stations]
            ``ln_im``, ``weight`` and ``record`` (number of the record); padding has the weight 0.
        mean : tensor, [batch, stations]
            Mean of ln IM from the network, ln units.
        """
        is_record = y["weight"] > 0
        record, residual = (
            tf.boolean_mask(values, is_record) for values in (y["record"], y["ln_im"] - mean)
        )
        self.residual.value.scatter_nd_update(record[:, tf.newaxis], residual)


class RandomTermsUpdate(keras.callbacks.Callback):
    r"""A Keras callback that estimates site terms from the residuals, every 50 steps and after each epoch.

    The records of a site pull the network's mean f at the site's pixel towards the mean of the records,
    which includes the site term, in proportion to the number of records: f would overfit sites with many
    records, and sites with few records would hardly count. If the whole site terms were subtracted from the
    records, nothing would constrain f where there is no station. Therefore the share :math:`\alpha` of each
    site term is subtracted from the records, and the remaining part is counted in the variance v:

    .. math:: y_{es} - \alpha\, \delta S2S_s, \quad v = \tau^2 + (1 - \alpha)^2 \phi_{S2S}^2, \quad
        \alpha = 0.8

    The residuals come from the training steps: an extra pass over the records would make the training a
    third longer. After each epoch tau, phi_S2S and phi_SS are estimated by restricted maximum likelihood.

    Parameters
    ----------
    records : pandas.DataFrame
        ``event_id`` and ``site_id`` of the training records.
    """

    def __init__(self, records: pd.DataFrame) -> None:
        super().__init__()
        self.records = records

    def on_train_batch_end(self, batch, logs=None):
        """Estimate the site terms again every `TERMS_EVERY` steps, for the current standard deviations."""
        if (batch + 1) % TERMS_EVERY == 0:
            equations = mixed_effects.MixedModelEquations(*self._residuals())
            self._subtract(equations.solve(*self.model.random_terms.stddev.numpy().astype(float)))

    def on_epoch_end(self, epoch, logs=None):
        """Estimate tau, phi_S2S, phi_SS and the site terms again."""
        fitted = mixed_effects.fit(*self._residuals())
        self.model.random_terms.stddev.assign([fitted.tau, fitted.phi_s2s, fitted.phi_ss])
        self._subtract(fitted)

    def _residuals(self) -> tuple[np.ndarray, np.ndarray, pd.Series, pd.Series]:
        """Return intercept [n, 1], residuals, event ids and site ids of the records with a residual."""
        residual = self.model.random_terms.residual.numpy()
        seen = np.isfinite(residual)
        records = self.records[seen]
        return np.ones((seen.sum(), 1)), residual[seen], records["event_id"], records["site_id"]

    def _subtract(self, fitted: mixed_effects.CrossedEffects) -> None:
        """Set the offsets, and the variance of the terms that are not subtracted, from a fit."""
        terms, of_site = self.model.random_terms, self.records["site_id"].map(fitted.site_terms)
        terms.offset.assign(SUBTRACTED_SHARE * of_site.fillna(0.0).to_numpy())
        terms.variance.assign(fitted.tau**2 + ((1 - SUBTRACTED_SHARE) * fitted.phi_s2s) ** 2)


@keras.saving.register_keras_serializable("tfgmm")
class NormalLayer(keras.layers.Layer):
    r"""A Keras layer that turns a parameter map into a Normal distribution of ln IM at every pixel.

    .. math:: \mu = \mu_0 + a p_0, \quad \sigma = a \, \mathrm{softplus}(p_1) + \sigma_{min}

    Parameters
    ----------
    location : float
        :math:`\mu_0`, the mean of the training target, ln units.
    scale : float
        :math:`a`, the standard deviation of the training target, ln units.
    min_stddev : float
        :math:`\sigma_{min}`, a lower limit that keeps the likelihood bounded, ln units.
    """

    def __init__(self, location: float = 0.0, scale: float = 1.0, min_stddev: float = 0.05, **kwargs):
        super().__init__(**kwargs)
        self.location, self.scale, self.min_stddev = location, scale, min_stddev

    def call(self, parameters, median=None):
        """Return Normal distributions of ln IM, [batch, row, col].

        Parameters
        ----------
        parameters : tensor, [batch, row, col, 2]
            :math:`p_0` and :math:`p_1` at every pixel, without unit.
        median : tensor, [batch, row, col], optional
            Ergodic median of ln IM, added to the mean (`ErgodicMedian`).

        Returns
        -------
        tfd.Normal, [batch, row, col]
            In ln units, IM in g.
        """
        mean = self.location + self.scale * parameters[..., 0]
        stddev = self.scale * ops.softplus(parameters[..., 1]) + self.min_stddev
        return tfd.Normal(mean if median is None else mean + median, stddev)

    def compute_output_spec(self, parameters, median=None):
        """Return shape and type of the mean, which stand for the distribution in the Keras graph."""
        return keras.KerasTensor(parameters.shape[:-1], dtype=parameters.dtype)

    def get_config(self):
        """Return the constructor arguments, for the ``.keras`` file."""
        own = {"location": self.location, "scale": self.scale, "min_stddev": self.min_stddev}
        return super().get_config() | own


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
    normal : tfd.Normal, [batch, row, col]
        Distribution of ln IM at every pixel.
    pixels : tensor of int32, [batch, stations, 2]
        Row and column of each station.

    Returns
    -------
    tfd.Normal, [batch, stations]
    """
    gather = lambda values: tf.gather_nd(values, pixels, batch_dims=1)  # noqa: E731
    return tfd.Normal(gather(normal.loc), gather(normal.scale))


@keras.saving.register_keras_serializable("tfgmm")
class GroundMotionModel(keras.Model):
    """A Keras model whose output is a Normal distribution of ln IM at every pixel.

    The loss is the negative log-likelihood of the records at the pixels of their stations.

    Attributes
    ----------
    random_terms : RandomTerms or None
        Event and site terms of the training records; None without random effects and in a loaded model.
    """

    random_terms: RandomTerms | None = None

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        r"""Return the negative log-likelihood of the records, as a mean over the events of the batch.

        .. math:: L = \frac{1}{B} \sum_{e=1}^{B} \sum_s w_{es}
                  \left[\ln\sigma + \frac{(\ln y - \mu)^2}{2\sigma^2} + \frac{\ln 2\pi}{2}\right]

        at the pixel of each station s; two stations in one pixel contribute two terms, padded stations have
        the weight 0. With random effects the network's standard deviation is :math:`\phi_{SS}`; the offset
        from `RandomTerms` is subtracted from ln y, and the variance v from `RandomTerms` is added,
        :math:`\sigma^2 = \phi_{SS}^2 + v`: a composite likelihood of single records.

        Parameters
        ----------
        x : tensor, optional
            Input maps, not used.
        y : dict of str to tensor
            ``pixels`` [batch, stations, 2]; ``ln_im``, ``weight`` and ``record``, [batch, stations] each.
        y_pred : tfd.Normal, [batch, row, col]
            Output of the model.
        sample_weight : None
            Not used.
        training : bool
            True for training records, false for stopping records, whose events and sites are taken as
            unknown.

        Returns
        -------
        tensor, []

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
        """Return mean and standard deviation of ln IM for one batch of maps; Keras calls it in ``predict``.

        Parameters
        ----------
        data : tensor, [batch, row, col, channel]
            Input maps, alone or in a tuple as Keras gives them.

        Returns
        -------
        dict of str to tensor, [batch, row, col]
            ``mean`` and ``stddev`` of ln IM (IM in g) at each output pixel.
        """
        maps, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        normal = self(maps, training=False)
        return {"mean": normal.loc, "stddev": normal.scale}
