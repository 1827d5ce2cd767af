FROM rust:1.95-bookworm AS build
WORKDIR /src
# The dependencies are a layer of their own: it is built again only when a manifest or the lock file changes. Cargo wants
# a source file for every target that a manifest declares.
COPY .cargo .cargo
COPY Cargo.toml Cargo.lock ./
COPY api/Cargo.toml api/
COPY bench/Cargo.toml bench/
COPY client/Cargo.toml client/
COPY entity/Cargo.toml entity/
COPY migration/Cargo.toml migration/
COPY service/Cargo.toml service/
COPY testing/Cargo.toml testing/
RUN mkdir -p src api/src bench/src client/src entity/src migration/src service/src service/benches testing/src \
    && touch api/src/lib.rs client/src/lib.rs entity/src/lib.rs migration/src/lib.rs service/src/lib.rs testing/src/lib.rs \
    && for main in src bench/src service/benches; do echo 'fn main() {}' > "$main/main.rs"; done \
    && mv service/benches/main.rs service/benches/decide.rs \
    && cargo build --release --locked --package db-locks
COPY . .
# Cargo compares times, and the files that were copied are older than what was built without them.
RUN find . -name '*.rs' -not -path './target/*' -exec touch {} + \
    && cargo build --release --locked --package db-locks

FROM debian:bookworm-slim
# A number, so that an orchestrator can see that it is not root. A new volume takes the folder's owner.
RUN install -d -m 0700 -o 10001 -g 10001 /var/lib/db-locks
COPY --from=build /src/target/release/db-locks /usr/local/bin/db-locks
USER 10001:10001
WORKDIR /var/lib/db-locks
VOLUME /var/lib/db-locks
ENV DATABASE_URL="sqlite:///var/lib/db-locks/db-locks.sqlite?mode=rwc" \
    DB_LOCKS_LISTEN="0.0.0.0:8080"
EXPOSE 8080
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s --retries=3 CMD ["db-locks", "health"]
ENTRYPOINT ["db-locks"]
