.PHONY: help setup demo build test bench fuzz lint doc deny advisories sources sbom share deb install uninstall

help:
	@echo "make demo     sets up, builds, and shows a push become an image (KEEP=1 leaves it running)"
	@echo "make test     sets up, and runs every test (ENGINE_26=no leaves out those on the second engine,"
	@echo "              ENGINES=all adds those on the newest engines)"
	@echo "make bench    sets up, and measures"
	@echo "make fuzz     gives the parsers of outside bytes random ones (TIME=60 seconds each, TARGETS=\"range pem\")"
	@echo "make setup    installs missing packages, and starts an engine if none answers"
	@echo "make build    builds the release binaries, target/release/image-factory and launcher"
	@echo "make lint     checks formatting, and runs clippy"
	@echo "make doc      writes the documentation of the code, target/doc"
	@echo "make deny     checks the licences and the origin of the libraries, and that none is banned (deny.toml)"
	@echo "make advisories  looks the libraries up in RustSec's database of vulnerabilities, which it fetches from GitHub"
	@echo "make sources  makes an archive of our sources and those of all libraries, which builds without a network"
	@echo "make sbom     writes what an image of the daemon (IMAGE=image-factory) is made of, target/sbom.spdx.json"
	@echo "make deb      makes a Debian package, target/debian"
	@echo "make install  installs the binary into PREFIX (/usr/local), and the service; make uninstall removes them"
	@echo "              (ALIASES=conveyor puts it in the place of conveyor, too)"

setup:
	@scripts/setup

demo: setup build
	@scripts/demo

build:
	cargo build --release

# ENGINE_26=no leaves out the tests on the second engine, for a machine where it cannot be had. ENGINES=all adds those on
# the engines of scripts/engine-new.
test:
	@scripts/setup --tests
	cargo nextest run $(if $(filter no,$(ENGINE_26)),-E 'not test(/\bdocker_26::/)')
	$(if $(filter all,$(ENGINES)),cargo nextest run --run-ignored only --no-fail-fast \
	  -E 'test(/\b(docker_(new|containerd|min_api)|podman|podman_next)::/)')

bench: setup
	cargo bench --bench main
	cargo bench -p launcher --bench launch

fuzz:
	@scripts/fuzz

lint:
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings

doc:
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps

deny:
	@scripts/deny bans licenses sources

advisories:
	@scripts/deny advisories

sources:
	@scripts/sources

IMAGE ?= image-factory
SBOM ?= target/sbom.spdx.json

sbom:
	@mkdir -p $(dir $(SBOM))
	@scripts/sbom $(IMAGE) >$(SBOM)

PREFIX ?= /usr/local
BINARY ?= target/release/image-factory
SHARE ?= target/release/share
# Names of replaced programs under which make install puts a link to the binary.
ALIASES ?=

# The man pages and the completions, which the binary writes.
share: build
	rm -rf $(SHARE)
	mkdir -p $(SHARE)/man
	$(BINARY) man $(SHARE)/man
	gzip -9n $(SHARE)/man/*.1
	$(BINARY) completions bash >$(SHARE)/image-factory.bash
	$(BINARY) completions fish >$(SHARE)/image-factory.fish
	$(BINARY) completions zsh >$(SHARE)/_image-factory

deb: share
	@command -v cargo-deb >/dev/null || cargo install cargo-deb --locked
	cargo deb --no-build

install: share
	install -D -m 755 $(BINARY) $(DESTDIR)$(PREFIX)/bin/image-factory
	install -D -m 755 $(dir $(BINARY))launcher $(DESTDIR)$(PREFIX)/bin/launcher
	for alias in $(ALIASES); do ln -sfn image-factory $(DESTDIR)$(PREFIX)/bin/$$alias; done
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/man/man1 $(SHARE)/man/*.1.gz
	install -D -m 644 $(SHARE)/image-factory.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/image-factory
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d $(SHARE)/image-factory.fish
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/zsh/site-functions $(SHARE)/_image-factory
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/doc/image-factory LICENSE THIRD-PARTY-NOTICES.txt Cargo.lock
	[ -e $(DESTDIR)/etc/image-factory/known_hosts ] || install -D -m 644 etc/known_hosts $(DESTDIR)/etc/image-factory/known_hosts
	install -D -m 644 systemd/image-factory.sysusers $(DESTDIR)/etc/sysusers.d/image-factory.conf
	install -D -m 644 systemd/image-factory.tmpfile $(DESTDIR)/etc/tmpfiles.d/image-factory.conf
	install -d $(DESTDIR)/etc/systemd/system
	sed 's,/usr/bin/,$(PREFIX)/bin/,' systemd/image-factory.service >$(DESTDIR)/etc/systemd/system/image-factory.service
	@echo "then: systemd-sysusers && systemd-tmpfiles --create && systemctl daemon-reload && systemctl enable --now image-factory"

uninstall:
	[ -n "$(DESTDIR)" ] || [ ! -d /run/systemd/system ] || systemctl disable --now image-factory
	rm -f $(DESTDIR)$(PREFIX)/share/man/man1/image-factory*.1.gz $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_image-factory
	rm -f $(DESTDIR)$(PREFIX)/share/bash-completion/completions/image-factory
	rm -f $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/image-factory.fish
	rm -rf $(DESTDIR)$(PREFIX)/share/doc/image-factory
	find $(DESTDIR)$(PREFIX)/bin -maxdepth 1 -type l -lname image-factory -delete
	rm -f $(DESTDIR)$(PREFIX)/bin/image-factory $(DESTDIR)$(PREFIX)/bin/launcher $(DESTDIR)/etc/systemd/system/image-factory.service
	rm -f $(DESTDIR)/etc/sysusers.d/image-factory.conf $(DESTDIR)/etc/tmpfiles.d/image-factory.conf
	@echo "left: the settings in /etc/image-factory, the data in /var/lib/image-factory, the user image-factory"
