"""Finds what can be changed in the product: literals of limits, durations, settings and wire parameters, and the calls
that build requests and clients in shared/aws."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import tree_sitter_rust
from tree_sitter import Language, Node, Parser

from runner.results import ROOT

# Columns and words of the export types are neither limits nor parameters.
NOT_READ = re.compile(r"/(tests|testing|reference|server|wire|inspection|invariants|transition|export_type)\b")
ADAPTERS, MAIN = "shared/aws/src/", "main.rs"
# A call that sends or ends what the calls before it have built.
ENDS = {"build", "build_https", "send"}
STRUCTURE = {*ENDS, "client", "customize", "into_builder", "into_paginator", "items", "map_err"}
# Calls without arguments that set something have such a name. Others start a request: `get_item()`.
SWITCH = re.compile(r"(disable|no|with)_")
LONGEST = 50
NUMBER = re.compile(r"(0x[\da-f_]+|0b[01_]+|[\d_]+(?:\.\d+)?)(.*)", re.IGNORECASE)

_parser = Parser(Language(tree_sitter_rust.language()))


@dataclass(frozen=True)
class Change:
    """One change of one file. Its name has no line number, so that it stays the same when other code changes."""

    file: str
    line: int
    start: int
    end: int
    new: bytes
    name: str

    @property
    def crate(self) -> str:
        folder, name = self.file.split("/")[:2]
        return f"exports-{name}" if folder == "shared" else name

    def apply(self, source: bytes) -> bytes:
        return source[: self.start] + self.new + source[self.end :]


def changes(root: Path = ROOT) -> list[Change]:
    """All changes, in the order of the files and their lines."""
    found: list[Change] = []
    for path in sorted([*root.glob("functions/*/src/**/*.rs"), *root.glob("shared/*/src/**/*.rs")]):
        file = path.relative_to(root).as_posix()
        if not NOT_READ.search(file):
            found += _of_file(file, path.read_bytes())
    return found


def _of_file(file: str, source: bytes) -> Iterator[Change]:
    names: Counter[str] = Counter()
    for node, owner in _product_nodes(_parser.parse(source).root_node):
        for start, new, shown in _changed(file, node):
            name = f"{file} {owner}: {shown}"
            names[name] += 1
            if names[name] > 1:
                name += f" ({names[name]})"
            yield Change(file, node.end_point[0] + 1, start, node.end_byte, new, name)


def _product_nodes(node: Node, owner: str = "") -> Iterator[tuple[Node, str]]:
    """All nodes outside tests and attributes, each with the name of the item that it is in."""
    is_test = False
    for child in node.named_children:
        if child.type == "attribute_item":
            is_test |= b"test" in _text(child)
        elif "comment" not in child.type:
            if not is_test:
                named = child.child_by_field_name("name") if child.type.endswith("_item") else None
                named = child.child_by_field_name("type") if child.type == "impl_item" else named
                inside = "::".join(filter(None, (owner, named and _text(named).decode())))
                yield child, inside
                yield from _product_nodes(child, inside)
            is_test = False


def _changed(file: str, node: Node) -> Iterator[tuple[int, bytes, str]]:
    """The changes of a node: from where, to what, and how the change is shown."""
    if (new := _other_literal(node)) is not None and _is_chosen(file, node):
        yield node.start_byte, new, f"{_short(_text(node))} → {_short(new)}"
    elif file.startswith(ADAPTERS) and (name := _builder_call(node)):
        # From the end of what the method is called on.
        receiver = node.child_by_field_name("function").child_by_field_name("value")  # type: ignore[union-attr]
        yield receiver.end_byte, b"", f"without .{name}(…)"  # type: ignore[union-attr]
    elif file.startswith(ADAPTERS) and _is_assignment(node):
        yield node.start_byte, b"", f"without {_short(_text(node))}"


def _other_literal(node: Node) -> bytes | None:
    text = _text(node)
    match node.type:
        case "boolean_literal":
            return b"false" if text == b"true" else b"true"
        case "integer_literal" | "float_literal":
            digits, suffix = NUMBER.fullmatch(text.decode()).groups()  # type: ignore[union-attr]
            number = digits.replace("_", "")
            return f"{float(number) + 1 if '.' in number else int(number, 0) + 1}{suffix}".encode()
        case "string_literal":
            return text[:-1] + b'x"'
        case "char_literal":
            return b"'x'"
    return None


def _is_chosen(file: str, node: Node) -> bool:
    """Whether a literal is a limit, a duration, a setting or a parameter of a request."""
    if file.endswith(MAIN):
        return True
    while outer := node.parent:
        if outer.type in ("const_item", "static_item"):
            return node == outer.child_by_field_name("value")
        function = outer.child_by_field_name("function") if outer.type == "call_expression" else None
        if function and _text(function).startswith(b"Duration::from_"):
            return True
        if file.startswith(ADAPTERS) and _builder_call(outer):
            return True
        if outer.type in ("block", "closure_expression"):
            # Constants are also computed in blocks.
            return _is_chosen("", outer)
        node = outer
    return False


def _builder_call(node: Node) -> str | None:
    """The method that a node calls to set something of a request, a client or a value of the SDK."""
    if not (name := _method(node)) or name in STRUCTURE:
        return None
    if not node.child_by_field_name("arguments").named_children and not SWITCH.match(name):  # type: ignore[union-attr]
        return None
    later: Node | None = node
    while later := _next_call(later):
        if _method(later) in ENDS:
            return name
    # The call that ends the chain is in another expression.
    function = _text(node).split(b"(", 1)[0]
    return name if function.endswith((b"::builder", b"Builder::new", b"Builder::from")) else None


def _next_call(node: Node | None) -> Node | None:
    """The method call on this expression: `b` for `a()` in `a().b()`."""
    outer = node.parent if node else None
    call = outer.parent if outer and outer.type == "field_expression" else None
    return call if call and call.type == "call_expression" else None


def _method(node: Node) -> str | None:
    function = node.child_by_field_name("function") if node.type == "call_expression" else None
    if not function or function.type != "field_expression":
        return None
    return _text(function.child_by_field_name("field")).decode()  # type: ignore[arg-type]


def _is_assignment(node: Node) -> bool:
    """`settings.expires_in = …;` or `config.set_endpoint_url(…);`"""
    if node.type != "expression_statement":
        return False
    (inner,) = node.named_children[:1]
    if _text(inner).startswith(b"self."):
        return False
    left = inner.child_by_field_name("left") if inner.type == "assignment_expression" else None
    return bool(left and left.type == "field_expression") or (_method(inner) or "").startswith("set_")


def _text(node: Node) -> bytes:
    return node.text or b""


def _short(text: bytes) -> str:
    """On one line, with the end of a long text, which is what changes."""
    line = " ".join(text.decode().split())
    return line if len(line) <= LONGEST else f"…{line[-LONGEST:]}"
