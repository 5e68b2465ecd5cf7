# A host's image: the agent, its CLI and the CNI plugin, over Debian.
#
#   docker build -t routenet .      builds the programs inside: minutes, the first time
#   make image                      packs those that cargo builds outside, from its cache

FROM rust:1-bookworm AS programs
WORKDIR /source
COPY . .
# target/image holds the programs when `make image` has built them.
RUN set -e; \
    if [ ! -d target/image ]; then \
        apt-get update; \
        apt-get install -y --no-install-recommends protobuf-compiler libprotobuf-dev; \
        cargo build --release --locked --workspace --bins; \
        install -s -D -t target/image target/release/routenetd target/release/routectl target/release/routenet; \
    fi; \
    mv target/image /programs

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates conntrack iproute2 ipset iptables iputils-ping nftables \
    && rm -rf /var/lib/apt/lists/*
COPY --from=programs /programs/routenetd /usr/local/sbin/
COPY --from=programs /programs/routectl /usr/local/bin/
COPY --from=programs /programs/routenet /opt/cni/bin/
CMD ["routenetd", "--config", "/etc/routenet/node.yaml"]
