import ParleyGateway
import Testing

@Suite struct NginxErrorTests {
    private func first(_ text: String, _ others: [String: String] = [:]) -> String? {
        nginxProblems(text, others).first?.description
    }

    @Test func aProblemSaysWhereWhatAndWhatInstead() {
        #expect(
            self.first("server {\n  location / {\n    proxy_pas http://a;\n  }\n}")
                == "/etc/nginx/test.conf:3:5: unknown directive \"proxy_pas\" (did you mean \"proxy_pass\"?)"
        )
        #expect(
            self.first("server {\n  root /var/www;\n}")
                == "/etc/nginx/test.conf:2:3: \"root\" directive is not supported (the gateway serves no files: pass them "
                + "to a server with proxy_pass)"
        )
    }

    /// Who reads one line after the other sees one problem after the other.
    @Test func aWordOfSeveralLinesIsSaidInOne() {
        #expect(
            self.first("server { \"proxy\nhost\" on; }")?
                .hasPrefix("/etc/nginx/test.conf:1:10: unknown directive \"proxy\\nhost\"") == true
        )
    }

    @Test(arguments: [
        "root /a", "alias /a", "try_files $uri =404", "index a", "autoindex on", "fastcgi_pass a", "uwsgi_pass a",
        "memcached_pass a", "limit_except GET", "perl a", "content_by_lua_block a", "js_content a", "dav_methods PUT",
        "sub_filter a b", "geo $a", "split_clients $a $b", "ssi on", "image_filter test", "empty_gif", "flv", "mp4",
        "auth_jwt a", "health_check", "random_index on", "proxy_cache_path /a", "slice 1m", "secure_link a",
    ])
    func whatIsNotSupportedHasAHint(_ directive: String) throws {
        for end in [";", " { }"] {
            let found = nginxProblems("server { location / { \(directive)\(end) } }")
            #expect(found.count == 1)
            #expect(found.first?.place.column == 23)
            #expect(
                found.first?.message.contains("not supported") == true
                    || found.first?.message.contains("only as") == true
                    || found.first?.message.contains("is not terminated") == true
            )
        }
    }

    @Test func otherProtocolsAreNotSupported() {
        #expect(nginxProblems("events { } stream { server { listen 1; } } http { }").map(\.place.column) == [12])
        #expect(nginxProblems("stream { }").first?.message == "\"stream\" directive is not supported")
        #expect(nginxProblems("events { } http { } mail { }").map(\.place.column) == [21])
        #expect(nginxProblems("load_module a.so; events { } http { }").first?.hint != nil)
    }

    @Test func allProblemsOfAFileAreCollected() {
        let lines = (1...30).map { "  nonsense\($0);" }
        let found = nginxProblems("server {\n\(lines.joined(separator: "\n"))\n}")
        #expect(found.count == 20)
        #expect(found.map(\.place.line) == Array(2...21))
        let text = "server {\n  listen x;\n  location / { proxy_pass a; return 200 $b; }\n  gzip maybe;\n"
        // The end of the file comes last, and what is seen only at the end is left out.
        #expect(nginxProblems(text).map(\.place.line) == [2, 3, 4, 5])
    }

    @Test func errorsAreOneInALine() {
        do throws(NginxErrors) {
            _ = try nginxModel("a;\nb;")
            Issue.record("it is no configuration")
        } catch {
            #expect(error.description.split(separator: "\n").count == 2)
        }
    }

    @Test func placesInIncludedFiles() {
        let files = ["/etc/nginx/a.conf": "server {\n  include b/*.conf;\n}", "/etc/nginx/b/c.conf": "\n listen;"]
        #expect(self.first("include a.conf;", files)?.hasPrefix("/etc/nginx/b/c.conf:2:2: invalid number") == true)
        #expect(nginxProblems("include missing.conf;\nserver { }").map(\.place.line) == [1])
    }

    @Test func includesThatIncludeThemselvesEnd() {
        let found = nginxProblems("include test.conf;")
        #expect(found.count == 1)
        #expect(found.first?.message.contains("may include itself") == true)
        let pair = ["/etc/nginx/a": "include b; include b;", "/etc/nginx/b": "include a; include a;"]
        #expect(!nginxProblems("include a;", pair).isEmpty)
    }

    @Test func nestingHasALimit() {
        let deep = String(repeating: "location / {", count: 10_000)
        #expect(nginxProblems("server { \(deep)").contains { $0.message.contains("nested more than") })
        let some = String(repeating: "location / { ", count: 50) + String(repeating: "}", count: 50)
        #expect(nginxProblems("server { \(some) }").isEmpty)
    }

    @Test func unknownNamesHaveASuggestion() {
        #expect(nginxProblems("server { return 200 $remote_adr; }").first?.hint == "did you mean \"$remote_addr\"?")
        #expect(nginxProblems("server { return 200 $request_body; }").first?.message.contains("not supported") == true)
        #expect(nginxProblems("map $nothing $a { }").first?.message == "unknown \"nothing\" variable")
        let zone = "limit_req_zone $uri zone=users:1m rate=1r/s; server { limit_req zone=user; }"
        #expect(nginxProblems(zone).first?.hint == "did you mean \"users\"?")
    }

    @Test(arguments: [
        ("server { listen unix:/a; }", "unix"), ("upstream a { server unix:/a; }", "unix"),
        ("server { listen 1 quic; }", "quic"), ("server { access_log syslog:server=a; }", "syslog"),
        ("server { access_log /a$uri; }", "variables"), ("server { ssl_certificate $a; }", "variables"),
        ("server { if (-f /a) { return 404; } }", "files"), ("server { gzip_proxied expired; }", "gzip_proxied"),
        ("server { location / { if ($uri) { proxy_pass http://a; } } }", "inside \"if\""),
        ("server { ssl_protocols TLSv1; }", "no version"), ("server { stub_status; }", "location"),
        ("server { proxy_ssl_name $host; }", "variables"), ("server { add_header \"A B\" c; }", "header name"),
        ("server { proxy_set_header \"A:\\n\" c; }", "header name"),
    ])
    func whatTheModelCannotSayIsAnError(_ text: String, _ word: String) {
        #expect(nginxProblems(text).first?.description.contains(word) == true, "\(nginxProblems(text))")
    }

    @Test func warnings() throws {
        let text =
            "server { listen 1; server_name a; location / { allow 10.0.0.1/8; } } server { listen 1; server_name a; }"
        let messages = try nginxModelWithWarnings(text).1.map(\.message)
        #expect(messages.contains { $0.contains("low address bits") })
        #expect(messages.contains { $0.contains("answers 404") })
        #expect(messages.contains { $0.contains("conflicting server name") })
    }
}
