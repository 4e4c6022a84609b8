//! Three-way merges of the two formats.
