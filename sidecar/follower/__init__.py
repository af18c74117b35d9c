"""The one writer of a table: within one generation (`feed`), and from one to the next."""

from .follower import Follower
from .setting import Bell, Policy, Rebuild, Setting

__all__ = ["Bell", "Follower", "Policy", "Rebuild", "Setting"]
