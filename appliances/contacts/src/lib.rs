//! CardDAV and the address book on the web, over the store.
