/// What nginx 1.22.1 says about small configurations (`nginx -t`), and the line that it names.
extension NginxVerdict {
    static let grammar: [NginxVerdict] = [
        NginxVerdict(
            "empty server",
            .accepted,
            """
            server { listen 8080; }
            """
        ),
        NginxVerdict(
            "a plain gateway",
            .accepted,
            """
            upstream a { server 127.0.0.1:1; }
            server {
              listen 8080;
              location / { proxy_pass http://a; }
            }
            """
        ),
        NginxVerdict(
            "missing semicolon",
            .rejectedAt(3),
            """
            server {
              listen 8080
              server_name a;
            }
            """
        ),
        NginxVerdict(
            "missing semicolon before brace",
            .rejectedAt(3),
            """
            server {
              listen 8080
            }
            """
        ),
        NginxVerdict(
            "end of file in block",
            .rejectedAt(2),
            """
            server {
              listen 8080;
            """
        ),
        NginxVerdict(
            "end of file in directive",
            .rejectedAt(2),
            """
            server {
              listen 8080
            """
        ),
        NginxVerdict(
            "one brace too many",
            .rejectedAt(4),
            """
            server {
              listen 8080;
            }
            }
            """
        ),
        NginxVerdict(
            "semicolon alone",
            .rejectedAt(3),
            """
            server {
              listen 8080;
              ;
            }
            """
        ),
        NginxVerdict(
            "brace alone",
            .rejectedAt(1),
            """
            {
            }
            """
        ),
        NginxVerdict(
            "text behind a quote",
            .rejectedAt(2),
            """
            server {
              server_name "a"b;
            }
            """
        ),
        NginxVerdict(
            "quote without an end",
            .rejectedAt(4),
            """
            server {
              listen 8080;
              server_name "a;
            }
            """
        ),
        NginxVerdict(
            "quoted words",
            .accepted,
            """
            server {
              listen "8080";
              server_name 'a b' "c\\"d";
            }
            """
        ),
        NginxVerdict(
            "bracket behind a quote",
            .accepted,
            """
            server {
              if ($host = "a") { return 404; }
            }
            """
        ),
        NginxVerdict(
            "comment in a word",
            .accepted,
            """
            server {
              listen 8080;
              server_name a#b;
            }
            """
        ),
        NginxVerdict(
            "comments",
            .accepted,
            """
            # one
            server { # two {
              listen 8080; # three
            }
            # four
            """
        ),
        NginxVerdict(
            "unknown directive",
            .rejectedAt(3),
            """
            server {
              listen 8080;
              lisen 8081;
            }
            """
        ),
        NginxVerdict(
            "unknown directive at the top",
            .rejectedAt(1),
            """
            servr {
            }
            """
        ),
        NginxVerdict(
            "directive in the wrong place",
            .rejectedAt(3),
            """
            server {
              listen 8080;
              upstream a { server 127.0.0.1; }
            }
            """
        ),
        NginxVerdict(
            "listen in http",
            .rejectedAt(1),
            """
            listen 8080;
            server { }
            """
        ),
        NginxVerdict(
            "proxy_pass in server",
            .rejectedAt(3),
            """
            server {
              listen 8080;
              proxy_pass http://127.0.0.1;
            }
            """
        ),
        NginxVerdict(
            "location in http",
            .rejectedAt(2),
            """
            limit_conn_zone $host zone=a:1m;
            location / { }
            """
        ),
        NginxVerdict(
            "block without a brace",
            .rejectedAt(3),
            """
            server {
              listen 8080;
              location /;
            }
            """
        ),
        NginxVerdict(
            "simple directive with a brace",
            .rejectedAt(2),
            """
            server {
              listen 8080 {
              }
            }
            """
        ),
        NginxVerdict(
            "too many arguments",
            .rejectedAt(3),
            """
            server {
              listen 8080;
              keepalive_requests 1 2;
            }
            """
        ),
        NginxVerdict(
            "too few arguments",
            .rejectedAt(2),
            """
            server {
              listen;
            }
            """
        ),
        NginxVerdict(
            "no arguments for server",
            .rejectedAt(1),
            """
            server a {
            }
            """
        ),
        NginxVerdict(
            "flag with another word",
            .rejectedAt(3),
            """
            server {
              listen 8080;
              merge_slashes yes;
            }
            """
        ),
        NginxVerdict(
            "flag in capitals",
            .accepted,
            """
            server {
              listen 8080;
              merge_slashes OFF;
            }
            """
        ),
        NginxVerdict(
            "flag twice",
            .rejectedAt(4),
            """
            server {
              listen 8080;
              merge_slashes on;
              merge_slashes on;
            }
            """
        ),
        NginxVerdict(
            "size with a letter",
            .rejectedAt(3),
            """
            server {
              listen 8080;
              client_body_buffer_size 8x;
            }
            """
        ),
        NginxVerdict(
            "size with g",
            .rejectedAt(3),
            """
            server {
              listen 8080;
              client_body_buffer_size 1g;
            }
            """
        ),
        NginxVerdict(
            "body size with g",
            .accepted,
            """
            server {
              listen 8080;
              client_max_body_size 1g;
            }
            """
        ),
        NginxVerdict(
            "size that is too large",
            .rejectedAt(3),
            """
            server {
              listen 8080;
              client_max_body_size 99999999999999999999;
            }
            """
        ),
        NginxVerdict(
            "time",
            .accepted,
            """
            server {
              listen 8080;
              send_timeout 1m30s500ms;
            }
            """
        ),
        NginxVerdict(
            "time in the wrong order",
            .rejectedAt(3),
            """
            server {
              listen 8080;
              send_timeout 30s1m;
            }
            """
        ),
        NginxVerdict(
            "time with years",
            .rejectedAt(3),
            """
            server {
              listen 8080;
              send_timeout 1y;
            }
            """
        ),
        NginxVerdict(
            "time with a space",
            .accepted,
            """
            server {
              listen 8080;
              send_timeout '1m 30';
            }
            """
        ),
        NginxVerdict(
            "negative number",
            .rejectedAt(3),
            """
            server {
              listen 8080;
              keepalive_requests -1;
            }
            """
        ),
        NginxVerdict(
            "number twice",
            .rejectedAt(4),
            """
            server {
              listen 8080;
              keepalive_requests 1;
              keepalive_requests 1;
            }
            """
        ),
        NginxVerdict(
            "status out of range",
            .rejectedAt(1),
            """
            limit_req_status 200;
            server { listen 8080; }
            """
        ),
        NginxVerdict(
            "listen with a bad port",
            .rejectedAt(2),
            """
            server {
              listen 70000;
            }
            """
        ),
        NginxVerdict(
            "listen with port zero",
            .rejectedAt(2),
            """
            server {
              listen 127.0.0.1:0;
            }
            """
        ),
        NginxVerdict(
            "listen on everything",
            .accepted,
            """
            server {
              listen *:8080;
              listen [::]:8080 ipv6only=on;
              listen 127.0.0.2:8081 backlog=10 reuseport;
              listen 127.0.0.3;
            }
            """
        ),
        NginxVerdict(
            "listen with a range",
            .accepted,
            """
            server {
              listen 8080-8082;
            }
            """
        ),
    ]
}
