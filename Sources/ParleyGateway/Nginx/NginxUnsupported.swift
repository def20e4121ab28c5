/// What nginx has and the gateway has not, with what to write instead.
enum NginxUnsupported {
    static func problem(_ word: NginxWord, in context: NginxContexts) -> NginxProblem {
        let name = word.text
        if let hint = Self.hints[name] ?? Self.familyHints.first(where: { name.hasPrefix($0.prefix) })?.hint {
            return NginxProblem("\"\(name)\" directive is not supported", at: word.place, hint: hint)
        }
        if Self.names.contains(name) {
            let near = Self.nearest(to: name, among: Self.supported(in: context), limit: name.utf8.count)
            return NginxProblem(
                "\"\(name)\" directive is not supported",
                at: word.place,
                hint: near.map { "the nearest that is supported is \"\($0)\"" }
            )
        }
        let near =
            Self.nearest(to: name, among: Self.supported(in: context))
            ?? Self.nearest(to: name, among: Array(NginxTable.all.rules.keys))
        return NginxProblem(
            "unknown directive \"\(name)\"",
            at: word.place,
            hint: near.map { "did you mean \"\($0)\"?" }
        )
    }

    private static func supported(in context: NginxContexts) -> [String] {
        NginxTable.all.rules.filter { $0.value.contains { $0.contexts.contains(context) } }.map(\.key)
    }

    /// The name with the fewest edits, if these are few for its length.
    static func nearest(to name: String, among names: [String], limit: Int? = nil) -> String? {
        let bytes = Array(name.utf8)
        guard bytes.count <= 64 else { return nil }
        let limit = limit ?? max(1, min(3, bytes.count / 3))
        var best: (name: String, distance: Int)?
        for candidate in names.sorted() where abs(candidate.utf8.count - bytes.count) <= limit {
            let distance = Self.distance(bytes, Array(candidate.utf8))
            if distance <= limit, distance < best?.distance ?? Int.max { best = (candidate, distance) }
        }
        return best?.name
    }

    /// How many bytes must be put in, taken out or replaced to make one of the other (Levenshtein).
    static func distance(_ one: [UInt8], _ other: [UInt8]) -> Int {
        var row = Array(0...other.count)
        for (index, byte) in one.enumerated() {
            var next = [index + 1]
            for (column, otherByte) in other.enumerated() {
                let replaced = row[column] + (byte == otherByte ? 0 : 1)
                next.append(min(replaced, min(row[column + 1], next[column]) + 1))
            }
            row = next
        }
        return row.last ?? one.count
    }

    private static let noFiles = "the gateway serves no files: pass them to a server with proxy_pass"
    private static let noCache = "the gateway has no cache"
    private static let onlyHTTP = "only http and https (proxy_pass) and grpc (grpc_pass) upstreams are supported"

    private static let hints: [String: String] = [
        "root": Self.noFiles, "alias": Self.noFiles, "index": Self.noFiles, "autoindex": Self.noFiles,
        "try_files": "\(Self.noFiles), or write \"error_page 404 = @name;\" and proxy_intercept_errors on",
        "limit_except": "write a location for the path and \"if ($request_method …) { return 405; }\" in it",
        "stream": "the gateway speaks HTTP only", "mail": "the gateway speaks HTTP only",
        "geo": "use \"map $remote_addr $name { … }\" with exact addresses, or allow and deny",
        "split_clients": "use \"random\" or \"hash … consistent\" in an upstream",
        "auth_request": "use auth_basic, or JWT and API keys of parley.yaml",
        "mirror": "requests cannot be sent twice",
        "limit_rate": "limit_req limits requests, limit_conn connections; bytes are not limited",
        "limit_rate_after": "limit_req limits requests, limit_conn connections; bytes are not limited",
        "proxy_limit_rate": "limit_req limits requests, limit_conn connections; bytes are not limited",
        "expires": "use add_header Cache-Control", "add_trailer": "use add_header",
        "proxy_cookie_flags": "set the flags in the service behind, or map $upstream_http_set_cookie and add_header",
        "proxy_set_body": "bodies are passed on as they come",
        "load_module": "modules of nginx cannot be loaded; most of what they add is built in or in parley.yaml",
        "health_check": "active health checks are in parley.yaml; max_fails and fail_timeout are supported here",
        "check": "active health checks are in parley.yaml; max_fails and fail_timeout are supported here",
        "sticky": "use \"hash $cookie_name consistent\"",
        "sticky_cookie_insert": "use \"hash $cookie_name consistent\"",
        "fair": "use least_conn", "least_time": "use least_conn", "queue": "circuit rules are in parley.yaml",
        "ntlm": "use keepalive", "state": "write the servers, or a service of the registry in parley.yaml",
        "status_zone": "metrics are kept for every server and location",
        "api": "the admin API is a listener of its own",
        "status": "use stub_status, or the admin API", "more_set_headers": "use add_header … always",
        "more_clear_headers": "use proxy_hide_header", "more_set_input_headers": "use proxy_set_header",
        "headers_more": "use add_header", "echo": "use \"return 200 text\"",
        "default": "this is an entry of a map", "upstream_conf": "use the admin API",
        "ssl_reject_handshake": "write a server with a certificate and \"return 444;\"",
        "ssl_password_file": "give the key without a password, readable only by the gateway's user",
        "ssl_crl": "revocation lists are not read: use short-lived client certificates",
        "ssl_early_data": "0-RTT is never accepted",
        "ssl_stapling": "OCSP is not stapled", "ssl_conf_command": "use ssl_protocols and ssl_ciphers",
        "auth_delay": "use limit_req", "http3": "HTTP/3 is not supported, use \"http2 on\"",
        "quic_retry": "HTTP/3 is not supported", "keyval": "use map", "valid_referers": "use map $http_referer",
        "gunzip": "ask the service behind for what the client takes", "image_filter": "use a service of its own",
        "sub_filter": "bodies are passed on as they come", "secure_link": "use JWT rules of parley.yaml",
        "post_action": "log to a file or use metrics", "disable_symlinks": Self.noFiles,
        "proxy_bind": "connections leave from the address that the system chooses",
        "upstream": "it belongs in http",
    ]

    private static let familyHints: [(prefix: String, hint: String)] = [
        ("fastcgi_", Self.onlyHTTP), ("uwsgi_", Self.onlyHTTP), ("scgi_", Self.onlyHTTP),
        ("memcached_", Self.onlyHTTP), ("redis", Self.onlyHTTP), ("proxy_cache", Self.noCache),
        ("proxy_no_cache", Self.noCache), ("proxy_store", Self.noCache), ("slice", Self.noCache),
        ("auth_jwt", "JWT rules are in parley.yaml"), ("brotli", "use gzip"), ("zstd", "use gzip"),
        ("lua_", "scripts are not run: use map, set and rewrite"),
        ("init_by_lua", "scripts are not run: use map, set and rewrite"),
        ("access_by_lua", "scripts are not run: use allow, deny, auth_basic"),
        ("rewrite_by_lua", "scripts are not run: use map, set and rewrite"),
        ("content_by_lua", "scripts are not run: use return or proxy_pass"),
        ("header_filter_by_lua", "scripts are not run: use add_header"),
        ("set_by_lua", "scripts are not run: use map"), ("balancer_by_lua", "scripts are not run: use hash"),
        ("body_filter_by_lua", "scripts are not run"), ("log_by_lua", "scripts are not run: use log_format"),
        ("js_", "scripts are not run: use map, set and rewrite"), ("perl", "scripts are not run: use map"),
        ("geoip", "ask a service behind"), ("ssi", "pages are not assembled"), ("xslt", "pages are not assembled"),
        ("dav_", Self.noFiles), ("image_filter_", "use a service of its own"), ("mp4", Self.noFiles),
        ("flv", Self.noFiles), ("sub_filter_", "bodies are passed on as they come"),
        ("modsecurity", "use allow, deny, limit_req and JWT rules of parley.yaml"),
        ("vhost_traffic_status", "metrics are kept for every server and location"),
        ("opentracing", "traces are passed on by themselves"), ("otel_", "traces are passed on by themselves"),
        ("quic_", "HTTP/3 is not supported"), ("http3_", "HTTP/3 is not supported"),
        ("ssl_stapling", "OCSP is not stapled"), ("ssl_ocsp", "OCSP is not asked"),
        ("stream_", "the gateway speaks HTTP only"), ("mail_", "the gateway speaks HTTP only"),
        ("open_file_", Self.noFiles), ("userid", "use \"add_header Set-Cookie\""),
        ("secure_link_", "use JWT rules of parley.yaml"),
    ]

    /// Other directives of nginx 1.22 and of later versions.
    private static let names = Set(
        """
        accept_filter add_after_body add_before_body addition_types ancient_browser ancient_browser_value \
        auth_request_set autoindex_exact_size autoindex_format autoindex_localtime charset_map charset_types \
        create_full_put_path degradation degrade empty_gif etag gunzip_buffers gzip_no_buffer gzip_static \
        if_modified_since max_ranges min_delete_depth mirror_request_body modern_browser modern_browser_value \
        override_charset proxy_force_ranges proxy_ssl_conf_command proxy_ssl_crl proxy_ssl_password_file \
        grpc_bind grpc_ssl_conf_command grpc_ssl_crl grpc_ssl_password_file random_index \
        referer_hash_bucket_size referer_hash_max_size source_charset ssl_engine ssl_session_ticket_key \
        subrequest_output_buffer_size chunked_transfer_encoding client_body_in_file_only http2_push \
        http2_push_preload proxy_ssl_key_log ssl_key_log internal_redirect
        """.split(separator: " ").map(String.init)
    )
}
