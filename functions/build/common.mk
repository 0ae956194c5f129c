# What `sam build` runs for each function, through <architecture>/Makefile beside this file: template.yaml says so. Cargo
# compiles the workspace once; for each further function it only copies a file. SAM CLI's own method for Rust needs
# cargo-lambda, and builds each function by itself, with other features of the shared dependencies.
#
# The programs run on Amazon Linux 2023, whose glibc is 2.34: build on a Linux that is not newer than Debian 12 or Ubuntu
# 22.04, of either architecture.

PROFILE ?= release
ARCHITECTURE ?= x86_64
# Cargo's options that select packages. The default is the workspace's default members.
SELECTION ?=

# By Lambda's name: Rust's, and how a program's header says it (ELF's e_machine, little-endian).
cpu_x86_64 := x86_64
cpu_arm64 := aarch64
machine_x86_64 := 3e00
machine_arm64 := b700

cpu := $(cpu_$(ARCHITECTURE))
target := $(cpu)-unknown-linux-gnu
host := $(shell rustc -vV | sed -n 's/^host: //p')

ifeq ($(host),$(target))
built := target/$(PROFILE)
else
built := target/$(target)/$(PROFILE)
other := --target $(target)
CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER ?= x86_64-linux-gnu-gcc
CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER ?= aarch64-linux-gnu-gcc
linker_x86_64 := $(CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER)
linker_arm64 := $(CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER)
linker := $(linker_$(ARCHITECTURE))
export CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER
endif

build-%Function: toolchain
	cargo build --locked --profile $(PROFILE) --target-dir target $(other) $(SELECTION)
	cp "$(built)/$$(echo $* | sed 's/\([A-Z]\)/-\1/g; s/^-//' | tr A-Z a-z)" "$(ARTIFACTS_DIR)/bootstrap"
	@test "$$(od -An -tx1 -j18 -N2 "$(ARTIFACTS_DIR)/bootstrap" | tr -d ' ')" = "$(machine_$(ARCHITECTURE))" || \
	  { rm "$(ARTIFACTS_DIR)/bootstrap"; echo "$* is not built for $(ARCHITECTURE)" >&2; exit 1; }

.PHONY: toolchain
toolchain:
	@test -n "$(cpu)" || { echo "ARCHITECTURE is x86_64 or arm64, not $(ARCHITECTURE)" >&2; exit 1; }
ifdef other
	@test -d "$$(rustc --print target-libdir --target $(target))" || \
	  { echo "$(ARCHITECTURE) needs Rust's target: rustup target add $(target)" >&2; exit 1; }
	@command -v "$(linker)" >/dev/null || \
	  { echo "$(ARCHITECTURE) needs a linker, $(linker): on Debian and Ubuntu, install gcc-$(subst _,-,$(cpu))-linux-gnu" >&2; exit 1; }
endif
