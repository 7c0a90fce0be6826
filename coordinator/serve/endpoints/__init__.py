"""What answers the operations of the HTTP API, a module for each thing that they are about."""
