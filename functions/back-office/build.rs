//! Embeds the files of assets/, plain and compressed. Their URLs contain a version: the hash of all files.
//!
//! The modules are joined into one script, because on a slow line each request costs more than its bytes. A bundler would
//! add hundreds of crates to the build for this. Two rules make joining simple, and each violation fails the build or the
//! page: an import is one line of names without `as`, and a name at the top level is unique across modules.
#![expect(clippy::disallowed_macros, reason = "build scripts communicate with cargo through standard output")]

use std::collections::BTreeSet;
use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};

/// The page. It is not an asset: its URL has no version.
const INDEX: &str = "index.html";

/// The module that the page loads, which imports the others.
const ENTRY: &str = "app.js";

/// Replaced by the version in the page.
const PLACEHOLDER: &str = "{{version}}";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=assets");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);

    let mut names = BTreeSet::new();
    for entry in fs::read_dir("assets")? {
        let name = entry?.file_name();
        names.insert(name.into_string().map_err(|name| format!("assets/{} is not UTF-8", name.display()))?);
    }
    let (mut script, mut joined) = (String::new(), Vec::new());
    join(ENTRY, &mut script, &mut joined)?;
    for module in names.iter().filter(|name| name.ends_with(".js")) {
        if !joined.contains(module) {
            return Err(format!("assets/{module} is not imported").into());
        }
    }
    names.retain(|name| name != INDEX && (name == ENTRY || !joined.contains(name)));

    let mut hash = Sha256::new();
    let mut rust = String::from("/// Every file except the page.\npub static ASSETS: &[Asset] = &[\n");
    for name in &names {
        let content =
            if name == ENTRY { script.clone().into_bytes() } else { fs::read(Path::new("assets").join(name))? };
        for part in [name.as_bytes(), &content] {
            hash.update(part.len().to_le_bytes());
            hash.update(part);
        }
        writeln!(rust, "    {},", embed(&out, name, &content)?)?;
    }
    let version: String = hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();

    let index = fs::read_to_string(Path::new("assets").join(INDEX))?.replace(PLACEHOLDER, &version);
    writeln!(rust, "];\n\n/// The page.\npub static INDEX: Asset = {};\n", embed(&out, INDEX, index.as_bytes())?)?;
    writeln!(rust, "/// The hash of all assets, which is part of their URLs.\npub const VERSION: &str = {version:?};")?;
    fs::write(out.join("embedded.rs"), rust)?;
    Ok(())
}

/// Appends a module to `script`, after those that it imports. `joined` has the names of the modules so far.
fn join(module: &str, script: &mut String, joined: &mut Vec<String>) -> Result<(), Box<dyn Error>> {
    joined.push(module.to_owned());
    let source = fs::read_to_string(Path::new("assets").join(module))?;
    let mut own = String::new();
    for line in source.lines() {
        if let Some(import) = line.strip_prefix("import ") {
            let imported = import.strip_suffix("\";").and_then(|import| import.split_once("} from \"./"));
            match imported {
                Some((names, imported)) if !names.contains(" as ") => {
                    if !joined.iter().any(|name| name == imported) {
                        join(imported, script, joined)?;
                    }
                }
                _ => return Err(format!("assets/{module}: build.rs cannot join {line:?}").into()),
            }
        } else {
            writeln!(own, "{}", line.strip_prefix("export ").unwrap_or(line))?;
        }
    }
    script.push_str(&own);
    Ok(())
}

/// Writes a file and its compressed form to `out`, and returns the `Asset` expression that includes both.
fn embed(out: &Path, name: &str, content: &[u8]) -> Result<String, Box<dyn Error>> {
    fs::write(out.join(name), content)?;
    let compressed = format!("{name}.gz");
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(content)?;
    fs::write(out.join(&compressed), encoder.finish()?)?;
    let extension = Path::new(name).extension().and_then(|extension| extension.to_str());
    let media_type = match extension {
        Some("html") => "Html",
        Some("css") => "Css",
        Some("js") => "JavaScript",
        Some("svg") => "Svg",
        _ => return Err(format!("assets/{name}: build.rs has no media type for this extension").into()),
    };
    let include = |file: &str| format!("include_bytes!(concat!(env!(\"OUT_DIR\"), \"/{file}\"))");
    Ok(format!(
        "Asset {{ name: {name:?}, media_type: MediaType::{media_type}, plain: {}, gzip: {} }}",
        include(name),
        include(&compressed)
    ))
}
