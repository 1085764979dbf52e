# make demo, make test, make lab and make bench do all their set-up on a Debian or Ubuntu machine that has a Rust toolchain.

CARGO ?= cargo
SUDO := $(if $(filter-out 0,$(shell id -u)),sudo)

# What cargo build needs, what the stand-in for ovs-vswitchd needs besides, and what the tests compare with.
BUILD_PACKAGES := clang libelf-dev libpcap-dev zlib1g-dev pkg-config make gcc autoconf automake autopoint flex bison gawk gettext
STANDIN_PACKAGES := systemtap-sdt-dev
TEST_PACKAGES := binutils jq man-db mandoc tshark util-linux
# Whom the benchmarks compare with, and the headers that bcc compiles against.
PEER_PACKAGES := bpftrace linux-perf lttng-tools liblttng-ust-dev openvswitch-test python3-bpfcc python3-scapy \
	python3-psutil linux-headers-amd64

TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)
RELEASE := $(TARGET_DIR)/$(shell uname -m)-unknown-linux-gnu/release

PREFIX ?= /usr/local

.PHONY: all build demo test lab bench check install clean
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

lab: build
	fixtures/lab/run $(RELEASE)

# BENCH_QUICK=1 does it all once. A peer that cannot be installed or run is skipped, and named.
bench: build
	$(call install-packages,$(STANDIN_PACKAGES) python3 util-linux)
	@for package in $(PEER_PACKAGES); do \
		dpkg-query -W -f '$${db:Status-Status}' $$package 2>/dev/null | grep -qx installed || \
		$(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $$package || :; \
	done
	$(SUDO) env BENCH_QUICK=$(BENCH_QUICK) fixtures/bench/run $(RELEASE) $(abspath $(TARGET_DIR))/bench $(BENCH)

check:
	$(call install-packages,$(BUILD_PACKAGES))
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps

TOOLS := upcall-monitor upcall-cost bridge-loop dpif-ops usdt-probes

# Not built here: root, whom it mostly takes, has no Rust toolchain as a rule.
install:
	@test -x $(RELEASE)/upcall-monitor || { echo "nothing to install yet: run make first" >&2; exit 1; }
	@for tool in $(TOOLS); do \
		install -D -m 0755 -t $(DESTDIR)$(PREFIX)/bin $(RELEASE)/$$tool && \
		$(RELEASE)/$$tool --generate man | install -D -m 0644 /dev/stdin $(DESTDIR)$(PREFIX)/share/man/man8/$$tool.8 && \
		$(RELEASE)/$$tool --generate bash | install -D -m 0644 /dev/stdin $(DESTDIR)$(PREFIX)/share/bash-completion/completions/$$tool && \
		$(RELEASE)/$$tool --generate zsh | install -D -m 0644 /dev/stdin $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_$$tool && \
		$(RELEASE)/$$tool --generate fish | install -D -m 0644 /dev/stdin $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/$$tool.fish \
		|| exit 1; \
	done

clean:
	$(CARGO) clean
