# The thin door for developers; meson does the work. `make help` lists the targets.
.PHONY: help deps build check test bench faults prove bare fmt docs install clean

help: ## what there is
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' Makefile

deps: ## install the packages for building and testing (needs root)
	. ./tools/setup.sh && need_packages $$TEST_PACKAGES

build: ## leaves build/subpay, and the tests
	. ./tools/setup.sh && build_into build all -Dtests=true

check: build ## the quick tier: rules, unit, contract, 1,000 simulated worlds; on every change
	meson test -C build --print-errorlogs

test: ## everything: ./test
	./test

bench: build ## the ratios, short, PostgreSQL with 100,000 and 1,000,000 payments, the services; written to bench/results
	/usr/bin/python3 bench/run.py
	/usr/bin/python3 bench/postgres.py
	/usr/bin/python3 bench/services.py

faults: build ## by hand, minutes: every crash point at three hits, 100,000 worlds, 1,000 SIGKILLs, the mutants
	SUBPAY_CRASH_HITS=3 ./test crash
	build/tests/sim/worlds --seeds 100000
	/usr/bin/python3 tests/faults/kills.py --kills 1000
	/usr/bin/python3 tests/sim/mutants.py

prove: build ## by hand: every interleaving up to the full bound
	build/subpay prove --bound 4

bare: ## both commands in a bare Debian 12 root (needs root and debootstrap)
	tools/bare-machine.sh

fmt: ## clang-format over our own sources
	clang-format -i $$(git ls-files '*.c' '*.h')

docs: build ## regenerate .env.example and docs/configuration.md
	build/subpay config --env-example >.env.example
	build/subpay config --markdown >docs/configuration.md

install: build ## into the prefix of the build folder
	meson install -C build

clean: ## forget the build
	rm -rf build build-asan build-tsan
