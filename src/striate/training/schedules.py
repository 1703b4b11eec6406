"""The course of the learning rate, as a function of the step: nothing to save, nothing to restore."""

from math import cos, pi

from striate.training.config import TrainConfig

ONECYCLE_RISE = 0.3
ONECYCLE_START = 1 / 25
ONECYCLE_END = ONECYCLE_START / 1e4


def rate_at(config: TrainConfig, step: int, steps_per_epoch: int) -> float:
    """Return the learning rate of one step.

    Args:
        config: its ``lr``, ``sched`` and what belongs to them.
        step: of the whole run, counted from 0.
        steps_per_epoch: optimizer steps in an epoch.

    The warm-up rises in a line, its first step not at zero (Goyal et al., "Accurate, large minibatch SGD", 2017,
    section 2.2); the schedule proper runs over the steps that remain:

    - ``cosine``: half a cosine from the full rate to zero (Loshchilov and Hutter, "SGDR", 2017, equation 5);
    - ``onecycle``: up from 1/25 of the rate over the first 30 % of the steps, then down to 1/250,000 of it, both by
      half a cosine (Smith and Topin, "Super-convergence", 2018, in the form that torch and fast.ai gave it; the
      momentum stays as it is);
    - ``step``: times ``decay_rate`` every ``decay_epochs``.
    """
    warmup = round(config.warmup_epochs * steps_per_epoch)
    if step < warmup:
        return config.lr * (step + 1) / (warmup + 1)
    done, total = step - warmup, max(config.epochs * steps_per_epoch - warmup, 1)
    if config.sched == "cosine":
        return config.lr * _glide(1.0, 0.0, done / total)
    if config.sched == "onecycle":
        top, last = ONECYCLE_RISE * total - 1, total - 1
        if done < top:
            return config.lr * _glide(ONECYCLE_START, 1.0, done / top)
        return config.lr * _glide(1.0, ONECYCLE_END, (done - top) / max(last - top, 1))
    if config.sched == "step":
        return config.lr * config.decay_rate ** (done // max(round(config.decay_epochs * steps_per_epoch), 1))
    return config.lr


def _glide(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + cos(pi * min(share, 1.0))) / 2
