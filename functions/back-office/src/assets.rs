//! The page's files, embedded at build: the function reads nothing and calls nobody.

/// A file of the page.
#[derive(Debug)]
pub struct Asset {
    /// The last part of its address.
    pub name: &'static str,
    /// What it is.
    pub media_type: MediaType,
    /// Its bytes.
    pub plain: &'static [u8],
    /// Its bytes, compressed: neither Lambda nor an HTTP API does that on the way.
    pub gzip: &'static [u8],
}

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediaType {
    /// A page.
    Html,
    /// A style sheet.
    Css,
    /// An ES module.
    JavaScript,
    /// A picture.
    Svg,
}

impl MediaType {
    /// As a `Content-Type`.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Html => "text/html; charset=utf-8",
            Self::Css => "text/css; charset=utf-8",
            Self::JavaScript => "text/javascript; charset=utf-8",
            Self::Svg => "image/svg+xml",
        }
    }
}

// Made by build.rs: INDEX, ASSETS and VERSION, which is the hash of all of ASSETS.
include!(concat!(env!("OUT_DIR"), "/embedded.rs"));

/// The asset at `path` below the page's address. Its address has the version in it: content never changes under one.
#[must_use]
pub fn at(path: &str) -> Option<&'static Asset> {
    let name = path.strip_prefix("assets/")?.strip_prefix(VERSION)?.strip_prefix('/')?;
    ASSETS.iter().find(|asset| asset.name == name)
}
