/// The names of variables, and texts with variables in them.
enum NginxVariables {
    /// Of a name in lower case.
    static func variable(_ name: String) -> Variable? {
        if let variable = Self.names[name] { return variable }
        for (prefix, make) in Self.prefixes where name.hasPrefix(prefix) && name.utf8.count > prefix.utf8.count {
            return make(String(name.dropFirst(prefix.count)))
        }
        return nil
    }

    /// Whether nginx has a variable of this name that the gateway lacks.
    static func isUnsupported(_ name: String) -> Bool {
        Self.unsupported.contains(name)
            || ["upstream_trailer_", "upstream_cookie_", "sent_trailer_", "geoip_", "jwt_"]
                .contains { name.hasPrefix($0) }
    }

    /// Whether `set`, `map` or a capture may not give the name a meaning of their own.
    static func isFixed(_ name: String) -> Bool {
        (Self.names[name] != nil || Self.unsupported.contains(name)) && !["args", "limit_rate"].contains(name)
    }

    private static let prefixes: [(String, @Sendable (String) -> Variable)] = [
        ("arg_", { .argument($0) }), ("cookie_", { .cookie($0) }), ("http_", { .requestField($0) }),
        ("sent_http_", { .responseField($0) }), ("upstream_http_", { .upstreamField($0) }),
    ]

    static let names: [String: Variable] = [
        "args": .args, "query_string": .args, "body_bytes_sent": .bodyBytesSent,
        "binary_remote_addr": .binaryRemoteAddress, "bytes_sent": .bytesSent, "connection": .connection,
        "connection_requests": .connectionRequests, "content_length": .contentLength, "content_type": .contentType,
        "document_uri": .documentURI, "host": .host, "hostname": .hostname, "https": .https, "is_args": .isArgs,
        "limit_req_status": .limitRequestStatus, "limit_conn_status": .limitConnectionStatus, "msec": .milliseconds,
        "pipe": .pipe, "pid": .pid, "proxy_add_x_forwarded_for": .proxyAddForwardedFor, "proxy_host": .proxyHost,
        "proxy_port": .proxyPort, "proxy_protocol_addr": .proxyProtocolAddress,
        "proxy_protocol_port": .proxyProtocolPort, "realip_remote_addr": .realIPRemoteAddress,
        "realip_remote_port": .realIPRemotePort, "remote_addr": .remoteAddress, "remote_port": .remotePort,
        "remote_user": .remoteUser, "request": .request, "request_completion": .requestCompletion,
        "request_id": .requestID, "request_length": .requestLength, "request_method": .requestMethod,
        "request_time": .requestTime, "request_uri": .requestURI, "scheme": .scheme, "server_addr": .serverAddress,
        "server_name": .serverName, "server_port": .serverPort, "server_protocol": .serverProtocol,
        "status": .status, "time_iso8601": .timeISO8601, "time_local": .timeLocal, "uri": .uri,
        "ssl_cipher": .tlsCipher, "ssl_client_fingerprint": .tlsClientFingerprint,
        "ssl_client_s_dn": .tlsClientSubject, "ssl_client_verify": .tlsClientVerify, "ssl_protocol": .tlsProtocol,
        "ssl_server_name": .tlsServerName, "upstream_addr": .upstreamAddress,
        "upstream_bytes_received": .upstreamBytesReceived, "upstream_bytes_sent": .upstreamBytesSent,
        "upstream_connect_time": .upstreamConnectTime, "upstream_header_time": .upstreamHeaderTime,
        "upstream_response_length": .upstreamResponseLength, "upstream_response_time": .upstreamResponseTime,
        "upstream_status": .upstreamStatus,
        "parley_traceparent": .traceparent, "parley_response_flags": .responseFlags,
    ]

    private static let unsupported = Set(
        """
        ancient_browser connection_time connections_active connections_reading connections_waiting \
        connections_writing date_gmt date_local document_root fastcgi_path_info fastcgi_script_name gzip_ratio http2 \
        invalid_referer limit_rate memcached_key modern_browser msie nginx_version proxy_protocol_server_addr \
        proxy_protocol_server_port realpath_root request_body request_body_file request_filename secure_link \
        secure_link_expires slice_range ssl_alpn_protocol ssl_ciphers ssl_client_cert ssl_client_escaped_cert \
        ssl_client_i_dn ssl_client_i_dn_legacy ssl_client_raw_cert ssl_client_s_dn_legacy ssl_client_serial \
        ssl_client_v_end ssl_client_v_remain ssl_client_v_start ssl_curve ssl_curves ssl_early_data ssl_session_id \
        ssl_session_reused tcpinfo_rcv_space tcpinfo_rtt tcpinfo_rttvar tcpinfo_snd_cwnd uid_got uid_reset uid_set \
        upstream_cache_etag upstream_cache_last_modified upstream_cache_status
        """.split(separator: " ").map(String.init)
    )

    /// The names that a regular expression gives to its groups: `(?<name>…)`, `(?P<name>…)`, `(?'name'…)`.
    static func captures(of pattern: [UInt8]) -> [String] {
        var names: [String] = []
        var rest = pattern[...]
        while let byte = rest.popFirst() {
            if byte == 0x5C {
                rest = rest.dropFirst()
                continue
            }
            guard byte == 0x28, rest.first == 0x3F else { continue }
            var inside = rest.dropFirst()
            if inside.first == 0x50 { inside = inside.dropFirst() }
            let close: UInt8 = inside.first == 0x27 ? 0x27 : 0x3E
            guard inside.first == 0x3C || inside.first == 0x27 else { continue }
            let name = inside.dropFirst().prefix { $0 != close }
            if !name.isEmpty, name.allSatisfy(Self.isNamePart) {
                names.append(String(decoding: name, as: UTF8.self).lowercased())
            }
        }
        return names
    }

    static func isNamePart(_ byte: UInt8) -> Bool {
        (0x30...0x39).contains(byte) || (0x41...0x5A).contains(byte) || (0x61...0x7A).contains(byte) || byte == 0x5F
    }

    /// A piece of a text: bytes, a capture, or a variable by its name in lower case.
    enum Piece: Hashable {
        case text([UInt8])
        case capture(Int)
        case name(String)
    }

    static func pieces(_ word: NginxWord) throws(NginxProblem) -> [Piece] {
        var pieces: [Piece] = []
        var text: [UInt8] = []
        var rest = word.bytes[...]
        while let byte = rest.popFirst() {
            guard byte == 0x24 else {
                text.append(byte)
                continue
            }
            if !text.isEmpty {
                pieces.append(.text(text))
                text = []
            }
            if let digit = rest.first, (0x31...0x39).contains(digit) {
                rest.removeFirst()
                pieces.append(.capture(Int(digit) - 0x30))
                continue
            }
            let isBraced = rest.first == 0x7B
            if isBraced { rest.removeFirst() }
            let name = rest.prefix(while: Self.isNamePart)
            rest = rest.dropFirst(name.count)
            if isBraced, rest.popFirst() != 0x7D {
                throw NginxProblem(
                    "the closing bracket in \"\(String(decoding: name, as: UTF8.self))\" variable is missing",
                    at: word.place
                )
            }
            guard !name.isEmpty else {
                throw NginxProblem(
                    "invalid variable name",
                    at: word.place,
                    hint: "a \"$\" always begins a variable; there is no escape for it"
                )
            }
            pieces.append(.name(String(decoding: name, as: UTF8.self).lowercased()))
        }
        if !text.isEmpty { pieces.append(.text(text)) }
        return pieces
    }
}
