internal import ParleyGateway

/// How variables are written in `parley.yaml`: as nginx writes them.
enum VariableNames {
    private static let fixed: [(name: String, variable: Variable)] = [
        ("args", .args), ("binary_remote_addr", .binaryRemoteAddress), ("body_bytes_sent", .bodyBytesSent),
        ("bytes_sent", .bytesSent), ("connection", .connection), ("connection_requests", .connectionRequests),
        ("content_length", .contentLength), ("content_type", .contentType), ("document_uri", .documentURI),
        ("host", .host), ("hostname", .hostname), ("https", .https), ("is_args", .isArgs),
        ("limit_conn_status", .limitConnectionStatus), ("limit_req_status", .limitRequestStatus),
        ("msec", .milliseconds), ("parley_response_flags", .responseFlags), ("parley_traceparent", .traceparent),
        ("pid", .pid), ("pipe", .pipe), ("proxy_add_x_forwarded_for", .proxyAddForwardedFor),
        ("proxy_host", .proxyHost), ("proxy_port", .proxyPort), ("proxy_protocol_addr", .proxyProtocolAddress),
        ("proxy_protocol_port", .proxyProtocolPort), ("realip_remote_addr", .realIPRemoteAddress),
        ("realip_remote_port", .realIPRemotePort), ("remote_addr", .remoteAddress), ("remote_port", .remotePort),
        ("remote_user", .remoteUser), ("request", .request), ("request_completion", .requestCompletion),
        ("request_id", .requestID), ("request_length", .requestLength), ("request_method", .requestMethod),
        ("request_time", .requestTime), ("request_uri", .requestURI), ("scheme", .scheme),
        ("server_addr", .serverAddress), ("server_name", .serverName), ("server_port", .serverPort),
        ("server_protocol", .serverProtocol), ("ssl_cipher", .tlsCipher),
        ("ssl_client_fingerprint", .tlsClientFingerprint), ("ssl_client_s_dn", .tlsClientSubject),
        ("ssl_client_verify", .tlsClientVerify), ("ssl_protocol", .tlsProtocol), ("ssl_server_name", .tlsServerName),
        ("status", .status), ("time_iso8601", .timeISO8601), ("time_local", .timeLocal),
        ("upstream_addr", .upstreamAddress), ("upstream_bytes_received", .upstreamBytesReceived),
        ("upstream_bytes_sent", .upstreamBytesSent), ("upstream_connect_time", .upstreamConnectTime),
        ("upstream_header_time", .upstreamHeaderTime), ("upstream_response_length", .upstreamResponseLength),
        ("upstream_response_time", .upstreamResponseTime), ("upstream_status", .upstreamStatus), ("uri", .uri),
    ]

    private static let byName = Dictionary(
        Self.fixed.map { ($0.name, $0.variable) } + [("query_string", .args)],
        uniquingKeysWith: { first, _ in first }
    )
    private static let byVariable = Dictionary(
        Self.fixed.map { ($0.variable, $0.name) },
        uniquingKeysWith: { first, _ in first }
    )

    static var all: [String] { Self.fixed.map(\.name) }
    static var variables: [Variable] { Self.fixed.map(\.variable) }

    static func name(_ variable: Variable) -> String {
        switch variable {
        case .argument(let name): "arg_\(name)"
        case .cookie(let name): "cookie_\(name)"
        case .requestField(let name): "http_\(name)"
        case .responseField(let name): "sent_http_\(name)"
        case .upstreamField(let name): "upstream_http_\(name)"
        case .capture(let number): "\(number)"
        case .named(let name): name
        default: Self.byVariable[variable] ?? ""
        }
    }

    static func variable(_ name: String) -> Variable {
        if let variable = Self.byName[name] { return variable }
        func rest(_ prefix: String) -> String? {
            name.hasPrefix(prefix) && name.utf8.count > prefix.utf8.count ? String(name.dropFirst(prefix.count)) : nil
        }
        if let name = rest("arg_") { return .argument(name) }
        if let name = rest("cookie_") { return .cookie(name) }
        if let name = rest("upstream_http_") { return .upstreamField(name) }
        if let name = rest("sent_http_") { return .responseField(name) }
        if let name = rest("http_") { return .requestField(name) }
        return .named(name)
    }
}

/// A text with variables in it: `$name`, `${name}`, and `$$` for `$`.
enum TemplateText {
    struct Failure: Error, Equatable {
        var message: String
    }

    static func read(_ text: String) throws(Failure) -> Template {
        var parts: [Template.Part] = []
        var literal: [UInt8] = []
        var rest = Array(text.utf8)[...]
        while let byte = rest.popFirst() {
            guard byte == UInt8(ascii: "$") else {
                literal.append(byte)
                continue
            }
            if rest.first == UInt8(ascii: "$") {
                rest = rest.dropFirst()
                literal.append(byte)
                continue
            }
            var name: ArraySlice<UInt8>
            if rest.first == UInt8(ascii: "{") {
                name = rest.dropFirst().prefix { $0 != UInt8(ascii: "}") }
                rest = rest.dropFirst(name.count + 2)
            } else if let first = rest.first, (UInt8(ascii: "1")...UInt8(ascii: "9")).contains(first) {
                name = rest.prefix(1)
                rest = rest.dropFirst()
            } else {
                name = rest.prefix(while: Self.isNamePart)
                rest = rest.dropFirst(name.count)
            }
            guard !name.isEmpty, name.allSatisfy(Self.isNamePart) else {
                throw Failure(message: "'$' must be followed by a variable's name; write '$$' for the character")
            }
            if !literal.isEmpty { parts.append(.text(literal)) }
            literal = []
            let word = String(decoding: name, as: UTF8.self)
            if let number = Int(word) {
                guard (1...9).contains(number) else { throw Failure(message: "groups are '$1' to '$9'") }
                parts.append(.variable(.capture(number)))
            } else {
                parts.append(.variable(VariableNames.variable(word)))
            }
        }
        if !literal.isEmpty { parts.append(.text(literal)) }
        return Template(parts: parts)
    }

    static func write(_ template: Template) -> String {
        var text: [UInt8] = []
        for (index, part) in template.parts.enumerated() {
            switch part {
            case .text(let bytes):
                for byte in bytes {
                    if byte == UInt8(ascii: "$") { text.append(byte) }
                    text.append(byte)
                }
            case .variable(let variable):
                var needsBraces = false
                if index + 1 < template.parts.count, case .text(let next) = template.parts[index + 1] {
                    needsBraces = next.first.map(Self.isNamePart) ?? false
                }
                let name = VariableNames.name(variable)
                text += Array((needsBraces ? "${\(name)}" : "$\(name)").utf8)
            }
        }
        return String(decoding: text, as: UTF8.self)
    }

    static func isNamePart(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"):
            true
        default: false
        }
    }
}

/// Numbers with their units.
enum UnitText {
    private static let times: [(unit: String, factor: Int)] = [
        ("w", 604_800_000), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1),
    ]
    private static let sizes: [(unit: String, factor: Int)] = [("g", 1 << 30), ("m", 1 << 20), ("k", 1 << 10)]

    /// Milliseconds: `250ms`, `30s`, `1h30m`, `0`. A number without a unit is nothing: nginx and others disagree.
    static func milliseconds(_ text: String) -> Int? {
        if text == "0" { return 0 }
        var rest = text[...]
        var total = 0
        while !rest.isEmpty {
            guard let (number, unit) = Self.next(&rest),
                let factor = Self.times.first(where: { $0.unit == unit })?.factor
            else { return nil }
            let (product, overflows) = number.multipliedReportingOverflow(by: factor)
            let (sum, isTooMuch) = total.addingReportingOverflow(product)
            guard !overflows, !isTooMuch else { return nil }
            total = sum
        }
        return text.isEmpty ? nil : total
    }

    static func text(milliseconds value: Int) -> String { Self.text(value, Self.times, unit: "ms") }

    /// Bytes: `10m`, `512k`, `1024`.
    static func bytes(_ text: String) -> Int? {
        if let number = Self.number(text[...]) { return number }
        var rest = text[...]
        guard let (number, unit) = Self.next(&rest), rest.isEmpty,
            let factor = Self.sizes.first(where: { $0.unit == unit.lowercased() })?.factor
        else { return nil }
        let (product, overflows) = number.multipliedReportingOverflow(by: factor)
        return overflows ? nil : product
    }

    static func text(bytes value: Int) -> String { Self.text(value, Self.sizes, unit: "") }

    /// Thousandths of a request in a second: `10r/s`, `200r/m`; `3333mr/s` says them as they are.
    static func rate(_ text: String) -> Int? {
        for (unit, factor, divisor) in [("mr/s", 1, 1), ("r/s", 1_000, 1), ("r/m", 1_000, 60)]
        where text.hasSuffix(unit) {
            guard let number = Self.number(text.dropLast(unit.count)) else { return nil }
            let (product, overflows) = number.multipliedReportingOverflow(by: factor)
            return overflows ? nil : product / divisor
        }
        return nil
    }

    static func text(rate: Int) -> String {
        if rate % 1_000 == 0 { return "\(rate / 1_000)r/s" }
        let (product, overflows) = rate.multipliedReportingOverflow(by: 60)
        if !overflows {
            let perMinute = product / 1_000 + (product % 1_000 == 0 ? 0 : 1)
            if let value = Self.rate("\(perMinute)r/m"), value == rate { return "\(perMinute)r/m" }
        }
        return "\(rate)mr/s"
    }

    private static func text(_ value: Int, _ units: [(unit: String, factor: Int)], unit standard: String) -> String {
        guard value != 0 else { return "0" }
        for (unit, factor) in units where value % factor == 0 { return "\(value / factor)\(unit)" }
        return "\(value)\(standard)"
    }

    private static func next(_ rest: inout Substring) -> (Int, String)? {
        let digits = rest.prefix { $0.isASCII && $0.isNumber }
        guard let number = Self.number(digits) else { return nil }
        rest = rest.dropFirst(digits.count)
        let unit = rest.prefix { $0.isLetter }
        rest = rest.dropFirst(unit.count)
        return (number, String(unit))
    }

    private static func number(_ digits: Substring) -> Int? {
        guard !digits.isEmpty, digits.utf8.allSatisfy({ (48...57).contains($0) }) else { return nil }
        return Int(digits)
    }
}
