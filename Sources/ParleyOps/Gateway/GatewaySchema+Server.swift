internal import ParleyGateway
internal import Yams

extension GatewaySchema {
    /// A virtual server.
    ///
    /// - Parameter isWhole: `false` for keys that may also stand beside `servers`, at the gateway itself.
    static func server(isWhole: Bool = true) -> [GatewayField<ServerModel>] {
        [
            .init("listen", \.listens, .list(self.listen), isRequired: isWhole),
            .init("names", \.names, .list(self.serverName)),
            .init("tls", \.tls, .optional(self.tls)),
            .init("connection", in: \.connection, self.connection),
        ] + self.settings.map { $0.lifted(\.settings) } + [
            .init("rewrites", \.rewrites, self.rewrites),
            // After the settings, from which they begin.
            GatewayField("routes") { node, name, server, reading in
                let codec = self.routes(in: server.settings, depth: 0)
                if let routes = codec.read(node, name, reading) { server.locations = routes }
            } write: { server, _ in
                server.locations.isEmpty ? nil : self.routes(in: server.settings, depth: 0).write(server.locations)
            },
        ]
    }

    /// A port, `address:port`, or a mapping.
    private static var listen: GatewayCodec<ListenModel> {
        struct Port: Equatable {
            var address: Endpoint
            var model: ListenModel
        }
        let address = GatewayCodec<Endpoint>.words("a port, or an address with a port, like 127.0.0.1:8080") { text in
            if let port = Int(text) { return (0...65_535).contains(port) ? Endpoint(host: "0.0.0.0", port: port) : nil }
            if text.hasSuffix(":0") {
                return Endpoint("\(text.dropLast(2)):1").map { Endpoint(host: $0.host, port: 0) }
            }
            return Endpoint(text)
        } write: {
            $0.host == "0.0.0.0" ? "\($0.port)" : $0.text
        }
        let blank = ListenModel(host: "", port: 0)
        return GatewayCodec<Port>.section(
            Port(address: Endpoint(host: "", port: 0), model: blank),
            [
                .init("address", \.address, address, isRequired: true),
                .init("default", \.model.isDefault, .flag),
                .init("tls", \.model.isTLS, .flag),
                .init("http2", \.model.hasHTTP2, .flag),
                .init("proxy_protocol", \.model.hasProxyProtocol, .flag),
                .init("backlog", \.model.backlog, .number(1...65_535)),
            ]
        ).map { port in
            var model = port.model
            model.host = port.address.host
            model.port = port.address.port
            return model
        } _: { model in
            var plain = model
            plain.host = ""
            plain.port = 0
            return Port(address: Endpoint(host: model.host, port: model.port), model: plain)
        }.orWord { node, name, reading in
            address.read(node, name, reading).map { ListenModel(host: $0.host, port: $0.port) }
        } _: { model in
            model == ListenModel(host: model.host, port: model.port)
                ? address.write(Endpoint(host: model.host, port: model.port)) : nil
        }
    }

    /// `example.com`, `*.example.com`, `.example.com`, `www.example.*`, `~ regular expression`.
    private static var serverName: GatewayCodec<ServerName> {
        .words("a host name, *.name, .name, name.*, or '~ pattern'") { text in
            if text.hasPrefix("~") {
                let ignoresCase = text.hasPrefix("~*")
                var pattern = text.dropFirst(ignoresCase ? 2 : 1)
                if pattern.hasPrefix(" ") { pattern = pattern.dropFirst() }
                return pattern.isEmpty
                    ? nil : .regex(RegexModel(pattern: String(pattern), ignoresCase: ignoresCase))
            }
            if text.hasPrefix("*.") { return .suffix(String(text.dropFirst()).lowercased()) }
            if text.hasSuffix(".*") { return .prefix(String(text.dropLast()).lowercased()) }
            guard !text.contains("*"), !text.contains("/"), !text.contains(" ") else { return nil }
            return text.hasPrefix(".") ? .nameAndSuffix(text.lowercased()) : .exact(text.lowercased())
        } write: { name in
            switch name {
            case .exact(let text), .nameAndSuffix(let text): text
            case .suffix(let text): "*" + text
            case .prefix(let text): text + "*"
            case .regex(let regex): regex.ignoresCase ? "~* \(regex.pattern)" : "~ \(regex.pattern)"
            }
        }
    }

    private static var tls: GatewayCodec<ServerTLS> {
        let versions = GatewayCodec<[ServerTLS.Version]>.list(.word(ServerTLS.Version.allCases)).map {
            Set($0)
        } _: {
            (versions: Set<ServerTLS.Version>) in
            ServerTLS.Version.allCases.filter { versions.contains($0) }
        }
        return .section(
            ServerTLS(certificate: "", key: ""),
            [
                .init("certificate", \.certificate, .text, isRequired: true),
                .init("key", \.key, .text, isRequired: true),
                .init("versions", \.versions, versions),
                .init("ciphers", \.ciphers, .optional(.text)),
                .init(
                    "client_certificate",
                    \.clientCertificate,
                    .word([.off, .on, .optional, .optionalNoCA])
                ),
                .init("client_ca", \.clientAuthorities, .optional(.text)),
                .init("handshake_timeout", \.handshakeTimeout, .duration),
            ]
        )
    }

    private static var connection: [GatewayField<ConnectionSettings>] {
        [
            .init("header_timeout", \.clientHeaderTimeout, .duration),
            .init("header_buffer_size", \.clientHeaderBufferSize, .size),
            .init("large_header_buffers", \.largeHeaderBuffers, .number(1...1_024)),
            .init("large_header_buffer_size", \.largeHeaderBufferSize, .size),
            .init("merge_slashes", \.mergesSlashes, .flag),
            .init("allow_underscores", \.allowsUnderscores, .flag),
            .init("ignore_invalid_headers", \.ignoresInvalidHeaders, .flag),
            .init("max_concurrent_streams", \.maxConcurrentStreams, .number(1...65_535)),
        ]
    }
}
