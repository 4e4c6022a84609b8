//! Every bound of the WebDAV, CardDAV and CalDAV service, with its reason. What comes from outside never decides how much
//! time or memory it takes; it meets one of these first.

use std::time::Duration;

/// Largest XML request body in octets. A multiget of 5,000 hrefs of 100 octets is 0.6 MB.
pub const XML_BODY_BYTES_MAX: usize = 4 << 20;
/// Deepest element nesting of an XML request. RFC 4791's deepest filter needs 8.
pub const XML_DEPTH_MAX: usize = 32;
/// Elements in one XML request; see [`XML_BODY_BYTES_MAX`].
pub const XML_ELEMENTS_MAX: usize = 30_000;
/// Attributes on one element of an XML request.
pub const XML_ATTRIBUTES_MAX: usize = 32;
/// Hrefs in one multiget; clients ask for 10 to 200, vdirsyncer for 30 at a time, some for a whole first sync.
pub const MULTIGET_HREFS_MAX: usize = 10_000;

/// Largest calendar object or card (CALDAV:max-resource-size, CARDDAV:max-resource-size). Photos of phones are below 1 MB.
pub const OBJECT_BYTES_MAX: usize = 10 << 20;
/// Largest file in a plain WebDAV collection. It passes through memory once.
pub const FILE_BYTES_MAX: usize = 32 << 20;
/// Members of one collection.
pub const MEMBERS_MAX: usize = 200_000;
/// Octets that one account may keep (DAV:quota-available-bytes counts down from here).
pub const ACCOUNT_BYTES_MAX: u64 = 16 << 30;
/// Collections in one account's tree, shared ones included.
pub const COLLECTIONS_MAX: usize = 1_000;
/// Deepest path below an account's tree.
pub const PATH_DEPTH_MAX: usize = 32;
/// Longest name of a member after percent-decoding; Linux and macOS allow 255 octets in a checkout.
pub const NAME_BYTES_MAX: usize = 200;
/// Dead properties kept on one resource, and octets of them all.
pub const DEAD_PROPERTIES_MAX: usize = 200;
/// Octets of one dead property's XML.
pub const DEAD_PROPERTY_BYTES_MAX: usize = 64 << 10;

/// Components in one calendar object, alarms included. A daily meeting of three years, each moved, has 1,100.
pub const COMPONENTS_MAX: usize = 10_000;
/// Alarms in one calendar object (a bomb has thousands).
pub const ALARMS_MAX: usize = 500;
/// Attendees of one component (CALDAV:max-attendees-per-instance).
pub const ATTENDEES_MAX: usize = 5_000;
/// Instances that one calendar object may have within any of its first 366 days (CALDAV:max-instances): every hour is
/// 8,784; every minute is a mistake or an attack.
pub const INSTANCES_MAX: usize = 10_000;
/// Values in all RDATE and EXDATE properties of one component.
pub const DATES_MAX: usize = 20_000;
/// Instances that one REPORT may produce by expansion (DAV:number-of-matches-within-limits).
pub const REPORT_INSTANCES_MAX: usize = 50_000;
/// Periods (days, weeks…) that a rule may be asked to examine before the question ends with an error.
pub const RULE_STEPS_MAX: u64 = 400_000;
/// Earliest and latest moments that are served (CALDAV:min-date-time, CALDAV:max-date-time), as years.
pub const YEAR_MIN: i32 = 1;
/// See [`YEAR_MIN`].
pub const YEAR_MAX: i32 = 9999;
/// Observances of one VTIMEZONE, and their RDATEs together.
pub const OBSERVANCES_MAX: usize = 1_000;

/// Long answers (reports, listings) that are made at the same time; more wait. Two processors are what a household has.
pub const LONG_AT_ONCE: usize = 2;
/// Resources that one PROPFIND or REPORT of depth 1 renders before it lets others run.
pub const YIELD_EVERY: usize = 64;
/// Octets gathered before a chunk of a streamed answer goes out.
pub const CHUNK_BYTES: usize = 32 << 10;
/// Longest that a client is asked to keep a redirect of /.well-known.
pub const WELL_KNOWN_MAX_AGE: Duration = Duration::from_secs(86_400);
