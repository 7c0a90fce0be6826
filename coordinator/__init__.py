"""coordinator: splits the work, asks for it, watches it; never opens an image."""

from coordinator.hidden import refuse

refuse()
