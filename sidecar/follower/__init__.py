"""The one writer of a table: within one generation (`feed`), and from one to the next."""

from .feed import Bell, Policy, Rebuild, Setting
from .follower import Follower

__all__ = ["Bell", "Follower", "Policy", "Rebuild", "Setting"]
