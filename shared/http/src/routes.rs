//! The routes of the API, for `Location` and `Allow`.
//!
//! The template's events and the OpenAPI document list the same routes. Tests compare all three.

use exports_domain::id::ExportId;

/// A method and a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The HTTP method, in upper case.
    pub method: &'static str,
    /// The path in API Gateway's syntax: `{…}` matches one segment, `{…+}` one or more.
    pub path: &'static str,
}

const fn get(path: &'static str) -> Route {
    Route { method: "GET", path }
}

const fn post(path: &'static str) -> Route {
    Route { method: "POST", path }
}

/// The path of marketplace payouts exports.
pub const EXPORTS: &str = "/v1/payments/marketplace-payouts/export";

/// Every route.
pub const ROUTES: [Route; 8] = [
    post(EXPORTS),
    get(EXPORTS),
    get("/v1/payments/marketplace-payouts/export/{exportId}"),
    post("/v1/exports/{exportId}/resend-email"),
    get("/v1/caller"),
    get("/v1/openapi.json"),
    get("/back-office"),
    get("/back-office/{proxy+}"),
];

/// The path of an export.
#[must_use]
pub fn export(id: &ExportId) -> String {
    format!("/v1/payments/{}/export/{id}", id.export_type().slug())
}

/// The methods that a path supports. Empty if no route matches.
#[must_use]
pub fn methods_at(path: &str) -> Vec<&'static str> {
    ROUTES.iter().filter(|route| matches(route.path, path)).map(|route| route.method).collect()
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
        assert_eq!(methods_at(EXPORTS), ["POST", "GET"]);
        assert_eq!(methods_at(&export(&exports_domain::testing::export().id)), ["GET"]);
        assert_eq!(methods_at("/v1/exports/whatever/resend-email"), ["POST"]);
        for path in
            ["", "/", "/v1", "/v1/caller/", "/v1//caller", "/V1/caller", "/v1/exports//resend-email", "/v1/exports"]
        {
            assert_eq!(methods_at(path), [] as [&str; 0], "{path}");
        }
    }

    #[test]
    fn greedy_segment_matches_one_or_more() {
        for (path, expected) in [("/a/b", true), ("/a/b/c", true), ("/a", false), ("/a/", false), ("/b/b", false)] {
            assert_eq!(matches("/a/{rest+}", path), expected, "{path}");
        }
    }
}
