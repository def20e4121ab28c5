extension NginxTable {
    mutating func addTLS() {
        let levels = NginxContexts.httpAndServer
        self.add("ssl", levels, 1...1) { (reader, scope, directive) throws(NginxProblem) in
            scope.tls.isOn = try directive.flag()
            reader.warn(
                "the \"ssl\" directive is deprecated, use the \"listen ... ssl\" directive instead",
                at: directive.name.place
            )
        }
        self.list("ssl_certificate", levels, 1...1, reset: { $0.tls.certificate = nil }) {
            (reader, scope, directive) throws(NginxProblem) in
            guard scope.tls.certificate == nil else {
                throw directive.problem(
                    "is supported once in a server",
                    hint: "leave the certificate with the ECDSA key"
                )
            }
            let path = try reader.path(directive.argument(0))
            scope.tls.certificate = .init(path: path, place: directive.argument(0).place)
        }
        self.list("ssl_certificate_key", levels, 1...1, reset: { $0.tls.key = nil }) {
            (reader, scope, directive) throws(NginxProblem) in
            guard scope.tls.key == nil else {
                throw directive.problem("is supported once in a server", hint: "leave the ECDSA key")
            }
            scope.tls.key = try reader.path(directive.argument(0))
        }
        self.text("ssl_ciphers", levels) { $0.tls.ciphers = $1 }
        self.path("ssl_client_certificate", levels) { $0.tls.clientAuthorities = $1 }
        let reason = "clients are verified against ssl_client_certificate alone"
        self.ignore("ssl_trusted_certificate", levels, because: reason)
        self.choice(
            "ssl_verify_client",
            levels,
            ["off": ServerTLS.ClientCertificate.off, "on": .on, "optional": .optional, "optional_no_ca": .optionalNoCA]
        ) { $0.tls.clientCertificate = $1 }
        self.list("ssl_protocols", levels, 1...Int.max, reset: { $0.tls.versions = [] }) {
            (reader, scope, directive) throws(NginxProblem) in
            try reader.protocols(directive, &scope)
        }
    }
}

extension NginxReader {
    mutating func protocols(_ directive: NginxDirective, _ scope: inout NginxScope) throws(NginxProblem) {
        for word in directive.arguments {
            let version = ServerTLS.Version.allCases.first { $0.rawValue.lowercased() == word.text.lowercased() }
            if let version {
                scope.tls.versions.insert(version)
            } else if ["sslv2", "sslv3", "tlsv1", "tlsv1.1"].contains(word.text.lowercased()) {
                self.warn("\(word.text) is broken and never spoken", at: word.place)
            } else {
                throw NginxProblem(
                    "invalid value \"\(word.text)\"",
                    at: word.place,
                    hint: "TLSv1.2 and TLSv1.3 can be written"
                )
            }
        }
        guard !scope.tls.versions.isEmpty else {
            throw directive.problem("leaves no version", hint: "write TLSv1.2 TLSv1.3")
        }
    }
}
