//! What every appliance stands on: start-up, configuration, accounts, TLS, HTTP, web shell.
