"""Split the work, ask for it and watch it; the coordinator never opens an image."""

from coordinator.local.hidden import refuse

refuse()
