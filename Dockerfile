# gatewayd in an image without a shell: one static binary, CA certificates and
# time zones inside, an ordinary user, one volume.

FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=unknown
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=${VERSION}" -o /out/gatewayd ./cmd/gatewayd \
 && mkdir -p /out/data /out/etc/gatewayd

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build --chown=10001:10001 /out/data /var/lib/gatewayd
COPY --from=build /out/etc/gatewayd /etc/gatewayd
COPY --from=build /out/gatewayd /gatewayd
USER 10001:10001
VOLUME ["/var/lib/gatewayd"]
# Ports above 1024: the user has no privilege. Publish them as 25, 587 and 465.
EXPOSE 2525 2587 2465
HEALTHCHECK --interval=30s --timeout=10s --start-period=15s CMD ["/gatewayd", "health"]
ENTRYPOINT ["/gatewayd"]
CMD ["serve", "-c", "/etc/gatewayd/gatewayd.toml"]
