"""The proxies and their configurations: the same features in each, so that a figure says something about the proxy.

Every one listens on four ports of its own (plain, TLS with HTTP/1.1 and HTTP/2, gRPC in clear text), has 64 prefix
routes, keeps connections alive on both sides, sets X-Request-ID, X-Real-IP and X-Forwarded-For, and checks a request
limit that is never reached. One worker; access log off in all, or on in all.
"""

import os
import shlex
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROUTES = 64
MEASURED_ROUTE = 40  # not the first and not the last that a linear search would try
ALL_ROWS = ("h1", "h1-64k", "tls", "h2", "grpc", "memory")


@dataclass
class Site:
    """What all proxies of a run share."""

    upstream: int
    grpc_upstream: int
    certificate: str
    key: str
    access_log: bool
    connections: int  # idle ones, at most


@dataclass
class Peer:
    name: str
    ports: dict  # of plain, tls and grpc those that the rows need
    folder: Path
    command: list = field(default_factory=list)
    version: str = ""
    rows: tuple = ALL_ROWS


def program(script):
    """The path that a script of dev/servers prints; raises RuntimeError with what it said."""
    result = subprocess.run([ROOT / "dev/servers" / script], capture_output=True, text=True)
    if result.returncode != 0:
        raise RuntimeError(result.stderr.strip() or f"dev/servers/{script} failed")
    return result.stdout.strip()


def first_line(command):
    result = subprocess.run(command, capture_output=True, text=True)
    lines = (result.stdout + result.stderr).strip().splitlines()
    return lines[0].strip() if lines else ""


def write(path, text):
    path.write_text(text)
    return str(path)


def nginx_gateway(peer, site, buffers=""):
    """upstream, server and limit_req_zone blocks, as a file under conf.d has them; the subject gets the same ones."""
    log = f"{peer.folder}/access.log" if site.access_log else "off"
    routes = "".join(
        f"    location {'/api/' if number == MEASURED_ROUTE else f'/service-{number:02}/'} "
        "{ proxy_pass http://bench_http; }\n"
        for number in range(ROUTES)
    )
    calls = "".join(
        f"    location /bench.{'Measured' if number == MEASURED_ROUTE else f'Service{number:02}'}/ "
        "{ grpc_pass grpc://bench_grpc; }\n"
        for number in range(ROUTES)
    )

    def server(listen, headers, locations, more=""):
        return f"""
server {{
    listen {listen};
    server_name localhost;
    access_log {log};
    keepalive_timeout 3600s;
    keepalive_requests 1000000000;
    limit_req zone=bench burst=1000000 nodelay;
{more}{headers}{locations}}}
"""

    def fields(directive):
        return f"""    {directive} Host $host;
    {directive} X-Request-ID $request_id;
    {directive} X-Real-IP $remote_addr;
    {directive} X-Forwarded-For $proxy_add_x_forwarded_for;
"""

    proxied = f"""    proxy_http_version 1.1;
    proxy_set_header Connection "";
{fields("proxy_set_header")}{buffers}"""
    secured = f"""    ssl_certificate {site.certificate};
    ssl_certificate_key {site.key};
    ssl_protocols TLSv1.3;
"""
    servers = ""
    if "plain" in peer.ports:
        servers += server(f"127.0.0.1:{peer.ports['plain']} backlog=4096", proxied, routes)
    if "tls" in peer.ports:
        servers += server(f"127.0.0.1:{peer.ports['tls']} ssl http2 backlog=4096", proxied, routes, secured)
    if "grpc" in peer.ports:
        servers += server(f"127.0.0.1:{peer.ports['grpc']} http2 backlog=4096", fields("grpc_set_header"), calls)
    grpc_upstream = f"""upstream bench_grpc {{
    server 127.0.0.1:{site.grpc_upstream};
    keepalive 256;
    keepalive_requests 1000000000;
}}
""" if "grpc" in peer.ports else ""
    return f"""limit_req_zone $binary_remote_addr zone=bench:10m rate=1000000r/s;
upstream bench_http {{
    server 127.0.0.1:{site.upstream};
    keepalive 256;
    keepalive_requests 1000000000;
}}
{grpc_upstream}{servers}"""


def nginx_main(peer, site, gateway):
    """A whole nginx.conf around it, with nothing outside the peer's folder."""
    temporary = "".join(
        f"    {name}_temp_path {peer.folder}/{name};\n" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    user = "user root;\n" if os.geteuid() == 0 else ""
    return f"""{user}worker_processes 1;
daemon off;
pid {peer.folder}/pid;
error_log {peer.folder}/error.log warn;
worker_rlimit_nofile {site.connections + 4096};
events {{
    worker_connections {site.connections + 2048};
}}
http {{
{temporary}    include {gateway};
}}
"""


LARGE_BUFFERS = """    proxy_buffer_size 64k;
    proxy_buffers 8 64k;
    proxy_busy_buffers_size 128k;
"""


def nginx(peer, site):
    binary = program("nginx")
    large = peer.name == "nginx-64k"
    if large:
        peer.rows = ("h1-64k",)
    gateway = write(peer.folder / "gateway.conf", nginx_gateway(peer, site, LARGE_BUFFERS if large else ""))
    main = write(peer.folder / "nginx.conf", nginx_main(peer, site, gateway))
    peer.command = [binary, "-p", f"{peer.folder}/", "-e", f"{peer.folder}/error.log", "-c", main]
    peer.version = first_line([binary, "-v"]).removeprefix("nginx version: ")
    peer.version += ", with 64 KB proxy_buffers" if large else ""


def subject(peer, site, command):
    gateway = write(peer.folder / "gateway.conf", nginx_gateway(peer, site))
    main = write(peer.folder / "nginx.conf", nginx_main(peer, site, gateway))
    names = {"{config}": gateway, "{main}": main, "{folder}": str(peer.folder)}

    def filled(word):
        for name, value in names.items():
            word = word.replace(name, value)
        return word

    peer.command = [filled(word) for word in shlex.split(command)]
    peer.version = command


EXTENSIONS = "type.googleapis.com/envoy.extensions"


def envoy_listener(peer, site, kind):
    if kind == "grpc":
        prefixes = ["/bench." + ("Measured" if n == MEASURED_ROUTE else f"Service{n:02}") + "/" for n in range(ROUTES)]
    else:
        prefixes = ["/api/" if n == MEASURED_ROUTE else f"/service-{n:02}/" for n in range(ROUTES)]
    cluster = "bench_grpc" if kind == "grpc" else "bench_http"
    routes = "".join(
        f"""
              - {{match: {{prefix: "{prefix}"}}, route: {{cluster: {cluster}, timeout: 60s}}}}"""
        for prefix in prefixes
    )
    log = f"""
          access_log:
          - name: envoy.access_loggers.file
            typed_config:
              "@type": {EXTENSIONS}.access_loggers.file.v3.FileAccessLog
              path: {peer.folder}/access.log""" if site.access_log else ""
    secured = f"""
      transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": {EXTENSIONS}.transport_sockets.tls.v3.DownstreamTlsContext
          common_tls_context:
            alpn_protocols: [h2, http/1.1]
            tls_params: {{tls_minimum_protocol_version: TLSv1_3, tls_maximum_protocol_version: TLSv1_3}}
            tls_certificates:
            - certificate_chain: {{filename: "{site.certificate}"}}
              private_key: {{filename: "{site.key}"}}""" if kind == "tls" else ""
    return f"""
  - name: {kind}
    address: {{socket_address: {{address: 127.0.0.1, port_value: {peer.ports[kind]}}}}}
    tcp_backlog_size: 4096
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": {EXTENSIONS}.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: {kind}
          use_remote_address: true
          normalize_path: true
          merge_slashes: true{log}
          http_filters:
          - name: envoy.filters.http.local_ratelimit
            typed_config:
              "@type": {EXTENSIONS}.filters.http.local_ratelimit.v3.LocalRateLimit
              stat_prefix: limit
              token_bucket: {{max_tokens: 1000000, tokens_per_fill: 1000000, fill_interval: 1s}}
              filter_enabled: {{default_value: {{numerator: 100, denominator: HUNDRED}}}}
              filter_enforced: {{default_value: {{numerator: 100, denominator: HUNDRED}}}}
          - name: envoy.filters.http.router
            typed_config:
              "@type": {EXTENSIONS}.filters.http.router.v3.Router
          route_config:
            virtual_hosts:
            - name: bench
              domains: ["*"]
              request_headers_to_add:
              - header: {{key: X-Real-IP, value: "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"}}
                append_action: OVERWRITE_IF_EXISTS_OR_ADD
              routes:{routes}{secured}"""


def envoy_cluster(name, port, http2):
    protocol = f"""
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": {EXTENSIONS}.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {{http2_protocol_options: {{}}}}""" if http2 else ""
    return f"""
  - name: {name}
    type: STATIC
    connect_timeout: 5s
    circuit_breakers:
      thresholds: [{{max_connections: 4096, max_pending_requests: 4096, max_requests: 8192}}]{protocol}
    load_assignment:
      cluster_name: {name}
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}}}"""


def envoy(peer, site):
    binary = program("envoy-binary")
    configuration = write(peer.folder / "envoy.yaml", f"""static_resources:
  listeners:{"".join(envoy_listener(peer, site, kind) for kind in peer.ports)}
  clusters:{envoy_cluster("bench_http", site.upstream, False)}{envoy_cluster("bench_grpc", site.grpc_upstream, True)}
""")
    peer.command = [binary, "--config-path", configuration, "--disable-hot-restart", "--concurrency", "1",
                    "--log-level", "error"]
    peer.version = first_line([binary, "--version"]).split("version: ")[-1]


KNOWN = {"nginx": nginx, "nginx-64k": nginx, "envoy": envoy}
