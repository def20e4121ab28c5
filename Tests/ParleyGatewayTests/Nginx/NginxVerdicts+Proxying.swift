/// What nginx 1.22.1 says about small configurations (`nginx -t`), and the line that it names.
extension NginxVerdict {
    static let proxying: [NginxVerdict] = [
        NginxVerdict(
            "variables in a regex location",
            .accepted,
            """
            server {
              listen 8080;
              location ~ ^/(.*)$ { proxy_pass http://127.0.0.1/$1; }
            }
            """
        ),
        NginxVerdict(
            "upstream with a port",
            .rejectedAt(4),
            """
            upstream a { server 127.0.0.1; }
            server {
              listen 8080;
              location / { proxy_pass http://a:81; }
            }
            """
        ),
        NginxVerdict(
            "proxy_pass with a bad port",
            .rejectedAt(4),
            """
            server {
              listen 8080;
              location / {
                proxy_pass http://127.0.0.1:0;
              }
            }
            """
        ),
        NginxVerdict(
            "next upstream",
            .accepted,
            """
            server {
              listen 8080;
              proxy_next_upstream error timeout http_500 non_idempotent;
              proxy_next_upstream_tries 2;
              proxy_next_upstream_timeout 1s;
            }
            """
        ),
        NginxVerdict(
            "next upstream with an unknown word",
            .rejectedAt(3),
            """
            server {
              listen 8080;
              proxy_next_upstream error http_501;
            }
            """
        ),
        NginxVerdict(
            "http version",
            .rejectedAt(3),
            """
            server {
              listen 8080;
              proxy_http_version 1.2;
            }
            """
        ),
        NginxVerdict(
            "set header with one argument",
            .rejectedAt(3),
            """
            server {
              listen 8080;
              proxy_set_header Host;
            }
            """
        ),
        NginxVerdict(
            "redirect default without proxy_pass",
            .rejectedAt(3),
            """
            server {
              listen 8080;
              proxy_redirect default;
            }
            """
        ),
        NginxVerdict(
            "redirects",
            .accepted,
            """
            server { listen 8080; location / { proxy_pass http://127.0.0.1;
             proxy_redirect default;
             proxy_redirect http://a/ /b/;
             proxy_redirect ~^http://c/(.*)$ /d/$1; } }
            """
        ),
        NginxVerdict(
            "redirect off and another",
            .rejectedAt(3),
            """
            server { listen 8080; location / { 
             proxy_redirect off;
             proxy_redirect http://a/ /b/; } }
            """
        ),
        NginxVerdict(
            "buffers that do not fit",
            .rejected,
            """
            server {
              listen 8080;
              location / {
                proxy_pass http://127.0.0.1;
                proxy_buffer_size 128k;
              }
            }
            """
        ),
        NginxVerdict(
            "one buffer",
            .rejected,
            """
            server {
              listen 8080;
              proxy_buffers 1 8k;
            }
            """
        ),
        NginxVerdict(
            "buffers",
            .accepted,
            """
            server {
              listen 8080;
              proxy_buffer_size 16k;
              proxy_buffers 8 16k;
              proxy_busy_buffers_size 32k;
            }
            """
        ),
        NginxVerdict(
            "grpc",
            .accepted,
            """
            server { listen 8080; location / { grpc_pass grpc://127.0.0.1:1;
             grpc_set_header A b;
             grpc_read_timeout 1m; } }
            """
        ),
        NginxVerdict(
            "grpc without a scheme",
            .accepted,
            """
            server { listen 8080; location / { grpc_pass 127.0.0.1:1; } }
            """
        ),
        NginxVerdict(
            "grpc with a path",
            .rejectedAt(4),
            """
            server {
              listen 8080;
              location / {
                grpc_pass grpc://127.0.0.1:1/a;
              }
            }
            """
        ),
        NginxVerdict(
            "https that is verified against nothing",
            .rejected,
            """
            server {
              listen 8080;
              location / { proxy_pass https://127.0.0.1; proxy_ssl_verify on; }
            }
            """
        ),
        NginxVerdict(
            "limit",
            .accepted,
            """
            limit_req_zone $binary_remote_addr zone=a:10m rate=200r/m;
            server {
              listen 8080;
              limit_req zone=a burst=5 nodelay;
            }
            """
        ),
        NginxVerdict(
            "limit without a zone",
            .rejected,
            """
            server {
              listen 8080;
              limit_req zone=a;
            }
            """
        ),
        NginxVerdict(
            "limit with a small zone",
            .rejectedAt(1),
            """
            limit_req_zone $host zone=a:1k rate=1r/s;
            """
        ),
        NginxVerdict(
            "limit without a size",
            .rejectedAt(1),
            """
            limit_req_zone $host zone=a rate=1r/s;
            """
        ),
        NginxVerdict(
            "limit with a bad rate",
            .rejectedAt(1),
            """
            limit_req_zone $host zone=a:1m rate=1r/h;
            """
        ),
        NginxVerdict(
            "limit zone twice",
            .rejectedAt(2),
            """
            limit_req_zone $host zone=a:1m rate=1r/s;
            limit_req_zone $uri zone=a:1m rate=1r/s;
            """
        ),
        NginxVerdict(
            "limit twice in a place",
            .rejectedAt(5),
            """
            limit_req_zone $host zone=a:1m rate=1r/s;
            server {
              listen 8080;
              limit_req zone=a;
              limit_req zone=a burst=2;
            }
            """
        ),
        NginxVerdict(
            "limit with burst zero",
            .rejectedAt(4),
            """
            limit_req_zone $host zone=a:1m rate=1r/s;
            server {
              listen 8080;
              limit_req zone=a burst=0;
            }
            """
        ),
        NginxVerdict(
            "limit without its zone parameter",
            .rejectedAt(3),
            """
            server {
              listen 8080;
              limit_req burst=1;
            }
            """
        ),
        NginxVerdict(
            "limit of connections",
            .accepted,
            """
            limit_conn_zone $host zone=a:1m;
            server {
              listen 8080;
              limit_conn a 10;
              limit_conn_status 429;
            }
            """
        ),
        NginxVerdict(
            "too many connections",
            .rejectedAt(4),
            """
            limit_conn_zone $host zone=a:1m;
            server {
              listen 8080;
              limit_conn a 65536;
            }
            """
        ),
        NginxVerdict(
            "a zone for another use",
            .rejectedAt(4),
            """
            limit_conn_zone $host zone=a:1m;
            server {
              listen 8080;
              limit_req zone=a;
            }
            """
        ),
        NginxVerdict(
            "allow and deny",
            .accepted,
            """
            server {
              listen 8080;
              allow 10.0.0.0/8;
              allow ::1;
              deny all;
              satisfy any;
            }
            """
        ),
        NginxVerdict(
            "allow of no address",
            .rejectedAt(3),
            """
            server {
              listen 8080;
              allow example;
            }
            """
        ),
        NginxVerdict(
            "satisfy with another word",
            .rejectedAt(3),
            """
            server {
              listen 8080;
              satisfy some;
            }
            """
        ),
        NginxVerdict(
            "basic auth",
            .accepted,
            """
            server {
              listen 8080;
              auth_basic "a realm";
              auth_basic_user_file users;
            }
            """
        ),
        NginxVerdict(
            "add_header",
            .accepted,
            """
            server {
              listen 8080;
              add_header A b;
              add_header A $host always;
            }
            """
        ),
        NginxVerdict(
            "add_header sometimes",
            .rejectedAt(3),
            """
            server {
              listen 8080;
              add_header A b sometimes;
            }
            """
        ),
        NginxVerdict(
            "error_page",
            .accepted,
            """
            server {
              listen 8080;
              error_page 404 /404;
              error_page 500 502 =503 @a;
              error_page 418 = http://a/;
            }
            """
        ),
        NginxVerdict(
            "error_page of 200",
            .rejectedAt(3),
            """
            server {
              listen 8080;
              error_page 200 /a;
            }
            """
        ),
        NginxVerdict(
            "error_page of 499",
            .rejectedAt(3),
            """
            server {
              listen 8080;
              error_page 499 /a;
            }
            """
        ),
        NginxVerdict(
            "error_page without a status",
            .rejectedAt(3),
            """
            server {
              listen 8080;
              error_page =200 /a;
            }
            """
        ),
        NginxVerdict(
            "log format",
            .accepted,
            """
            log_format a '$remote_addr' ' $status';
            server {
              listen 8080;
              access_log /dev/null a;
            }
            """
        ),
        NginxVerdict(
            "log format that is unknown",
            .rejectedAt(3),
            """
            server {
              listen 8080;
              access_log /dev/null a;
            }
            """
        ),
        NginxVerdict(
            "log format that comes later",
            .rejectedAt(3),
            """
            server {
              listen 8080;
              access_log /dev/null a;
            }
            log_format a '$status';
            """
        ),
        NginxVerdict(
            "log format twice",
            .rejectedAt(2),
            """
            log_format a x;
            log_format a y;
            """
        ),
        NginxVerdict(
            "access_log off and more",
            .rejectedAt(3),
            """
            server {
              listen 8080;
              access_log off a;
            }
            """
        ),
    ]
}
