//! The query string of a list.

use std::ops::RangeInclusive;

use axum::{
    extract::FromRequestParts,
    http::{header, request::Parts},
};
use jiff::{Timestamp, civil, tz::TimeZone};

use super::{error::Error, fields::flag_word};

/// The parameters of a query string, and where they came to.
#[derive(Debug, Clone)]
pub(in crate::sandbox) struct Params {
    pairs: Vec<(String, String)>,
    host: String,
    /// Without the prefix that the router is nested under.
    path: String,
}

impl<S: Sync> FromRequestParts<S> for Params {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let query = parts.uri.query().unwrap_or_default();
        let host = parts
            .headers
            .get(header::HOST)
            .and_then(|host| host.to_str().ok())
            .unwrap_or("localhost");
        Ok(Self {
            pairs: url::form_urlencoded::parse(query.as_bytes())
                .into_owned()
                .collect(),
            host: host.to_owned(),
            path: parts.uri.path().to_owned(),
        })
    }
}

impl Params {
    /// The value of `name`, unless it is empty.
    pub(in crate::sandbox) fn one(&self, name: &str) -> Option<&str> {
        let (_, value) = self.pairs.iter().rev().find(|(key, _)| key == name)?;
        Some(value.as_str()).filter(|value| !value.is_empty())
    }

    /// Every value of `name`: repeated, separated by commas, or both.
    pub(in crate::sandbox) fn all(&self, name: &str) -> Vec<&str> {
        self.pairs
            .iter()
            .filter(|(key, _)| key == name)
            .flat_map(|(_, value)| value.split(','))
            .map(str::trim)
            .filter(|value| !value.is_empty())
            .collect()
    }

    /// Every value of `name`, each a whole number.
    pub(in crate::sandbox) fn integers(&self, name: &'static str) -> Result<Vec<i64>, Error> {
        let numbers: Result<_, _> = self.all(name).into_iter().map(str::parse).collect();
        numbers.map_err(|_| Error::field(name, "invalid", "Enter a whole number."))
    }

    /// A whole number within `range`.
    pub(in crate::sandbox) fn integer(
        &self,
        name: &'static str,
        range: RangeInclusive<u64>,
    ) -> Result<Option<u64>, Error> {
        let Some(value) = self.one(name) else {
            return Ok(None);
        };
        let number = value
            .parse()
            .map_err(|_| Error::field(name, "invalid", "A valid integer is required."))?;
        if !range.contains(&number) {
            let detail = format!(
                "Ensure this value is between {} and {}.",
                range.start(),
                range.end()
            );
            return Err(Error::field(name, "invalid", detail));
        }
        Ok(Some(number))
    }

    /// Whether `name` is set to something true.
    pub(in crate::sandbox) fn flag(&self, name: &'static str) -> Result<Option<bool>, Error> {
        let Some(value) = self.one(name) else {
            return Ok(None);
        };
        match flag_word(value) {
            Some(flag) => Ok(Some(flag)),
            None => Err(Error::field(name, "invalid", "Must be a valid boolean.")),
        }
    }

    /// A moment: a date (its first moment in UTC) or a date and time with an offset.
    pub(in crate::sandbox) fn moment(
        &self,
        name: &'static str,
    ) -> Result<Option<Timestamp>, Error> {
        let Some(value) = self.one(name) else {
            return Ok(None);
        };
        let date = |value: &str| {
            value
                .parse::<civil::Date>()
                .ok()?
                .to_zoned(TimeZone::UTC)
                .ok()
        };
        let moment = value
            .parse()
            .ok()
            .or_else(|| date(value).map(|zoned| zoned.timestamp()));
        match moment {
            Some(moment) => Ok(Some(moment)),
            None => Err(Error::field(name, "invalid", "Enter a valid date/time.")),
        }
    }

    /// The absolute address of page `number` of the same list, in the API under `prefix`.
    pub(in crate::sandbox) fn address_of_page(&self, prefix: &str, number: usize) -> String {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(self.pairs.iter().filter(|(name, _)| name != "page"));
        query.append_pair("page", &number.to_string());
        format!(
            "http://{}{prefix}{}?{}",
            self.host,
            self.path,
            query.finish()
        )
    }
}
