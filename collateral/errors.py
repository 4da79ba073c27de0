"""The one family of errors the project raises on purpose. A message names the value, the state and the remedy."""


class CollateralError(Exception):
    """Base of every expected failure: printed as one sentence, exit code 1."""


class UsageError(CollateralError):
    """The caller asked for something that cannot be meant: exit code 2."""


class InvalidInputError(CollateralError):
    """Data from outside breaks a documented rule."""


class ServiceError(CollateralError):
    """A server or device that is needed cannot be had or does not answer."""


class IntegrityError(CollateralError):
    """Stored things contradict each other: an edited migration, weights that do not match their card."""
