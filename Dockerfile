# Tributary's image: static programs, CA certificates, nothing else. `make image` builds it.
#
# Two ways. With a toolchain image to build in (any machine with a registry at hand):
#   docker build --build-arg VERSION=v1.2.3 -t tributary .
# Without pulling anything (programs and certificates come from this machine, which is what `make image` does):
#   deploy/image/build.sh

# A tag moves. To build from the same bytes each time, give a digest, which `docker buildx imagetools inspect golang:1.26-bookworm`
# shows: --build-arg GO_IMAGE=golang:1.26-bookworm@sha256:…
ARG GO_IMAGE=golang:1.26-bookworm

FROM ${GO_IMAGE} AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -ldflags="-s -w" -o /out/ ./cmd/worker ./cmd/producer

FROM scratch AS built
COPY --from=build /out/worker /out/producer /
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
USER 65532:65532
EXPOSE 8080 9090
STOPSIGNAL SIGTERM
ENTRYPOINT ["/worker"]
CMD ["run"]
ARG VERSION=devel
LABEL org.opencontainers.image.title="tributary" \
      org.opencontainers.image.description="Moves tenants' commands from Amazon SQS into one DynamoDB table, and answers questions about what is in it" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}"

FROM scratch AS prebuilt
COPY worker producer /
COPY ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
USER 65532:65532
EXPOSE 8080 9090
STOPSIGNAL SIGTERM
ENTRYPOINT ["/worker"]
CMD ["run"]
ARG VERSION=devel
LABEL org.opencontainers.image.title="tributary" \
      org.opencontainers.image.description="Moves tenants' commands from Amazon SQS into one DynamoDB table, and answers questions about what is in it" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}"

FROM built
