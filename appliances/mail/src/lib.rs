//! A mail server for a household, over the store.
