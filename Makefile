# make demo   three nodes on this machine answer a question together
# make test   release build, unit and end-to-end tests
# make build  only the program: build/release/exo
# make install  build, and put it under PREFIX (/usr/local; DESTDIR before it); as root where needed
# make dist   packages for Debian, container file, list of parts, checksums: build/dist
# make docs   docs/ as a site: build/site
# make dev    the program and all tests, quick to compile: build/dev (CONTRIBUTING.md)
# make lint   clang-tidy and lone headers of what differs from main; ALL=1: of everything
# make web    the dashboard's page, from web/ into web/dist (npm)
# make bench-cluster  clusters beside one device, and what the planner predicted (root; ROWS="three requests")
# See README.md; tools/setup installs missing Debian packages first (packages.txt).

SHELL := /bin/bash
CXX_COMPILER := clang++-19
CONFIGURE = cmake -G Ninja -DCMAKE_CXX_COMPILER=$(CXX_COMPILER)
export CCACHE_BASEDIR := $(CURDIR)
export CCACHE_NOHASHDIR := 1
export CCACHE_DEPEND := 1
export CCACHE_SLOPPINESS := pch_defines,time_macros
export NINJA_STATUS := [%f/%t %es]$(subst ,, )

PREFIX ?= /usr/local

.PHONY: demo test web test-more test-whole test-clients test-slow-nodes bench-cluster build install dist docs dev lint clean

demo: build
	@build/release/exo demo

build:
	@tools/setup
	@[ -f build/release/build.ninja ] || { echo "configuring"; \
	  $(CONFIGURE) -S . -B build/release -DEXO_TESTS=OFF >/dev/null; }
	@cmake --build build/release --target exo

# DESTDIR, as packagers use it, is read by cmake itself.
install: build
	@cmake --install build/release --prefix "$(PREFIX)" --strip

dist:
	@tools/dist

docs:
	@tools/site

dev:
	@tools/setup test
	@[ -f build/dev/build.ninja ] || cmake --preset dev >/dev/null
	@ln -sf build/dev/compile_commands.json compile_commands.json
	@cmake --build build/dev

lint:
	@tools/setup test more
	@[ -f build/dev/build.ninja ] || cmake --preset dev >/dev/null
	@cmake --build build/dev --target exo_wire
	@tools/lint $(if $(ALL),--all)

test:
	@tools/test

web:
	@tools/setup more
	@tools/web

test-more:
	@tools/test-more

# As test-more, with the checks that are shorter in CI in their whole length (tools/lib/checks.sh).
test-whole:
	@EXO_WHOLE=1 tools/test-more

# The official npm clients, frameworks and agents against a real node (tests/clients).
test-clients: build
	@/usr/bin/python3 tests/clients/clients_test.py --exo build/release/exo
	@/usr/bin/python3 tests/clients/agents_test.py --exo build/release/exo

# 20 prompts of 2,000 tokens over 100, 50 and 25 % of a core: half an hour, as root (cgroups).
test-slow-nodes: build
	@EXO_SHARED="$${EXO_SHARED:-$(CURDIR)/../shared}" EXO_SLOW_PROMPTS=20 /usr/bin/python3 tests/e2e/slow_nodes_test.py --exo build/release/exo

# The planner's predictions beside measurement, as root (cgroups): some minutes.
bench-cluster: build
	@EXO_SHARED="$${EXO_SHARED:-$(CURDIR)/../shared}" /usr/bin/python3 bench/cluster.py $(ROWS)

clean:
	rm -rf build
