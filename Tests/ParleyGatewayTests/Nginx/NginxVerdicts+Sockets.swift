/// What nginx 1.22.1 says about small configurations (`nginx -t`), and the line that it names.
extension NginxVerdict {
    static let sockets: [NginxVerdict] = [
        NginxVerdict(
            "listen with a range backwards",
            .rejectedAt(2),
            """
            server {
              listen 8082-8080;
            }
            """
        ),
        NginxVerdict(
            "listen with an unknown word",
            .rejectedAt(2),
            """
            server {
              listen 8080 fast;
            }
            """
        ),
        NginxVerdict(
            "listen with a bad backlog",
            .rejectedAt(2),
            """
            server {
              listen 8080 backlog=0;
            }
            """
        ),
        NginxVerdict(
            "listen twice",
            .rejectedAt(3),
            """
            server {
              listen 8080;
              listen 8080;
            }
            """
        ),
        NginxVerdict(
            "two default servers",
            .rejectedAt(3),
            """
            server { listen 8080 default_server; }
            server {
              listen 8080 default_server;
            }
            """
        ),
        NginxVerdict(
            "options of a socket twice",
            .rejectedAt(3),
            """
            server { listen 8080 backlog=9; }
            server {
              listen 8080 backlog=9;
            }
            """
        ),
        NginxVerdict(
            "listen with a path",
            .rejectedAt(2),
            """
            server {
              listen 127.0.0.1:80/a;
            }
            """
        ),
        NginxVerdict(
            "listen on a bad IPv6 address",
            .rejectedAt(2),
            """
            server {
              listen [::g]:80;
            }
            """
        ),
        NginxVerdict(
            "server names",
            .accepted,
            """
            server {
              listen 8080;
              server_name a *.b .c d.* ~^(?<x>.+)$ "";
            }
            """
        ),
        NginxVerdict(
            "server name with a star in the middle",
            .accepted,
            """
            server {
              listen 8080;
              server_name a.*.b;
            }
            """
        ),
        NginxVerdict(
            "server name of a star",
            .rejectedAt(3),
            """
            server {
              listen 8080;
              server_name *;
            }
            """
        ),
        NginxVerdict(
            "server name of a tilde",
            .rejectedAt(3),
            """
            server {
              listen 8080;
              server_name ~;
            }
            """
        ),
        NginxVerdict(
            "the same name twice",
            .accepted,
            """
            server { listen 8080; server_name a; }
            server { listen 8080; server_name a; }
            """
        ),
        NginxVerdict(
            "locations",
            .accepted,
            """
            server {
              listen 8080;
              location = / { }
              location ^~ /a { }
              location ~ b$ { }
              location ~* c$ { }
              location @d { }
              location =/e { }
              location / { location /f { } location ~ g { } }
            }
            """
        ),
        NginxVerdict(
            "location modifier",
            .rejectedAt(3),
            """
            server {
              listen 8080;
              location =~ / { }
            }
            """
        ),
        NginxVerdict(
            "location twice",
            .rejectedAt(4),
            """
            server {
              listen 8080;
              location /a { }
              location ^~ /a { }
            }
            """
        ),
        NginxVerdict(
            "exact and prefix",
            .accepted,
            """
            server {
              listen 8080;
              location /a { }
              location = /a { }
            }
            """
        ),
        NginxVerdict(
            "regex twice",
            .accepted,
            """
            server {
              listen 8080;
              location ~ a { }
              location ~ a { }
            }
            """
        ),
        NginxVerdict(
            "named location twice",
            .accepted,
            """
            server {
              listen 8080;
              location @a { }
              location @a { }
            }
            """
        ),
        NginxVerdict(
            "location outside",
            .rejectedAt(4),
            """
            server {
              listen 8080;
              location /a {
                location /b { }
              }
            }
            """
        ),
        NginxVerdict(
            "location in an exact one",
            .rejectedAt(4),
            """
            server {
              listen 8080;
              location = /a {
                location /a/b { }
              }
            }
            """
        ),
        NginxVerdict(
            "named location in another",
            .rejectedAt(4),
            """
            server {
              listen 8080;
              location /a {
                location @b { }
              }
            }
            """
        ),
        NginxVerdict(
            "upstream",
            .accepted,
            """
            upstream a {
              least_conn;
              server 127.0.0.1:1 weight=2 max_fails=3 fail_timeout=30s max_conns=4;
              server 127.0.0.2:1 backup;
              server 127.0.0.3 down;
              keepalive 8;
              keepalive_timeout 5s;
            }
            server { listen 8080; }
            """
        ),
        NginxVerdict(
            "upstream without servers",
            .rejectedAt(3),
            """
            upstream a {
              least_conn;
            }
            server { listen 8080; }
            """
        ),
        NginxVerdict(
            "upstream twice",
            .rejectedAt(2),
            """
            upstream a { server 127.0.0.1; }
            upstream a {
              server 127.0.0.1;
            }
            """
        ),
        NginxVerdict(
            "upstream with an unknown word",
            .rejectedAt(2),
            """
            upstream a {
              server 127.0.0.1 wight=2;
            }
            """
        ),
        NginxVerdict(
            "upstream with weight zero",
            .rejectedAt(2),
            """
            upstream a {
              server 127.0.0.1 weight=0;
            }
            """
        ),
        NginxVerdict(
            "backup with hash",
            .rejectedAt(3),
            """
            upstream a {
              hash $uri;
              server 127.0.0.1 backup;
            }
            """
        ),
        NginxVerdict(
            "hash consistent",
            .accepted,
            """
            upstream a {
              hash $uri consistent;
              server 127.0.0.1;
            }
            server { listen 8080; }
            """
        ),
        NginxVerdict(
            "hash with an unknown word",
            .rejectedAt(2),
            """
            upstream a {
              hash $uri ketama;
              server 127.0.0.1;
            }
            """
        ),
        NginxVerdict(
            "random",
            .accepted,
            """
            upstream a {
              random two least_conn;
              server 127.0.0.1;
            }
            server { listen 8080; }
            """
        ),
        NginxVerdict(
            "random three",
            .rejectedAt(2),
            """
            upstream a {
              random three;
              server 127.0.0.1;
            }
            """
        ),
        NginxVerdict(
            "keepalive zero",
            .rejectedAt(3),
            """
            upstream a {
              server 127.0.0.1;
              keepalive 0;
            }
            """
        ),
        NginxVerdict(
            "keepalive twice",
            .rejectedAt(4),
            """
            upstream a {
              server 127.0.0.1;
              keepalive 1;
              keepalive 1;
            }
            """
        ),
        NginxVerdict(
            "two methods",
            .accepted,
            """
            upstream a {
              ip_hash;
              least_conn;
              server 127.0.0.1;
            }
            server { listen 8080; }
            """
        ),
        NginxVerdict(
            "server with a path",
            .rejectedAt(2),
            """
            upstream a {
              server 127.0.0.1/a;
            }
            """
        ),
        NginxVerdict(
            "server with a bad port",
            .rejectedAt(2),
            """
            upstream a {
              server 127.0.0.1:99999;
            }
            """
        ),
        NginxVerdict(
            "zone",
            .accepted,
            """
            upstream a {
              zone a 64k;
              server 127.0.0.1;
            }
            server { listen 8080; }
            """
        ),
        NginxVerdict(
            "zone that is too small",
            .rejectedAt(2),
            """
            upstream a {
              zone a 1k;
              server 127.0.0.1;
            }
            """
        ),
        NginxVerdict(
            "proxy_pass with a path",
            .accepted,
            """
            server { listen 8080; location / { proxy_pass http://127.0.0.1:1/a/; } }
            """
        ),
        NginxVerdict(
            "proxy_pass without a scheme",
            .rejectedAt(4),
            """
            server {
              listen 8080;
              location / {
                proxy_pass 127.0.0.1;
              }
            }
            """
        ),
        NginxVerdict(
            "proxy_pass twice",
            .rejectedAt(5),
            """
            server {
              listen 8080;
              location / {
                proxy_pass http://127.0.0.1;
                proxy_pass http://127.0.0.1;
              }
            }
            """
        ),
        NginxVerdict(
            "path in a regex location",
            .rejectedAt(4),
            """
            server {
              listen 8080;
              location ~ /a {
                proxy_pass http://127.0.0.1/;
              }
            }
            """
        ),
        NginxVerdict(
            "path in a named location",
            .rejectedAt(4),
            """
            server {
              listen 8080;
              location @a {
                proxy_pass http://127.0.0.1/b;
              }
            }
            """
        ),
    ]
}
