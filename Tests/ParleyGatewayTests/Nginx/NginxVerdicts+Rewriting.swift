/// What nginx 1.22.1 says about small configurations (`nginx -t`), and the line that it names.
extension NginxVerdict {
    static let rewriting: [NginxVerdict] = [
        NginxVerdict(
            "header buffers of zero",
            .rejectedAt(3),
            """
            server {
              listen 8080;
              large_client_header_buffers 0 8k;
            }
            """
        ),
        NginxVerdict(
            "server_tokens",
            .accepted,
            """
            server {
              listen 8080;
              server_tokens build;
            }
            """
        ),
        NginxVerdict(
            "resolver",
            .accepted,
            """
            resolver 127.0.0.1 [::1]:53 valid=30s ipv6=off;
            resolver_timeout 5s;
            server { listen 8080; }
            """
        ),
        NginxVerdict(
            "include that is missing",
            .rejectedAt(3),
            """
            server {
              listen 8080;
              include missing.conf;
            }
            """
        ),
        NginxVerdict(
            "include of nothing",
            .accepted,
            """
            server {
              listen 8080;
              include missing/*.conf;
            }
            """
        ),
        NginxVerdict(
            "include of two",
            .rejectedAt(1),
            """
            include a b;
            server { listen 8080; }
            """
        ),
        NginxVerdict(
            "internal and stub_status",
            .accepted,
            """
            server {
              listen 8080;
              location = /a { stub_status; }
              location = /b { internal; return 200; }
            }
            """
        ),
        NginxVerdict(
            "keepalive_timeout",
            .accepted,
            """
            server {
              listen 8080;
              keepalive_timeout 30s 20s;
              keepalive_time 1h;
            }
            """
        ),
        NginxVerdict(
            "keepalive_timeout that is none",
            .rejectedAt(3),
            """
            server {
              listen 8080;
              keepalive_timeout soon;
            }
            """
        ),
        NginxVerdict(
            "a whole file",
            .accepted,
            """
            user root;
            worker_processes auto;
            pid /tmp/x.pid;
            error_log /dev/null warn;
            events { worker_connections 1024; }
            http { server { listen 8080; } }
            """
        ),
        NginxVerdict(
            "no events",
            .rejected,
            """
            http { server { listen 8080; } }
            """
        ),
        NginxVerdict(
            "events twice",
            .rejectedAt(2),
            """
            events { }
            events { }
            http { }
            """
        ),
        NginxVerdict(
            "http twice",
            .rejectedAt(3),
            """
            events { }
            http { }
            http { }
            """
        ),
        NginxVerdict(
            "worker_processes of none",
            .rejectedAt(1),
            """
            worker_processes many;
            events { }
            http { }
            """
        ),
        NginxVerdict(
            "worker_connections outside",
            .rejectedAt(1),
            """
            worker_connections 10;
            events { }
            http { }
            """
        ),
        NginxVerdict(
            "a server outside of http",
            .rejectedAt(2),
            """
            events { }
            server { }
            """
        ),
        NginxVerdict(
            "worker_connections twice",
            .rejectedAt(3),
            """
            events {
              worker_connections 1;
              worker_connections 2;
            }
            """
        ),
        NginxVerdict(
            "log level that is unknown",
            .rejectedAt(1),
            """
            error_log /dev/null loud;
            events { }
            """
        ),
    ]
}
