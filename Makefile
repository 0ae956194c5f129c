# What `sam build` runs for each function: template.yaml says so. Cargo compiles the workspace once; for every function
# after the first there is nothing left to do but to copy.
#
# The programs run on Amazon Linux 2023, whose glibc is 2.34: build on a Linux for x86_64 that is not newer than Debian 12
# or Ubuntu 22.04.

PROFILE ?= release

build-%Function:
	cargo build --locked --profile $(PROFILE) --target-dir target
	cp "target/$(PROFILE)/$$(echo $* | sed 's/\([A-Z]\)/-\1/g; s/^-//' | tr A-Z a-z)" "$(ARTIFACTS_DIR)/bootstrap"
