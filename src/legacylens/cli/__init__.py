"""The command line: `main` (the app), `output` (tables and JSON), and one thin module for each verb."""
