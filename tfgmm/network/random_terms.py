"""Event and site terms while a network learns, which are subtracted from the records in part."""

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from tfgmm.stats import mixed_effects

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
