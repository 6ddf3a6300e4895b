# Every recipe is one call of cargo: nothing here that cannot be typed.

# The authorization server, the EPJ, the app and the FHIR server on loopback, without the walk-through
dev:
    cargo run -- demo --no-walk

# Format and lints
check:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets --locked -- -D warnings

# Everything, as CI runs it; `just test --filter refresh` for a part
test *options:
    cargo xtask test {{options}}

# How fast it is, beside what it cannot be faster than; `just bench --quick --only introspect-seen` for one question
bench *options:
    cargo xtask bench {{options}}

# The documentation of the code
doc:
    cargo doc --workspace --no-deps --document-private-items --locked

# The server: `just run serve --config config/dev.toml`
run *arguments:
    cargo run -- {{arguments}}

# One launch, walked through on the terminal
demo:
    cargo run -- demo --once --fresh

# What the program is made of, as CycloneDX: target/helsebro.cdx.json
sbom *options:
    cargo xtask sbom {{options}}

# Licences, bans, sources and advisories (needs cargo-deny)
deny:
    cargo deny --locked check

# One fuzz target of fuzz/ (needs cargo-fuzz and a nightly compiler)
fuzz target *options:
    cargo +nightly fuzz run {{target}} {{options}}
