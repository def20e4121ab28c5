/// What nginx 1.22.1 says about small configurations (`nginx -t`), and the line that it names.
extension Verdict {
    static let policy: [Verdict] = [
        Verdict(
            "access_log with a condition",
            .accepted,
            """
            map $status $b { ~^2 0; default 1; }
            server {
              listen 8080;
              access_log /dev/null combined if=$b;
            }
            """
        ),
        Verdict(
            "variables",
            .accepted,
            """
            server {
              listen 8080;
              location / { return 200 "$host ${uri} $arg_a $cookie_b $http_c"; }
            }
            """
        ),
        Verdict(
            "unknown variable",
            .rejected,
            """
            server {
              listen 8080;
              location / { return 200 $nothing; }
            }
            """
        ),
        Verdict(
            "dollar at the end",
            .rejectedAt(4),
            """
            server {
              listen 8080;
              location / {
                return 200 "costs 5$";
              }
            }
            """
        ),
        Verdict(
            "bracket that is not closed",
            .rejectedAt(4),
            """
            server {
              listen 8080;
              location / {
                return 200 "${host";
              }
            }
            """
        ),
        Verdict(
            "set",
            .accepted,
            """
            server {
              listen 8080;
              set $a 1;
              if ($a) { return 404; }
              if ($a = 2) { return 405; }
              if ($a ~* ^b) { set $c $1; }
              if ($a !~ c) { break; }
            }
            """
        ),
        Verdict(
            "set without a dollar",
            .rejectedAt(3),
            """
            server {
              listen 8080;
              set a 1;
            }
            """
        ),
        Verdict(
            "set of a fixed variable",
            .rejectedAt(3),
            """
            server {
              listen 8080;
              set $host 1;
            }
            """
        ),
        Verdict(
            "set of args",
            .accepted,
            """
            server {
              listen 8080;
              set $args a=1;
            }
            """
        ),
        Verdict(
            "if without a bracket",
            .rejectedAt(3),
            """
            server {
              listen 8080;
              if $host { return 404; }
            }
            """
        ),
        Verdict(
            "if with an unknown sign",
            .rejectedAt(3),
            """
            server {
              listen 8080;
              if ($host == a) { return 404; }
            }
            """
        ),
        Verdict(
            "if with four words",
            .rejectedAt(3),
            """
            server {
              listen 8080;
              if ($host = a b) { return 404; }
            }
            """
        ),
        Verdict(
            "if in if",
            .rejectedAt(4),
            """
            server {
              listen 8080;
              if ($host = a) {
                if ($uri = b) { return 404; }
              }
            }
            """
        ),
        Verdict(
            "if in http",
            .rejectedAt(1),
            """
            if ($host = a) { return 404; }
            """
        ),
        Verdict(
            "add_header in an if of a server",
            .rejectedAt(4),
            """
            server {
              listen 8080;
              if ($host = a) {
                add_header A b;
              }
            }
            """
        ),
        Verdict(
            "capture in a condition",
            .rejected,
            """
            server {
              listen 8080;
              if ($1) { return 404; }
            }
            """
        ),
        Verdict(
            "rewrite",
            .accepted,
            """
            server {
              listen 8080;
              rewrite ^/a(.*)$ /b$1 last;
              rewrite ^/c http://d/ permanent;
              rewrite ^/e /f? break;
            }
            """
        ),
        Verdict(
            "rewrite with an unknown flag",
            .rejectedAt(3),
            """
            server {
              listen 8080;
              rewrite ^/a /b first;
            }
            """
        ),
        Verdict(
            "rewrite to nothing",
            .rejectedAt(3),
            """
            server {
              listen 8080;
              rewrite ^/a "";
            }
            """
        ),
        Verdict(
            "returns",
            .accepted,
            """
            server {
              listen 8080;
              location /a { return 444; }
              location /b { return https://c/; }
              location /d { return 301 /e; }
              location /f { return 200 ""; }
            }
            """
        ),
        Verdict(
            "return of no number",
            .rejectedAt(3),
            """
            server {
              listen 8080;
              return abc;
            }
            """
        ),
        Verdict(
            "return of a large number",
            .rejectedAt(3),
            """
            server {
              listen 8080;
              return 1000;
            }
            """
        ),
        Verdict(
            "map",
            .accepted,
            """
            map $host $a {
              hostnames;
              default 1;
              *.b 2;
              ~^c 3;
              \\~d 4;
              volatile;
            }
            server { listen 8080; }
            """
        ),
        Verdict(
            "map with two defaults",
            .rejectedAt(3),
            """
            map $host $a {
              default 1;
              default 2;
            }
            """
        ),
        Verdict(
            "map with the same twice",
            .rejectedAt(3),
            """
            map $host $a {
              b 1;
              B 2;
            }
            """
        ),
        Verdict(
            "map with three words",
            .rejectedAt(2),
            """
            map $host $a {
              b 1 2;
            }
            """
        ),
        Verdict(
            "map without a dollar",
            .rejectedAt(1),
            """
            map $host a {
              b 1;
            }
            """
        ),
        Verdict(
            "map with a block",
            .rejectedAt(2),
            """
            map $host $a {
              b {
              }
            }
            """
        ),
        Verdict(
            "gzip",
            .accepted,
            """
            server {
              listen 8080;
              gzip on;
              gzip_types text/plain application/json;
              gzip_comp_level 9;
              gzip_min_length 1k;
              gzip_proxied any;
              gzip_http_version 1.0;
              gzip_vary on;
            }
            """
        ),
        Verdict(
            "gzip level",
            .rejectedAt(3),
            """
            server {
              listen 8080;
              gzip_comp_level 10;
            }
            """
        ),
        Verdict(
            "gzip_proxied with an unknown word",
            .rejectedAt(3),
            """
            server {
              listen 8080;
              gzip_proxied some;
            }
            """
        ),
        Verdict(
            "real ip",
            .accepted,
            """
            server {
              listen 8080;
              set_real_ip_from 10.0.0.0/8;
              real_ip_header X-Forwarded-For;
              real_ip_recursive on;
            }
            """
        ),
        Verdict(
            "real ip header twice",
            .rejectedAt(4),
            """
            server {
              listen 8080;
              real_ip_header A;
              real_ip_header B;
            }
            """
        ),
        Verdict(
            "types",
            .accepted,
            """
            types { text/html html; application/json json js; }
            default_type text/plain;
            server { listen 8080; }
            """
        ),
        Verdict(
            "types with a block",
            .rejectedAt(2),
            """
            types {
              text/html {
              }
            }
            """
        ),
        Verdict(
            "TLS",
            .accepted,
            """
            server {
              listen 8443 ssl http2;
              ssl_certificate cert.pem;
              ssl_certificate_key key.pem;
              ssl_protocols TLSv1.2 TLSv1.3;
            }
            """
        ),
        Verdict(
            "TLS without a certificate",
            .rejectedAt(1),
            """
            server {
              listen 8443 ssl;
            }
            """
        ),
        Verdict(
            "TLS without a key",
            .rejected,
            """
            server {
              listen 8443 ssl;
              ssl_certificate cert.pem;
            }
            """
        ),
        Verdict(
            "TLS with a certificate in the second server",
            .accepted,
            """
            server {
              listen 8443 ssl;
              ssl_certificate cert.pem;
              ssl_certificate_key key.pem;
            }
            server { listen 8443 ssl; server_name b; }
            """
        ),
        Verdict(
            "protocols with an unknown one",
            .rejectedAt(3),
            """
            server {
              listen 8080;
              ssl_protocols TLSv2;
            }
            """
        ),
        Verdict(
            "verify without authorities",
            .rejected,
            """
            server {
              listen 8443 ssl;
              ssl_certificate cert.pem;
              ssl_certificate_key key.pem;
              ssl_verify_client on;
            }
            """
        ),
        Verdict(
            "verify with another word",
            .rejectedAt(3),
            """
            server {
              listen 8080;
              ssl_verify_client maybe;
            }
            """
        ),
        Verdict(
            "header buffers",
            .accepted,
            """
            server {
              listen 8080;
              large_client_header_buffers 4 16k;
              client_header_buffer_size 2k;
            }
            """
        ),
        Verdict(
            "header buffers with one argument",
            .rejectedAt(3),
            """
            server {
              listen 8080;
              large_client_header_buffers 4;
            }
            """
        ),
    ]
}
