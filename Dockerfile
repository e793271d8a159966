# groundwire in a small image: the program, the C library it is linked with, and trust roots. No shell, no package manager.
#
#   docker build --tag groundwire .
#   docker run --rm --publish 127.0.0.1:8080:8080 --env GROUNDWIRE_ANONYMOUS=true groundwire sandbox
#
# An image to publish takes three times as long to build, and then less of the processor (docs/performance.md):
#
#   docker build --tag groundwire --build-arg PROFILED=true .
#
# `.ci/image` builds and runs it where there is neither a daemon nor a registry.

FROM rust:1.95-bookworm AS build
WORKDIR /src
# Addresses that the program's start has to mend, in a form that takes less of its memory. glibc knows it since 2.36; both images have that.
ENV RUSTFLAGS=-Clink-arg=-Wl,-z,pack-relative-relocs

# The dependencies first, with an empty program in front of them: this layer is built again only when the manifest or the lock changes.
# What was compiled of the empty program is thrown away, because cargo compares times and a copied file may be older than it.
COPY Cargo.toml Cargo.lock ./
RUN mkdir src \
 && echo 'fn main() {}' > src/main.rs \
 && touch src/lib.rs \
 && cargo build --release --locked \
 && cargo clean --release --package groundwire \
 && rm -r src

COPY src src
COPY benches/load benches/load
COPY .ci/profiled .ci/
ARG PROFILED=false
# What a profiled build leaves behind is several gigabytes, which the layer need not keep.
RUN if [ "$PROFILED" = true ]; \
    then .ci/profiled target/release/groundwire && rm -rf target/profiled target/debug; \
    else cargo build --release --locked; fi

# `cc`: glibc, libgcc and the certificates of public authorities. `nonroot` is user 65532.
FROM gcr.io/distroless/cc-debian12:nonroot
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="groundwire" \
      org.opencontainers.image.description="A gateway that answers OpenAI clients from a company's own documents." \
      org.opencontainers.image.licenses="MIT OR Apache-2.0" \
      org.opencontainers.image.version="${VERSION}"
COPY LICENSE-MIT LICENSE-APACHE /licenses/
COPY --from=build /src/target/release/groundwire /groundwire

# By number, so that Kubernetes' `runAsNonRoot` can tell that it is not root.
USER 65532:65532
# A configuration mounted at /config/groundwire.toml and documents mounted at /documents are found from here.
WORKDIR /
# Loopback would reach nobody outside the container. The gateway therefore wants a key (`GROUNDWIRE_KEY` or `[[keys]]`),
# or to be told that it needs none (`GROUNDWIRE_ANONYMOUS=true`).
ENV GROUNDWIRE_LISTEN=0.0.0.0:8080
# 8080 is the gateway; 8081 are the sandbox's services, bound only by `sandbox`.
EXPOSE 8080 8081
# The gateway stops accepting after `timeouts.drain_delay` and lets open answers finish for `timeouts.shutdown`: 25 s by default.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s --retries=3 CMD ["/groundwire", "health"]
ENTRYPOINT ["/groundwire"]
CMD ["serve"]
