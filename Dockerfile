FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN cargo build --release --locked --package db-locks

FROM debian:bookworm-slim
RUN useradd --system --create-home --home-dir /var/lib/db-locks db-locks
COPY --from=build /src/target/release/db-locks /usr/local/bin/db-locks
USER db-locks
WORKDIR /var/lib/db-locks
ENV DB_LOCKS_LISTEN=0.0.0.0:8080
EXPOSE 8080
ENTRYPOINT ["db-locks"]
