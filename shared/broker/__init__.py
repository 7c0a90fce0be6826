"""The broker: connection, address, queues, leases, keep-alive and refusals."""
