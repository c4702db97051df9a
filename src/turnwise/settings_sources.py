"""Where settings come from: defaults, a TOML file, the environment, the command line."""
