"""The whole way from one configuration: `engine` (what to run again and what not), `steps` (the steps themselves)."""
