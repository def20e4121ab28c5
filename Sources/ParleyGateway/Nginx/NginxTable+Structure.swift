extension NginxTable {
    mutating func addStructure() {
        self.block("events", .main, 0...0, .events)
        self.block("http", .main, 0...0, .http)
        self.block("server", .http, 0...0, .server)
        self.block("upstream", .http, 1...1, .upstream)
        self.block("map", .http, 2...2, .map)
        self.block("types", .everyLevel, 0...0, .types)
        self.block("location", [.server, .location], 1...2, .location)
        self.block("if", [.server, .location], 1...Int.max, .condition)
        // With one argument it has been replaced by what it includes.
        self.add("include", NginxContexts(rawValue: .max), 1...1, repeats: true) { (_, _, _) in }

        self.add("worker_processes", .main, 1...1) { (reader, _, directive) throws(NginxProblem) in
            guard directive.argument(0).text != "auto" else {
                reader.model.workers = nil
                return
            }
            guard let count = NginxValue.number(directive.argument(0).bytes), count > 0 else {
                throw directive.problem("invalid value", hint: "a number, or auto")
            }
            reader.model.workers = min(count, 1_024)
        }
        self.add("worker_connections", .events, 1...1) { (reader, _, directive) throws(NginxProblem) in
            reader.workerConnections = try directive.number()
        }
        self.add("error_log", [.main, .http, .server, .location], 1...Int.max, repeats: true) {
            (_, _, directive) throws(NginxProblem) in
            let levels = ["debug", "info", "notice", "warn", "error", "crit", "alert", "emerg"]
            for word in directive.arguments.dropFirst() where !levels.contains(word.text) {
                guard !word.text.hasPrefix("debug_") else { continue }
                throw NginxProblem(
                    "invalid log level \"\(word.text)\"",
                    at: word.place,
                    hint: "one of \(levels.joined(separator: ", "))"
                )
            }
        }
    }

    mutating func addConnection() {
        let levels = NginxContexts.httpAndServer
        self.add("listen", .server, 1...Int.max, repeats: true) { (reader, scope, directive) throws(NginxProblem) in
            try reader.listen(directive, &scope)
        }
        self.add("server_name", .server, 1...Int.max, repeats: true) {
            (reader, scope, directive) throws(NginxProblem) in
            try reader.serverName(directive, &scope)
        }
        self.flag("http2", levels) { $0.server.http2 = $1 }
        self.milliseconds("client_header_timeout", levels) { $0.connection.clientHeaderTimeout = $1 }
        self.size("client_header_buffer_size", levels) { $0.connection.clientHeaderBufferSize = $1 }
        self.add("large_client_header_buffers", levels, 2...2) { (_, scope, directive) throws(NginxProblem) in
            (scope.connection.largeHeaderBuffers, scope.connection.largeHeaderBufferSize) = try directive.buffers()
        }
        self.flag("ignore_invalid_headers", levels) { $0.connection.ignoresInvalidHeaders = $1 }
        self.flag("merge_slashes", levels) { $0.connection.mergesSlashes = $1 }
        self.flag("underscores_in_headers", levels) { $0.connection.allowsUnderscores = $1 }
        self.number("http2_max_concurrent_streams", levels) {
            // The frame that tells the client has 32 bits for it.
            $0.connection.maxConcurrentStreams = min($1, Int(Int32.max))
        }
        self.add("resolver", .everyLevel, 1...Int.max) { (reader, _, directive) throws(NginxProblem) in
            try reader.resolver(directive)
        }
    }

    mutating func addIgnored() {
        self.ignore("user", .main, 1...2, because: "start the gateway as the user that it is to run as")
        self.ignore("pid lock_file debug_points working_directory worker_priority timer_resolution", .main)
        self.ignore("worker_rlimit_core env worker_shutdown_timeout daemon master_process pcre_jit", .main)
        self.ignore("worker_rlimit_nofile", .main, because: "set the limit where the gateway is started")
        self.ignore("worker_cpu_affinity", .main, 1...Int.max)
        self.ignore("thread_pool", .main, 2...3)
        self.ignore("use multi_accept accept_mutex accept_mutex_delay debug_connection epoll_events", .events)
        self.ignore("worker_aio_requests", .events)
        self.ignore("variables_hash_max_size variables_hash_bucket_size server_names_hash_max_size", .http)
        self.ignore("server_names_hash_bucket_size map_hash_max_size map_hash_bucket_size", .http)
        self.ignore("http2_recv_buffer_size", .http)
        self.ignore("connection_pool_size request_pool_size http2_pool_size", .httpAndServer)
        self.ignore("http2_max_concurrent_pushes http2_body_preread_size http2_max_requests", .httpAndServer)
        self.ignore("http2_max_field_size http2_max_header_size http2_idle_timeout", .httpAndServer)
        self.ignore("http2_recv_timeout", .httpAndServer)
        self.ignore("ssl_buffer_size ssl_ecdh_curve ssl_session_tickets ssl_session_timeout", .httpAndServer)
        self.ignore("ssl_prefer_server_ciphers ssl_dhparam ssl_verify_depth", .httpAndServer)
        self.ignore("ssl_session_cache", .httpAndServer, 1...2)
        self.ignore("types_hash_max_size types_hash_bucket_size sendfile sendfile_max_chunk aio", .everyLevel)
        self.ignore("aio_write read_ahead directio directio_alignment tcp_nopush tcp_nodelay", .everyLevel)
        self.ignore("send_lowat postpone_output client_body_in_single_buffer lingering_close", .everyLevel)
        self.ignore("lingering_time lingering_timeout reset_timedout_connection msie_padding", .everyLevel)
        self.ignore("msie_refresh log_not_found log_subrequest resolver_timeout http2_chunk_size", .everyLevel)
        self.ignore("output_buffers gzip_buffers", .everyLevel, 2...2)
        self.ignore("gzip_window gzip_hash postpone_gzipping", .everyLevel)
        self.ignore("gzip_disable", .everyLevel, 1...Int.max, because: "whoever accepts gzip gets it")
        self.ignore("keepalive_disable", .everyLevel, 1...2)
        self.ignore("client_body_temp_path proxy_temp_path", .everyLevel, 1...4)
        self.ignore("limit_req_log_level limit_conn_log_level", .everyLevel)
        self.ignore("proxy_headers_hash_max_size proxy_headers_hash_bucket_size", .everyLevel)
        self.ignore("proxy_socket_keepalive grpc_socket_keepalive proxy_send_lowat", .everyLevel)
        self.ignore("proxy_max_temp_file_size proxy_temp_file_write_size", .everyLevel)
        self.ignore("proxy_ssl_session_reuse grpc_ssl_session_reuse", .everyLevel)
        self.ignore("proxy_ssl_verify_depth grpc_ssl_verify_depth", .everyLevel)
        self.ignore("open_log_file_cache", .everyLevel, 1...4)
        let tls = "connections to upstreams use TLS 1.2 and 1.3 with the library's ciphers"
        self.ignore("proxy_ssl_protocols grpc_ssl_protocols", .everyLevel, 1...Int.max, because: tls)
        self.ignore("proxy_ssl_ciphers grpc_ssl_ciphers", .everyLevel, because: tls)
        let rewriting: NginxContexts = [.http, .server, .location, .serverIf, .locationIf]
        self.ignore("rewrite_log uninitialized_variable_warn", rewriting)

        let hint = "leave it out"
        self.only(["off"], "charset", .everyLevel, hint: "send the charset in the service's Content-Type")
        self.only(["off"], "recursive_error_pages", .everyLevel, hint: "an error page is looked up once")
        self.only(["on"], "chunked_transfer_encoding", .everyLevel, hint: hint)
        self.only(["off"], "proxy_cache", .everyLevel, hint: "the gateway has no cache")
        self.only(["off"], "proxy_store", .everyLevel, hint: "the gateway stores no answers")
        self.only(["off"], "proxy_force_ranges", .everyLevel, hint: hint)
        self.only(["off"], "proxy_cookie_flags", .everyLevel, hint: "set the flags in the service behind")
        self.only(["off"], "proxy_bind", .everyLevel, hint: "connections leave from the address the system chooses")
        self.only(["0"], "limit_rate", .everyLevel, hint: "limit_req limits requests, limit_conn connections")
        self.only(["0"], "proxy_limit_rate", .everyLevel, hint: "limit_req limits requests, limit_conn connections")
        self.only(["off"], "expires", .everyLevel, hint: "use add_header Cache-Control")
        self.only(["off"], "auth_request", .everyLevel, hint: "use auth_basic, or JWT and API keys of parley.yaml")
        self.only(["off"], "mirror", .everyLevel, hint: "requests cannot be sent twice")
        self.only(["off"], "gunzip", .everyLevel, hint: "ask the service behind for what the client takes")
        self.only(["off"], "ssi", .everyLevel, hint: "pages are not assembled")
        self.only(["off"], "autoindex", .everyLevel, hint: "the gateway serves no files")
        self.only(["off"], "gzip_static", .everyLevel, hint: "the gateway serves no files")
        self.only(["off"], "open_file_cache", .everyLevel, hint: "the gateway serves no files")
        self.only(["off"], "client_body_in_file_only", .everyLevel, hint: hint)
        self.only(["off"], "ssl_stapling", .httpAndServer, hint: "OCSP is not stapled")
        self.only(["off"], "ssl_early_data", .httpAndServer, hint: "0-RTT is never accepted")
        self.only(["off"], "ssl_reject_handshake", .httpAndServer, hint: "write a server with a certificate")
        self.only(["off"], "http2_push_preload", .everyLevel, hint: "nothing is pushed")
    }
}

extension NginxDirective {
    /// A number and a size.
    func buffers() throws(NginxProblem) -> (Int, Int) {
        guard let count = NginxValue.number(self.argument(0).bytes), count > 0,
            let size = NginxValue.size(self.argument(1).bytes), size > 0,
            size <= NginxValue.largestBuffer / count
        else { throw self.problem("invalid value", hint: "a number and a size: 8 16k, together at most 1024m") }
        return (count, size)
    }
}
