/// rewrite, return, if, set, error_page, internal, map.
enum RewriteScenarios {
    private static let codes = [
        200, 201, 204, 301, 302, 303, 304, 307, 308, 400, 401, 403, 404, 405, 408, 410, 413, 414, 416, 429, 444, 499,
        500, 501, 502, 503, 504, 507, 599,
    ]

    static let all: [Scenario] = [
        .server(
            "rewrite: flags",
            """
            rewrite ^/server/(.*)$ /last/$1;
            location /last/ { rewrite ^/last/(.*)$ /final/$1 last; return 200 "not reached $uri"; }
            location /break/ { rewrite ^/break/(.*)$ /final/$1 break; proxy_pass http://{up1}; }
            location /break-uri/ { rewrite ^/break-uri/(.*)$ /final/$1 break; proxy_pass http://{up1}/ignored/; }
            location /redirect/ { rewrite ^/redirect/(.*)$ /to/$1 redirect; }
            location /permanent/ { rewrite ^/permanent/(.*)$ http://else.test/$1 permanent; }
            location /question/ { rewrite ^/question/(.*)$ /final/$1? last; }
            location /args/ { rewrite ^/args/(.*)$ /final/?p=$1 last; }
            location /args-none/ { rewrite ^/args-none/(.*)$ /final/?p=$1? last; }
            location /two/ { rewrite ^/two/(.*)$ /one/$1; rewrite ^/one/(.*)$ /final/$1 last; }
            location /loop/ { rewrite ^/loop/(.*)$ /loop/$1 last; }
            location /host/ { rewrite ^ https://$host$request_uri? permanent; }
            location /noflag/ { rewrite ^/noflag/(.*)$ /final/$1; proxy_pass http://{up1}; }
            location /final/ { return 200 "final $uri|$args|$request_uri"; }
            location / { proxy_pass http://{up2}; }
            """,
            Variants.all(
                Variants.spellings([
                    "/server/a", "/last/b", "/break/c", "/break-uri/d", "/redirect/e", "/permanent/f", "/question/g",
                    "/args/h",
                    "/args-none/i", "/two/j", "/loop/k", "/host/l", "/noflag/m",
                ]),
                more: 60
            )
        ),
        .server(
            "return: codes and texts",
            Self.codes
                .map {
                    "location = /c/\($0) { return \($0); }\nlocation = /t/\($0) { return \($0) \"text for $uri\"; }"
                }
                .joined(separator: "\n")
                    + """

                    location /url { return http://$host/to$request_uri; }
                    location /302 { return 302 /local?$args; }
                    location /301 { return 301 https://$host$request_uri; }
                    location /scheme { return 307 $scheme://$http_host/x; }
                    location /typed { default_type application/json; return 200 '{"a": "$arg_a"}'; }
                    location /empty { return 200 ""; }
                    """,
            Variants.all(
                Self.codes
                    .flatMap { ["/c/\($0)", "/t/\($0)?x"] }
                    + Variants.spellings(["/url", "/302", "/301", "/scheme", "/typed", "/empty"]),
                more: 150
            )
        ),
        .server(
            "if and set",
            """
            set $kind other;
            if ($request_method = POST) { set $kind post; }
            if ($arg_kind) { set $kind "arg-$arg_kind"; }
            if ($http_x_kind ~* ^(a|b)) { set $kind "header-$1"; }
            if ($host != t.test) { return 421 "wrong host $host"; }
            location /set { return 200 "$kind"; }
            location /in {
                if ($args ~ stop) { return 403; }
                if ($http_x_kind !~ a) { return 200 "no a"; }
                if ($request_uri ~* "\\?deny=(.*)") { rewrite ^ /set? last; }
                return 200 "in $kind";
            }
            location /proxy {
                if ($arg_up = 2) { set $kind "$kind-2"; }
                proxy_set_header X-Kind $kind;
                proxy_pass http://{up1};
            }
            location /break { set $a 1; break; set $a 2; return 200 "never"; proxy_pass http://{up1}/$a/; }
            """,
            Variants.all(
                [
                    "/set", "/set?kind=q", "/in", "/in?stop", "/in?deny=1", "/proxy", "/proxy?up=2", "/proxy?up=22",
                    "/break", "/in?kind=",
                ],
                more: 120,
                fields: [[], ["X-Kind: apple"], ["X-Kind: B"], ["X-Kind: c"], ["Host: else.test"], ["Host: T.TEST:81"]]
            )
        ),
        .server(
            "error_page",
            """
            error_page 404 /404.html;
            error_page 500 502 503 504 = /50x;
            error_page 403 =200 /forbidden;
            error_page 410 http://gone.test/;
            error_page 401 =302 /login;
            location = /404.html { internal; return 200 "own 404 for $request_uri"; }
            location = /50x { internal; return 200 "own 50x"; }
            location = /forbidden { return 200 "made fine"; }
            location = /login { return 200 login; }
            location /403 { return 403; }
            location /410 { return 410; }
            location /401 { return 401; }
            location /503 { return 503; }
            location /dead { proxy_pass http://{dead}; }
            location /proxy/ { proxy_pass http://{up1}; }
            location /intercept/ { proxy_pass http://{up1}; proxy_intercept_errors on; }
            location /named/ { proxy_pass http://{up1}; proxy_intercept_errors on; error_page 404 = @fallback; }
            location /keep/ { proxy_pass http://{up1}; proxy_intercept_errors on; error_page 404 @fallback; }
            location /code/ { error_page 404 =410 @say; proxy_pass http://{up1}; proxy_intercept_errors on; }
            location @fallback { proxy_pass http://{up2}; }
            location @say { return 418 "said"; }
            location /internal/ { internal; return 200 never; }
            location /void/ { return 404; }
            """,
            Variants.all(
                [
                    "/404.html", "/50x", "/403", "/410", "/401", "/503", "/dead", "/internal/a", "/void/", "/nowhere",
                    "/forbidden",
                ] + ["/proxy/a", "/intercept/a", "/named/a?x=1", "/keep/a", "/code/a"],
                more: 200,
                fields: ["404", "500", "503", "403", "410", "200", "401", "302"].map { ["X-Script: status-\($0)"] }
            )
        ),
        .server(
            "error_page: inheritance, and pages that fail themselves",
            """
            error_page 404 = /second;
            location /second { error_page 404 = @third; proxy_intercept_errors on; proxy_pass http://{up1}; }
            location @third { return 200 third; }
            location /own/ { error_page 500 /none; return 404; }
            location /none { return 200 none; }
            location / { return 404; }
            """,
            Variants.all(
                ["/", "/own/", "/second", "/none"],
                more: 40,
                fields: [["X-Script: status-404"], [], ["X-Script: status-500"]]
            )
        ),
        .server(
            "map",
            """
            location / { return 200 "$by_host|$by_path|$by_agent|$nested|$default_empty"; }
            location /up { proxy_pass http://$pool; proxy_set_header X-Map $by_path; }
            """,
            before: """
                map $http_host $by_host { hostnames; default other; t.test exact; *.t.test wild; .dot.test dot; www.* end; }
                map $uri $by_path { default -; /a letter-a; ~^/b/(?<rest>.+)$ "b-$rest"; ~*^/C case; "~ \\d" space; }
                map "$http_user_agent:$request_method" $by_agent { volatile; default none; ~*curl:GET curl-get; "x:POST" x-post; }
                map $by_host $nested { exact 1; wild 2; default $by_host; }
                map $arg_none $default_empty { x y; }
                map $arg_pool $pool { 1 {up1}; 2 {up2}; default {up3}; }
                """,
            Variants.all(
                ["/", "/a", "/b/c", "/C/x", "/c", "/x 1", "/x%201", "/up?pool=1", "/up?pool=2", "/up", "/?none=x"],
                more: 150,
                fields: [
                    [], ["Host: a.t.test"], ["Host: a.b.t.test"], ["Host: dot.test"], ["Host: x.dot.test"],
                    ["Host: www.any.test"],
                    ["Host: T.TEST"], ["User-Agent: Curl/8"], ["User-Agent: x"], ["Host: else"],
                ]
            )
        ),
        .server(
            "variables",
            """
            location / {
                return 200 "$request_method|$scheme|$host|$http_host|$server_name|$server_port|\
                    $server_addr|$server_protocol|$uri|$document_uri|$request_uri|$args|\
                    $query_string|$is_args|$arg_a|$arg_b_c|$http_user_agent|$http_x_multi|\
                    $http_x_dash_y|$cookie_a|$cookie_none|$remote_addr|$remote_user|\
                    $content_type|$content_length|$https|$request|$status|\
                    $proxy_add_x_forwarded_for|";
            }
            location /up {
                proxy_set_header X-All "$request_method $uri $args $host $proxy_host $proxy_port $scheme $server_port";
                proxy_set_header X-Body $content_length;
                proxy_pass http://{up1};
                add_header X-Up "$upstream_status $upstream_addr $upstream_http_x_up $upstream_http_none" always;
                add_header X-Sent "$sent_http_content_type $sent_http_content_length" always;
            }
            """,
            Variants.all(
                ["/", "/a?a=1&b_c=2", "/a?A=3", "/%41?a=%20", "/up", "/up?x", "/a?a=1&a=2", "/?"],
                more: 200,
                fields: Variants.fields + [
                    ["X-Multi: 1", "X-Multi: 2"], ["X-Dash-Y: d"], ["Cookie: a=x; a=y"], ["Cookie: A=z"],
                ]
            )
        ),
    ]
}
