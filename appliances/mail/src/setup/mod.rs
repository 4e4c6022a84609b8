//! Set-up of a client is an address and a password: Thunderbird's autoconfig, Outlook's autodiscover, Apple's profile;
//! the DNS records that mail needs, shown and checked.

mod clients;
mod dns;

pub use dns::{Record, records};

use crate::service::Post;
use chassis::http::Router;
use std::sync::Arc;

/// The pages of set-up.
pub fn routes(post: &Arc<Post>) -> Router {
    clients::routes(post).and(dns::routes(post))
}
