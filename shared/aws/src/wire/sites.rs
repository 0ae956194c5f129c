//! Finds the functions of this crate, and the AWS calls in them, by parsing the source.

use std::fs;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};
use syn::{
    Attribute, Block, Expr, ExprMethodCall, ExprPath, ImplItemFn, Item, ItemFn, ItemImpl, ItemMod, Signature, Type,
};

/// A function or method of the crate.
#[derive(Debug)]
pub(super) struct Function {
    file: PathBuf,
    lines: RangeInclusive<usize>,
    /// Its name, with its type: `ExportsTable::get`.
    pub name: String,
    /// The port method that it implements, such as `ExportStore::find_export`.
    pub port: Option<String>,
    /// The operations that it calls, such as `GetItem`.
    pub operations: Vec<String>,
}

/// SDK methods that send a request. A `send` with arguments is a channel's.
const SENDERS: [&str; 4] = ["invoke", "orchestrate", "send", "send_with"];

/// All functions of the crate except tests.
pub(super) fn functions() -> Vec<Function> {
    let mut scan = Scan::default();
    scan.read(Path::new("lib.rs"));
    scan.functions
}

/// The innermost function that contains this line.
pub(super) fn innermost_at<'a>(functions: &'a [Function], file: &str, line: usize) -> Option<&'a Function> {
    let around = functions.iter().filter(|function| function.file == Path::new(file) && function.lines.contains(&line));
    around.min_by_key(|function| function.lines.end() - function.lines.start())
}

/// The public functions of a module that return a step.
pub(super) fn steps(path: &Path) -> Vec<String> {
    let parsed = syn::parse_file(&fs::read_to_string(path).unwrap()).unwrap();
    let is_step = |item: &Item| match item {
        Item::Fn(function) if matches!(function.vis, syn::Visibility::Public(_)) => {
            let mut found = ContainsIdent("Step", false);
            found.visit_return_type(&function.sig.output);
            found.1.then(|| function.sig.ident.to_string())
        }
        _ => None,
    };
    parsed.items.iter().filter_map(is_step).collect()
}

/// Whether an identifier occurs in a type.
struct ContainsIdent(&'static str, bool);

impl Visit<'_> for ContainsIdent {
    fn visit_ident(&mut self, ident: &syn::Ident) {
        self.1 |= ident == self.0;
    }
}

/// The first name in a call's arguments, which is that of the operation in `invoke(self.presigned(&HEAD_OBJECT, key))`.
#[derive(Default)]
struct FirstName(Option<String>);

impl Visit<'_> for FirstName {
    fn visit_expr_path(&mut self, name: &ExprPath) {
        if let Some(name) = name.path.get_ident().filter(|name| *name != "self") {
            self.0.get_or_insert_with(|| name.to_string());
        }
    }
}

/// Follows the crate's module declarations.
#[derive(Default)]
struct Scan {
    file: PathBuf,
    owner: Option<String>,
    port: Option<String>,
    functions: Vec<Function>,
}

impl Scan {
    fn read(&mut self, file: &Path) {
        let source = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(file)).unwrap();
        let parsed = syn::parse_file(&source).unwrap();
        let mut scan = Self { file: file.to_owned(), ..Self::default() };
        scan.visit_file(&parsed);
        self.functions.append(&mut scan.functions);
    }

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

/// Whether the item is for tests only: `#[cfg(test)]` or `#[cfg(any(test, …))]`.
fn is_test(attributes: &[Attribute]) -> bool {
    let names_test = |attribute: &Attribute| {
        attribute.path().is_ident("cfg")
            && attribute.meta.require_list().is_ok_and(|list| {
                list.tokens.to_string().split(|c: char| !c.is_alphanumeric()).any(|word| word == "test")
            })
    };
    attributes.iter().any(names_test)
}

impl<'ast> Visit<'ast> for Scan {
    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        if is_test(&item.attrs) {
            return;
        }
        if item.content.is_some() {
            return visit::visit_item_mod(self, item);
        }
        let folder = match self.file.file_stem().and_then(|stem| stem.to_str()) {
            Some("lib" | "mod") => self.file.with_file_name(""),
            _ => self.file.with_extension(""),
        };
        let file = folder.join(format!("{}.rs", item.ident));
        let is_file = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(&file).exists();
        self.read(&if is_file { file } else { folder.join(item.ident.to_string()).join("mod.rs") });
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

/// The operations that a function calls.
struct Calls(Vec<String>);

impl<'ast> Visit<'ast> for Calls {
    fn visit_expr_method_call(&mut self, call: &'ast ExprMethodCall) {
        let name = call.method.to_string();
        let sends = SENDERS.contains(&&*name) && (name != "send" || call.args.is_empty());
        if sends || name.starts_with("wait_until_") {
            self.0.push(operation(call).unwrap_or_else(|| "(unknown)".to_owned()));
        }
        visit::visit_expr_method_call(self, call);
    }
}

/// The operation that a call sends: the one that its method chain starts with, or that its arguments name.
fn operation(call: &ExprMethodCall) -> Option<String> {
    let named = || {
        let mut name = FirstName::default();
        call.args.iter().for_each(|argument| name.visit_expr(argument));
        name.0
    };
    Some(first_method(&call.receiver).or_else(named)?.to_lowercase().split('_').map(capitalized).collect())
}

/// The method that a chain starts with: `get_item` in `self.client.get_item().table_name(…)`.
fn first_method(chain: &Expr) -> Option<String> {
    match chain {
        Expr::MethodCall(call) => match &*call.receiver {
            // `self.client()` is the client itself.
            Expr::MethodCall(receiver) if receiver.method != "client" => first_method(&call.receiver),
            _ => Some(call.method.to_string()),
        },
        _ => None,
    }
}

fn capitalized(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect()
}
