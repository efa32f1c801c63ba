"""The project folder read into typed models; every error with file, line and column."""
