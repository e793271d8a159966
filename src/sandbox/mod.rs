//! Local stand-ins for the neighbours, spoken to over HTTP only.

pub mod model;
