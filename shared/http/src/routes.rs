//! The routes of the API, for `Location` and `Allow`.
//!
//! The template's events and the OpenAPI document list the same routes. Tests compare all three.

use exports_domain::export_type::ExportType;
use exports_domain::id::ExportId;

/// A method and a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The HTTP method, in upper case.
    pub method: &'static str,
    /// The path in API Gateway's syntax: `{…}` matches one segment, `{…+}` one or more.
    pub path: String,
}

const PAYMENTS: &str = "/v1/payments";

/// The routes that do not depend on the export type.
const OTHERS: [(&str, &str); 6] = [
    ("POST", "/v1/exports/{exportId}/resend-email"),
    ("POST", "/v1/exports/{exportId}/cancel"),
    ("GET", "/v1/caller"),
    ("GET", "/v1/openapi.json"),
    ("GET", "/back-office"),
    ("GET", "/back-office/{proxy+}"),
];

/// Every route.
pub fn routes() -> impl Iterator<Item = Route> {
    let of_types = ExportType::ALL.into_iter().flat_map(|export_type| {
        let path = exports(export_type);
        [("POST", path.clone()), ("GET", path.clone()), ("GET", format!("{path}/{{exportId}}"))]
    });
    let others = OTHERS.into_iter().map(|(method, path)| (method, path.to_owned()));
    of_types.chain(others).map(|(method, path)| Route { method, path })
}

/// The path of the exports of a type.
#[must_use]
pub fn exports(export_type: ExportType) -> String {
    format!("{PAYMENTS}/{}/export", export_type.slug())
}

/// The path of an export.
#[must_use]
pub fn export(id: &ExportId) -> String {
    format!("{}/{id}", exports(id.export_type()))
}

/// The export type in the path of its exports, or of one of them.
pub(crate) fn export_type(path: &str) -> Option<ExportType> {
    path.strip_prefix(PAYMENTS)?.strip_prefix('/')?.split('/').next()?.parse().ok()
}

/// The methods that a path supports. Empty if no route matches.
#[must_use]
pub fn methods_at(path: &str) -> Vec<&'static str> {
    routes().filter(|route| matches(&route.path, path)).map(|route| route.method).collect()
}

fn matches(pattern: &str, path: &str) -> bool {
    let (mut patterns, mut segments) = (pattern.split('/'), path.split('/'));
    loop {
        match (patterns.next(), segments.next()) {
            (None, None) => return true,
            (Some(pattern), Some(segment)) if pattern.starts_with('{') && !segment.is_empty() => {
                if pattern.ends_with("+}") {
                    return true;
                }
            }
            (Some(pattern), Some(segment)) if pattern == segment => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_those_of_the_matching_routes() {
        for export_type in ExportType::ALL {
            assert_eq!(methods_at(&exports(export_type)), ["POST", "GET"]);
        }
        assert_eq!(methods_at(&export(&exports_domain::testing::export().id)), ["GET"]);
        assert_eq!(methods_at("/v1/exports/whatever/resend-email"), ["POST"]);
        assert_eq!(methods_at("/v1/exports/whatever/cancel"), ["POST"]);
        assert_eq!(methods_at("/back-office"), ["GET"]);
        assert_eq!(methods_at("/back-office/assets/exports.js"), ["GET"]);
        for path in
            ["", "/", "/v1", "/v1/caller/", "/v1//caller", "/V1/caller", "/v1/exports//resend-email", "/v1/exports"]
        {
            assert_eq!(methods_at(path), [] as [&str; 0], "{path}");
        }
    }

    #[test]
    fn export_type_is_that_of_the_path() {
        for known in ExportType::ALL {
            assert_eq!(export_type(&exports(known)), Some(known));
            assert_eq!(export_type(&format!("{}/x", exports(known))), Some(known));
        }
        let behind_a_path = format!("/pay{}", exports(ExportType::MarketplacePayouts));
        for path in ["", "/v1/payments", "/v1/payments/", "/v1/payments/x/export", "/v1/caller", &behind_a_path] {
            assert_eq!(export_type(path), None, "{path}");
        }
    }

    #[test]
    fn greedy_segment_matches_one_or_more() {
        for (path, expected) in [("/a/b", true), ("/a/b/c", true), ("/a", false), ("/a/", false), ("/b/b", false)] {
            assert_eq!(matches("/a/{rest+}", path), expected, "{path}");
        }
    }
}
