//! What stands between the socket and a handler, in the order of a request: other origins, the log, the key, its limits.

pub(super) mod access_log;
pub(super) mod auth;
pub(super) mod cors;
mod head;
pub(super) mod rate_limit;
mod traced;
