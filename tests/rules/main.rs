//! Rules that hold everywhere; no sockets.

mod properties;
