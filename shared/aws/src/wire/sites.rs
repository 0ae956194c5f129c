//! The functions of this crate, and which of them call AWS, as the source has them.

use std::fs;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};
use syn::{Attribute, Block, Expr, ExprMethodCall, ImplItemFn, Item, ItemFn, ItemImpl, ItemMod, Signature, Type};

/// A function that is no test's.
#[derive(Debug)]
pub(super) struct Function {
    file: String,
    lines: RangeInclusive<usize>,
    /// Its name, behind that of the type it belongs to: `ExportsTable::get`.
    pub name: String,
    /// The method of a port that it implements: `FindExport::find_export`.
    pub port: Option<String>,
    /// The operations that it calls: `GetItem`.
    pub operations: Vec<String>,
}

/// Methods that send a request, or give it to somebody who does. A method of this name with arguments is a channel's.
const SENDERS: [&str; 4] = ["orchestrate", "presigned", "send", "send_with"];

/// Every function under `src`, without those of tests.
pub(super) fn functions() -> Vec<Function> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut functions = Vec::new();
    for path in rust_files(&source) {
        let file = path.strip_prefix(&source).unwrap().to_str().unwrap().to_owned();
        let parsed = syn::parse_file(&fs::read_to_string(&path).unwrap()).unwrap();
        let mut scan = Scan { file, owner: None, port: None, functions: Vec::new() };
        scan.visit_file(&parsed);
        functions.append(&mut scan.functions);
    }
    functions
}

/// The innermost function that this line is in.
pub(super) fn at<'a>(functions: &'a [Function], file: &str, line: usize) -> Option<&'a Function> {
    let around = functions.iter().filter(|function| function.file == file && function.lines.contains(&line));
    around.min_by_key(|function| function.lines.end() - function.lines.start())
}

/// The functions of a module that return a step: the transitions that there are.
pub(super) fn steps(path: &Path) -> Vec<String> {
    let parsed = syn::parse_file(&fs::read_to_string(path).unwrap()).unwrap();
    let is_step = |item: &Item| match item {
        Item::Fn(function) if matches!(function.vis, syn::Visibility::Public(_)) => {
            let mut found = Named("Step", false);
            found.visit_return_type(&function.sig.output);
            found.1.then(|| function.sig.ident.to_string())
        }
        _ => None,
    };
    parsed.items.iter().filter_map(is_step).collect()
}

/// Whether a type of this name occurs.
struct Named(&'static str, bool);

impl Visit<'_> for Named {
    fn visit_ident(&mut self, ident: &syn::Ident) {
        self.1 |= ident == self.0;
    }
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let is_test = |path: &Path| matches!(path.file_stem().and_then(|stem| stem.to_str()), Some("tests" | "wire"));
    entries
        .filter(|path| !is_test(path))
        .flat_map(|path| match path.extension() {
            _ if path.is_dir() => rust_files(&path),
            Some(extension) if extension == "rs" => vec![path],
            _ => Vec::new(),
        })
        .collect()
}

struct Scan {
    file: String,
    owner: Option<String>,
    port: Option<String>,
    functions: Vec<Function>,
}

impl Scan {
    fn add(&mut self, signature: &Signature, block: &Block) {
        let name = signature.ident.to_string();
        let mut calls = Calls(Vec::new());
        calls.visit_block(block);
        self.functions.push(Function {
            file: self.file.clone(),
            lines: signature.fn_token.span.start().line..=block.brace_token.span.close().end().line,
            port: self.port.as_ref().map(|port| format!("{port}::{name}")),
            name: self.owner.as_ref().map_or_else(|| name.clone(), |owner| format!("{owner}::{name}")),
            operations: calls.0,
        });
    }
}

fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.parse_args::<syn::Ident>().is_ok_and(|condition| condition == "test")
    })
}

impl<'ast> Visit<'ast> for Scan {
    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        if !is_test(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_impl(&mut self, item: &'ast ItemImpl) {
        let last = |path: &syn::Path| path.segments.last().map(|segment| segment.ident.to_string());
        self.owner = match &*item.self_ty {
            Type::Path(path) => last(&path.path),
            _ => None,
        };
        self.port = item.trait_.as_ref().and_then(|(port, _)| last(port));
        visit::visit_item_impl(self, item);
        (self.owner, self.port) = (None, None);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast ImplItemFn) {
        if !is_test(&function.attrs) {
            self.add(&function.sig, &function.block);
        }
    }

    fn visit_item_fn(&mut self, function: &'ast ItemFn) {
        if !is_test(&function.attrs) {
            self.add(&function.sig, &function.block);
        }
    }
}

/// The operations that a block calls.
struct Calls(Vec<String>);

impl<'ast> Visit<'ast> for Calls {
    fn visit_expr_method_call(&mut self, call: &'ast ExprMethodCall) {
        let name = call.method.to_string();
        let sends = SENDERS.contains(&&*name) && (name != "send" || call.args.is_empty());
        if sends || name.starts_with("wait_until_") {
            self.0.push(operation(&call.receiver));
        }
        visit::visit_expr_method_call(self, call);
    }
}

/// The operation that a chain begins with: `self.client.get_item()…` is `GetItem`.
fn operation(chain: &Expr) -> String {
    match chain {
        Expr::MethodCall(call) => match &*call.receiver {
            Expr::MethodCall(_) => operation(&call.receiver),
            _ => call.method.to_string().split('_').map(capitalized).collect(),
        },
        _ => "(unknown)".to_owned(),
    }
}

fn capitalized(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect()
}
