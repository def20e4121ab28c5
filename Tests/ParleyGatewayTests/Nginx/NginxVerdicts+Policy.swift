/// What nginx 1.22.1 says about small configurations (`nginx -t`), and the line that it names.
extension NginxVerdict {
    static let policy: [NginxVerdict] = [
        NginxVerdict(
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
        NginxVerdict(
            "variables",
            .accepted,
            """
            server {
              listen 8080;
              location / { return 200 "$host ${uri} $arg_a $cookie_b $http_c"; }
            }
            """
        ),
        NginxVerdict(
            "unknown variable",
            .rejected,
            """
            server {
              listen 8080;
              location / { return 200 $nothing; }
            }
            """
        ),
        NginxVerdict(
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
        NginxVerdict(
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
        NginxVerdict(
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
        NginxVerdict(
            "set without a dollar",
            .rejectedAt(3),
            """
            server {
              listen 8080;
              set a 1;
            }
            """
        ),
        NginxVerdict(
            "set of a fixed variable",
            .rejectedAt(3),
            """
            server {
              listen 8080;
              set $host 1;
            }
            """
        ),
        NginxVerdict(
            "set of args",
            .accepted,
            """
            server {
              listen 8080;
              set $args a=1;
            }
            """
        ),
        NginxVerdict(
            "if without a bracket",
            .rejectedAt(3),
            """
            server {
              listen 8080;
              if $host { return 404; }
            }
            """
        ),
        NginxVerdict(
            "if with an unknown sign",
            .rejectedAt(3),
            """
            server {
              listen 8080;
              if ($host == a) { return 404; }
            }
            """
        ),
        NginxVerdict(
            "if with four words",
            .rejectedAt(3),
            """
            server {
              listen 8080;
              if ($host = a b) { return 404; }
            }
            """
        ),
        NginxVerdict(
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
        NginxVerdict(
            "if in http",
            .rejectedAt(1),
            """
            if ($host = a) { return 404; }
            """
        ),
        NginxVerdict(
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
        NginxVerdict(
            "capture in a condition",
            .rejected,
            """
            server {
              listen 8080;
              if ($1) { return 404; }
            }
            """
        ),
        NginxVerdict(
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
        NginxVerdict(
            "rewrite with an unknown flag",
            .rejectedAt(3),
            """
            server {
              listen 8080;
              rewrite ^/a /b first;
            }
            """
        ),
        NginxVerdict(
            "rewrite to nothing",
            .rejectedAt(3),
            """
            server {
              listen 8080;
              rewrite ^/a "";
            }
            """
        ),
        NginxVerdict(
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
        NginxVerdict(
            "return of no number",
            .rejectedAt(3),
            """
            server {
              listen 8080;
              return abc;
            }
            """
        ),
        NginxVerdict(
            "return of a large number",
            .rejectedAt(3),
            """
            server {
              listen 8080;
              return 1000;
            }
            """
        ),
        NginxVerdict(
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
        NginxVerdict(
            "map with two defaults",
            .rejectedAt(3),
            """
            map $host $a {
              default 1;
              default 2;
            }
            """
        ),
        NginxVerdict(
            "map with the same twice",
            .rejectedAt(3),
            """
            map $host $a {
              b 1;
              B 2;
            }
            """
        ),
        NginxVerdict(
            "map with three words",
            .rejectedAt(2),
            """
            map $host $a {
              b 1 2;
            }
            """
        ),
        NginxVerdict(
            "map without a dollar",
            .rejectedAt(1),
            """
            map $host a {
              b 1;
            }
            """
        ),
        NginxVerdict(
            "map with a block",
            .rejectedAt(2),
            """
            map $host $a {
              b {
              }
            }
            """
        ),
        NginxVerdict(
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
        NginxVerdict(
            "gzip level",
            .rejectedAt(3),
            """
            server {
              listen 8080;
              gzip_comp_level 10;
            }
            """
        ),
        NginxVerdict(
            "gzip_proxied with an unknown word",
            .rejectedAt(3),
            """
            server {
              listen 8080;
              gzip_proxied some;
            }
            """
        ),
        NginxVerdict(
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
        NginxVerdict(
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
        NginxVerdict(
            "types",
            .accepted,
            """
            types { text/html html; application/json json js; }
            default_type text/plain;
            server { listen 8080; }
            """
        ),
        NginxVerdict(
            "types with a block",
            .rejectedAt(2),
            """
            types {
              text/html {
              }
            }
            """
        ),
        NginxVerdict(
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
        NginxVerdict(
            "TLS without a certificate",
            .rejectedAt(1),
            """
            server {
              listen 8443 ssl;
            }
            """
        ),
        NginxVerdict(
            "TLS without a key",
            .rejected,
            """
            server {
              listen 8443 ssl;
              ssl_certificate cert.pem;
            }
            """
        ),
        NginxVerdict(
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
        NginxVerdict(
            "protocols with an unknown one",
            .rejectedAt(3),
            """
            server {
              listen 8080;
              ssl_protocols TLSv2;
            }
            """
        ),
        NginxVerdict(
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
        NginxVerdict(
            "verify with another word",
            .rejectedAt(3),
            """
            server {
              listen 8080;
              ssl_verify_client maybe;
            }
            """
        ),
        NginxVerdict(
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
        NginxVerdict(
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
