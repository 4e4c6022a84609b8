//! CalDAV and the calendar on the web, over the store.
