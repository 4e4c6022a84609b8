//! Lossless content lines of iCalendar and vCard: bytes that nobody changed come out as they went in.
