//! Who may ask, and for what: a key becomes a [`Principal`], and its [`Scope`] can only be narrowed.

mod keyring;
mod scope;

pub use self::{
    keyring::{Denied, KeyRing, Principal},
    scope::{Empty, Outside, Scope},
};
