//! What stands between the socket and a handler, in the order of a request: the log, then the key, then its limits.

pub(super) mod access_log;
pub(super) mod auth;
pub(super) mod rate_limit;
