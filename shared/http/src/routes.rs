//! What is where: the one table of paths, for answers that point to them and for those that say what a path takes.
//!
//! The template's events and the OpenAPI document have the same paths; tests hold the three together.

use domain::id::ExportId;

/// A path and a method that something answers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The HTTP method.
    pub method: &'static str,
    /// The path as API Gateway writes it: `{…}` stands for one segment, `{…+}` for one or more.
    pub path: &'static str,
}

const fn get(path: &'static str) -> Route {
    Route { method: "GET", path }
}

const fn post(path: &'static str) -> Route {
    Route { method: "POST", path }
}

/// Where exports of marketplace payouts are launched and listed.
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

/// The path of an export's detail.
#[must_use]
pub fn export(id: &ExportId) -> String {
    format!("/v1/payments/{}/export/{id}", id.export_type().slug())
}

/// The methods that something at this path answers to; none if nothing is there.
#[must_use]
pub fn methods_at(path: &str) -> Vec<&'static str> {
    ROUTES.iter().filter(|route| fits(route.path, path)).map(|route| route.method).collect()
}

fn fits(pattern: &str, path: &str) -> bool {
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
    fn path_tells_its_methods() {
        assert_eq!(methods_at(EXPORTS), ["POST", "GET"]);
        assert_eq!(methods_at(&export(&domain::testing::export().id)), ["GET"]);
        assert_eq!(methods_at("/v1/exports/whatever/resend-email"), ["POST"]);
        for path in
            ["", "/", "/v1", "/v1/caller/", "/v1//caller", "/V1/caller", "/v1/exports//resend-email", "/v1/exports"]
        {
            assert_eq!(methods_at(path), [] as [&str; 0], "{path}");
        }
    }

    #[test]
    fn greedy_segment_takes_one_or_more() {
        for (path, expected) in [("/a/b", true), ("/a/b/c", true), ("/a", false), ("/a/", false), ("/b/b", false)] {
            assert_eq!(fits("/a/{rest+}", path), expected, "{path}");
        }
    }
}
