"""Event and site terms while a network learns: what is taken off the records, and what is left."""

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from tfgmm import mixed_effects

#: Steps after which site terms are found anew while a network learns.
TERMS_EVERY = 50
#: Medians of the sites' numbers of records: no site pulls on f harder than with so many.
HARDEST_PULL = 5.0


class RandomTerms(keras.layers.Layer):
    r"""What is known of the event and site terms of the training records while a network learns.

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
    offset, variance : keras.Variable, [records]
        What is taken off each record before f is compared with it, and the variance of the terms that
        are left in it.
    residual : keras.Variable, [records]
        Observed minus f when each record was last seen in training; NaN before.
    """

    def __init__(self, records: int, tau: float, phi_s2s: float, phi_ss: float) -> None:
        super().__init__(name="random_terms", trainable=False, dtype="float32")
        self.stddev = self.add_weight(shape=(3,), initializer="zeros", name="stddev")
        self.offset, self.variance, self.residual = (
            self.add_weight(shape=(records,), initializer="zeros", name=name)
            for name in ("offset", "variance", "residual")
        )
        self.stddev.assign([tau, phi_s2s, phi_ss])
        self.variance.assign(np.full(records, tau**2 + phi_s2s**2))
        self.residual.assign(np.full(records, np.nan))
        self.built = True

    def of_unknown(self) -> tuple[float, tf.Tensor]:
        """Offset and variance of records of other events at other sites than those that train."""
        return 0.0, tf.reduce_sum(self.stddev.value[:2] ** 2)

    def of_training(self, y: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        """Offset and variance of a batch's records, [batch, stations] each."""
        return tf.gather(self.offset.value, y["record"]), tf.gather(self.variance.value, y["record"])

    def remember(self, y: dict[str, tf.Tensor], mean: tf.Tensor) -> None:
        """Keep the residuals of a batch."""
        real = y["weight"] > 0
        record, residual = (tf.boolean_mask(one, real) for one in (y["record"], y["ln_im"] - mean))
        self.residual.value.scatter_nd_update(record[:, tf.newaxis], residual)


class RandomTermsUpdate(keras.callbacks.Callback):
    r"""Every 50 steps and after each epoch: site terms from what f has left, to be taken off in part.

    Single records pull f towards the mean of their site, its own term included, in proportion to their
    number :math:`n_s`: where most sites have a hundredth of the records of a few, these would be learned
    by heart and the others not at all. So no site pulls harder than one of :math:`\tilde n` records, five
    times the median site:

    .. math:: y_{es} - \alpha_s \delta S2S_s, \quad v_{es} = \tau^2 + (1 - \alpha_s)^2 \phi_{S2S}^2, \quad
        \alpha_s = \max(0, 1 - \tilde n / n_s)

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
        count = self.records.groupby("site_id", observed=True)["site_id"].transform("size").to_numpy()
        hardest = HARDEST_PULL * self.records["site_id"].value_counts().median()
        self.taken_off = np.maximum(0.0, 1.0 - hardest / count)

    def on_train_batch_end(self, batch, logs=None):
        """Find the terms anew, where any is taken off."""
        if (batch + 1) % TERMS_EVERY == 0 and self.taken_off.any():
            equations = mixed_effects.MixedModelEquations(*self._left())
            self._take_off(equations.solve(*self.model.random_terms.stddev.numpy().astype(float)))

    def on_epoch_end(self, epoch, logs=None):
        """Estimate the variances, and with them the terms."""
        found = mixed_effects.fit(*self._left())
        self.model.random_terms.stddev.assign([found.tau, found.phi_s2s, found.phi_ss])
        self._take_off(found)

    def _left(self) -> tuple[np.ndarray, np.ndarray, pd.Series, pd.Series]:
        """An intercept, the residuals of the records that have been seen, their events and sites."""
        residual = self.model.random_terms.residual.numpy()
        seen = np.isfinite(residual)
        records = self.records[seen]
        return np.ones((seen.sum(), 1)), residual[seen], records["event_id"], records["site_id"]

    def _take_off(self, found: mixed_effects.CrossedEffects) -> None:
        terms, of_site = self.model.random_terms, self.records["site_id"].map(found.site_terms)
        terms.offset.assign(self.taken_off * of_site.fillna(0.0).to_numpy())
        terms.variance.assign(found.tau**2 + ((1 - self.taken_off) * found.phi_s2s) ** 2)
