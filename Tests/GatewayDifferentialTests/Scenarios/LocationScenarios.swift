/// Which location a request gets, and what URI is sent on.
enum LocationScenarios {
    /// Each location says its name, so that the choice is seen.
    private static func says(_ locations: [String]) -> String {
        locations.map {
            "location \($0) { return 200 \"[\($0.filter { $0 != "\"" && $0 != "\\" && $0 != "$" })] $uri\"; }"
        }
        .joined(separator: "\n")
    }

    private static let paths = ["/", "/api", "/api/users", "/static/a.png", "/Images/b.PNG", "/exact"]

    static let all: [Scenario] = [
        .server(
            "locations: exact, prefix and regex",
            Self.says([
                "/", "= /", "/api", "/api/", "= /api/users", "^~ /static/", "~ \\.png$", "~* \\.(jpg|png)$", "/exact",
                "= /exact", "~ ^/api/users/(\\d+)$", "/api/users/",
            ]),
            Variants.all(
                Variants.spellings(Self.paths) + ["/api/users/12", "/api/users/1x", "/static/x.jpg", "/y.JPG"],
                more: 80
            )
        ),
        .server(
            "locations: without a root location",
            Self.says(["/api/", "~ ^/b(.*)$", "= /c"]),
            Variants.all(Variants.spellings(["/api/", "/b", "/c"]), more: 40)
        ),
        .server(
            "locations: nested",
            """
            location /outer/ {
                return 200 outer;
                location /outer/inner/ { return 200 inner; }
                location = /outer/exact { return 200 exact; }
                location ~ \\.txt$ { return 200 text; }
                location ^~ /outer/plain/ {
                    location ~ x$ { return 200 nested-x; }
                    return 200 plain;
                }
            }
            location ~ ^/re/ {
                location ~ a$ { return 200 re-a; }
                return 200 re;
            }
            location ~ \\.txt$ { return 200 outside; }
            """,
            Variants.all(
                Variants.spellings([
                    "/outer/", "/outer/inner/", "/outer/exact", "/outer/a.txt", "/outer/plain/x", "/re/b", "/re/a",
                    "/z.txt",
                ]),
                more: 40
            )
        ),
        .server(
            "locations: slashes are kept",
            "merge_slashes off;\n" + Self.says(["/", "/a/", "//a/", "/a//b", "~ //c$"])
                + "\nlocation /p/ { proxy_pass http://{up1}; }\nlocation /q/ { proxy_pass http://{up1}/; }",
            Variants.all(Variants.spellings(["/a", "/a//b", "/x//c", "/p/a", "/q//b", "//q/"]), more: 60)
        ),
        .server(
            "locations: captures",
            """
            location ~ ^/user/(?<name>[a-z]+)/(\\d+)$ { return 200 "$name $2 $1 $uri"; }
            location ~* ^/FILE/(.*)\\.(txt|md)$ { return 200 "$1|$2|$args"; }
            location ~ "^/q/[0-9]{2,3}$" { return 200 quantified; }
            location / { return 404; }
            """,
            Variants.all(
                Variants.spellings(["/user/ann/12", "/file/a/b.txt", "/FILE/c.MD", "/q/12", "/q/1", "/q/1234"]),
                more: 40
            )
        ),
        .server(
            "proxy_pass: without a path",
            "location / { proxy_pass http://{up1}; }",
            Variants.all(Variants.spellings(Self.paths), more: 120)
        ),
        .server(
            "proxy_pass: with a path",
            """
            location / { proxy_pass http://{up1}/root/; }
            location /api/ { proxy_pass http://{up2}/; }
            location /bare { proxy_pass http://{up3}/; }
            location /to { proxy_pass http://{up4}/other/place; }
            location = /exact { proxy_pass http://{up5}/just/this; }
            location /query { proxy_pass http://{up5}/with?fixed=1; }
            location /enc/ { proxy_pass http://{up5}/a%20b/; }
            """,
            Variants.all(
                Variants.spellings(["/", "/api", "/api/users", "/bare", "/to", "/exact", "/query", "/enc/x y"]),
                more: 150
            )
        ),
        .server(
            "proxy_pass: with variables",
            """
            set $backend {up1};
            location /plain/ { proxy_pass http://$backend; }
            location /uri/ { proxy_pass http://$backend/fixed; }
            location /request/ { proxy_pass http://{up2}$request_uri; }
            location /normal/ { proxy_pass http://$backend$uri; }
            location /args/ { proxy_pass http://$backend/x?$args; }
            location ~ ^/capture/(.*)$ { proxy_pass http://$backend/c/$1$is_args$args; }
            location ~ ^/re/ { proxy_pass http://{up3}; }
            """,
            Variants.all(
                Variants.spellings(["/plain/a", "/uri/a", "/request/b", "/normal/c", "/args/d", "/capture/e", "/re/f"]),
                more: 100
            )
        ),
        .server(
            "proxy_pass: the slash that is missing",
            """
            location /one/ { proxy_pass http://{up1}; }
            location /two/ { proxy_pass http://{up1}/x/; }
            location /deep/er/ { proxy_pass http://{up1}; }
            location ^~ /three/ { proxy_pass http://{up1}; }
            location /four/ { return 200 four; }
            """,
            Variants.all(Variants.spellings(["/one", "/two", "/deep/er", "/three", "/four"]), more: 80)
        ),
        .server(
            "redirects: relative",
            "absolute_redirect off;\nlocation /one/ { proxy_pass http://{up1}; }\nlocation /r { return 301 /to; }"
                + "\nlocation /w { rewrite ^/w(.*)$ /n$1 redirect; }",
            Variants.all(Variants.spellings(["/one", "/r", "/w"]), more: 30)
        ),
        .server(
            "redirects: by the server's name and without a port",
            "server_name named.test;\nserver_name_in_redirect on;\nport_in_redirect off;\n"
                + "location /one/ { proxy_pass http://{up1}; }\nlocation /r { return 302 /to?$args; }",
            Variants.all(Variants.spellings(["/one", "/r"]), more: 30)
        ),
    ]
}
