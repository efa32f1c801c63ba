"""The HTTP application: endpoints, OpenAPI, health, metrics."""
