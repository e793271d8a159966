//! Who may ask, and for what: a key becomes a [`Principal`], and its [`Scope`] can only be narrowed;
//! a [`Limiter`] counts how much each key asks.

mod bucket;
mod keyring;
mod limiter;
mod reservation;
mod scope;
mod shared;

pub use self::{
    bucket::Standing,
    keyring::{Denied, KeyRing, Principal},
    limiter::{KeyLimits, Kind, Limiter, Place, Refused},
    reservation::Reservation,
    scope::{Empty, Outside, Scope},
    shared::{Reach, Unusable},
};
