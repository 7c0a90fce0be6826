"""What the HTTP API offers, declared once: operations and their fields, as routes, openapi.json and pages show them."""
