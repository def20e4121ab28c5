/// What nginx 1.22.1 says about small configurations (`nginx -t`), and the line that it names.
extension Verdict {
    static let grammar: [Verdict] = [
        Verdict(
            "empty server",
            .accepted,
            """
            server { listen 8080; }
            """
        ),
        Verdict(
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
        Verdict(
            "missing semicolon",
            .rejectedAt(3),
            """
            server {
              listen 8080
              server_name a;
            }
            """
        ),
        Verdict(
            "missing semicolon before brace",
            .rejectedAt(3),
            """
            server {
              listen 8080
            }
            """
        ),
        Verdict(
            "end of file in block",
            .rejectedAt(2),
            """
            server {
              listen 8080;
            """
        ),
        Verdict(
            "end of file in directive",
            .rejectedAt(2),
            """
            server {
              listen 8080
            """
        ),
        Verdict(
            "one brace too many",
            .rejectedAt(4),
            """
            server {
              listen 8080;
            }
            }
            """
        ),
        Verdict(
            "semicolon alone",
            .rejectedAt(3),
            """
            server {
              listen 8080;
              ;
            }
            """
        ),
        Verdict(
            "brace alone",
            .rejectedAt(1),
            """
            {
            }
            """
        ),
        Verdict(
            "text behind a quote",
            .rejectedAt(2),
            """
            server {
              server_name "a"b;
            }
            """
        ),
        Verdict(
            "quote without an end",
            .rejectedAt(4),
            """
            server {
              listen 8080;
              server_name "a;
            }
            """
        ),
        Verdict(
            "quoted words",
            .accepted,
            """
            server {
              listen "8080";
              server_name 'a b' "c\\"d";
            }
            """
        ),
        Verdict(
            "bracket behind a quote",
            .accepted,
            """
            server {
              if ($host = "a") { return 404; }
            }
            """
        ),
        Verdict(
            "comment in a word",
            .accepted,
            """
            server {
              listen 8080;
              server_name a#b;
            }
            """
        ),
        Verdict(
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
        Verdict(
            "unknown directive",
            .rejectedAt(3),
            """
            server {
              listen 8080;
              lisen 8081;
            }
            """
        ),
        Verdict(
            "unknown directive at the top",
            .rejectedAt(1),
            """
            servr {
            }
            """
        ),
        Verdict(
            "directive in the wrong place",
            .rejectedAt(3),
            """
            server {
              listen 8080;
              upstream a { server 127.0.0.1; }
            }
            """
        ),
        Verdict(
            "listen in http",
            .rejectedAt(1),
            """
            listen 8080;
            server { }
            """
        ),
        Verdict(
            "proxy_pass in server",
            .rejectedAt(3),
            """
            server {
              listen 8080;
              proxy_pass http://127.0.0.1;
            }
            """
        ),
        Verdict(
            "location in http",
            .rejectedAt(2),
            """
            limit_conn_zone $host zone=a:1m;
            location / { }
            """
        ),
        Verdict(
            "block without a brace",
            .rejectedAt(3),
            """
            server {
              listen 8080;
              location /;
            }
            """
        ),
        Verdict(
            "simple directive with a brace",
            .rejectedAt(2),
            """
            server {
              listen 8080 {
              }
            }
            """
        ),
        Verdict(
            "too many arguments",
            .rejectedAt(3),
            """
            server {
              listen 8080;
              keepalive_requests 1 2;
            }
            """
        ),
        Verdict(
            "too few arguments",
            .rejectedAt(2),
            """
            server {
              listen;
            }
            """
        ),
        Verdict(
            "no arguments for server",
            .rejectedAt(1),
            """
            server a {
            }
            """
        ),
        Verdict(
            "flag with another word",
            .rejectedAt(3),
            """
            server {
              listen 8080;
              merge_slashes yes;
            }
            """
        ),
        Verdict(
            "flag in capitals",
            .accepted,
            """
            server {
              listen 8080;
              merge_slashes OFF;
            }
            """
        ),
        Verdict(
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
        Verdict(
            "size with a letter",
            .rejectedAt(3),
            """
            server {
              listen 8080;
              client_body_buffer_size 8x;
            }
            """
        ),
        Verdict(
            "size with g",
            .rejectedAt(3),
            """
            server {
              listen 8080;
              client_body_buffer_size 1g;
            }
            """
        ),
        Verdict(
            "body size with g",
            .accepted,
            """
            server {
              listen 8080;
              client_max_body_size 1g;
            }
            """
        ),
        Verdict(
            "size that is too large",
            .rejectedAt(3),
            """
            server {
              listen 8080;
              client_max_body_size 99999999999999999999;
            }
            """
        ),
        Verdict(
            "time",
            .accepted,
            """
            server {
              listen 8080;
              send_timeout 1m30s500ms;
            }
            """
        ),
        Verdict(
            "time in the wrong order",
            .rejectedAt(3),
            """
            server {
              listen 8080;
              send_timeout 30s1m;
            }
            """
        ),
        Verdict(
            "time with years",
            .rejectedAt(3),
            """
            server {
              listen 8080;
              send_timeout 1y;
            }
            """
        ),
        Verdict(
            "time with a space",
            .accepted,
            """
            server {
              listen 8080;
              send_timeout '1m 30';
            }
            """
        ),
        Verdict(
            "negative number",
            .rejectedAt(3),
            """
            server {
              listen 8080;
              keepalive_requests -1;
            }
            """
        ),
        Verdict(
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
        Verdict(
            "status out of range",
            .rejectedAt(1),
            """
            limit_req_status 200;
            server { listen 8080; }
            """
        ),
        Verdict(
            "listen with a bad port",
            .rejectedAt(2),
            """
            server {
              listen 70000;
            }
            """
        ),
        Verdict(
            "listen with port zero",
            .rejectedAt(2),
            """
            server {
              listen 127.0.0.1:0;
            }
            """
        ),
        Verdict(
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
        Verdict(
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
