//! Which operation a method and a path ask for.

use hyper::Method;

use super::answer::ApiError;
use crate::sandbox::faults::Operation;

/// A path that leads somewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Route {
    Zones,
    Zone(String),
    Records(String),
    Record(String, String),
    Batch(String),
    Usage(String),
    VerifyUser,
    VerifyAccount(String),
}

impl Route {
    pub fn parse(path: &str) -> Result<Self, ApiError> {
        let lost = || ApiError::no_route(path);
        let inner = path.strip_prefix("/client/v4/").ok_or_else(lost)?;
        let segments: Vec<&str> = inner.trim_end_matches('/').split('/').collect();
        let own = |s: &str| s.to_owned();
        let route = match segments[..] {
            ["zones"] => Self::Zones,
            ["user", "tokens", "verify"] => Self::VerifyUser,
            ["accounts", id, "tokens", "verify"] if is_id(id) => Self::VerifyAccount(own(id)),
            ["zones", zone, ..] if !is_id(zone) => return Err(lost()),
            ["zones", zone] => Self::Zone(own(zone)),
            ["zones", zone, "dns_records"] => Self::Records(own(zone)),
            ["zones", zone, "dns_records", "batch"] => Self::Batch(own(zone)),
            ["zones", zone, "dns_records", "usage"] => Self::Usage(own(zone)),
            ["zones", zone, "dns_records", id] if is_id(id) => Self::Record(own(zone), own(id)),
            _ => return Err(lost()),
        };
        Ok(route)
    }

    pub fn zone(&self) -> Option<&str> {
        match self {
            Self::Zone(zone)
            | Self::Records(zone)
            | Self::Record(zone, _)
            | Self::Batch(zone)
            | Self::Usage(zone) => Some(zone),
            _ => None,
        }
    }

    /// What the method does here; `None` if it is not allowed.
    pub fn operation(&self, method: &Method) -> Option<Operation> {
        let operation = match (self, method.as_str()) {
            (Self::Zones, "GET") => Operation::ListZones,
            (Self::Zone(_), "GET") => Operation::GetZone,
            (Self::Records(_), "GET") => Operation::ListRecords,
            (Self::Records(_), "POST") => Operation::CreateRecord,
            (Self::Record(..), "GET") => Operation::GetRecord,
            (Self::Record(..), "PATCH") => Operation::PatchRecord,
            (Self::Record(..), "PUT") => Operation::PutRecord,
            (Self::Record(..), "DELETE") => Operation::DeleteRecord,
            (Self::Batch(_), "POST") => Operation::Batch,
            (Self::Usage(_), "GET") => Operation::Usage,
            (Self::VerifyUser | Self::VerifyAccount(_), "GET") => Operation::VerifyToken,
            _ => return None,
        };
        Some(operation)
    }
}

/// Identifiers are 32 hexadecimal digits in lower case.
fn is_id(text: &str) -> bool {
    text.len() == 32
        && text
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}
