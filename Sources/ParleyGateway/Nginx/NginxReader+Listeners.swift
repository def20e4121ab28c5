extension NginxReader {
    /// More ports in one range than anybody means.
    private static let largestRange = 1_024

    mutating func listen(_ directive: NginxDirective, _ scope: inout NginxScope) throws(NginxProblem) {
        let word = directive.argument(0)
        var address: NginxAddress
        do {
            address = try NginxAddress(word.bytes, for: .listen)
        } catch {
            throw NginxProblem("\(error.reason) in \"\(word.text)\" of the \"listen\" directive", at: word.place)
        }
        if address.host.lowercased() == "localhost" { address.host = "127.0.0.1" }
        guard let parsed = IPAddress(address.host) else {
            throw NginxProblem(
                "host not found in \"\(word.text)\" of the \"listen\" directive",
                at: word.place,
                hint: "write an address: 127.0.0.1:8080, [::1]:8080, *:8080"
            )
        }
        let port = address.port ?? 80
        let last = address.lastPort ?? port
        guard last - port < Self.largestRange else {
            throw NginxProblem("invalid port range in \"\(word.text)\" of the \"listen\" directive", at: word.place)
        }
        var model = ListenModel(host: address.host, port: port)
        var hasOptions = false
        var isDual = false
        for word in directive.arguments.dropFirst() {
            switch word.text {
            case "default_server", "default": model.isDefault = true
            case "ssl": model.isTLS = true
            case "http2": model.hasHTTP2 = true
            case "proxy_protocol": model.hasProxyProtocol = true
            // Each event loop has a socket of its own anyway.
            case "bind", "reuseport", "deferred": hasOptions = true
            default:
                hasOptions = true
                isDual = try self.listenOption(word, &model, directive) || isDual
            }
        }
        var hosts = [address.host]
        if isDual, parsed.bytes == Array(repeating: 0, count: 16) { hosts = ["0.0.0.0", address.host] }
        for port in port...last {
            for host in hosts {
                model.host = host
                model.port = port
                let isTwice = scope.server.listens.contains { $0.model.host == host && $0.model.port == port }
                guard !isTwice else {
                    throw NginxProblem("a duplicate listen \(model.text)", at: word.place)
                }
                scope.server.listens.append(.init(model: model, place: word.place, hasOptions: hasOptions))
            }
        }
    }

    /// An option with a value; `true` when an IPv6 socket is to take IPv4 as well.
    private func listenOption(
        _ word: NginxWord,
        _ model: inout ListenModel,
        _ directive: NginxDirective
    ) throws(NginxProblem) -> Bool {
        if let value = word.value(of: "backlog=") {
            guard let backlog = NginxValue.number(value.bytes), backlog > 0, backlog <= Int32.max else {
                throw NginxProblem("invalid backlog \"\(word.text)\"", at: word.place)
            }
            model.backlog = backlog
        } else if let value = word.value(of: "rcvbuf=") ?? word.value(of: "sndbuf=") {
            guard NginxValue.size(value.bytes) != nil else {
                throw NginxProblem("invalid \(word.text.prefix(6)) \"\(word.text)\"", at: word.place)
            }
        } else if let value = word.value(of: "fastopen=") ?? word.value(of: "setfib=") {
            guard NginxValue.number(value.bytes) != nil else { throw directive.invalidParameter(word) }
        } else if word.text == "ipv6only=on" || word.text == "ipv6only=off" {
            return word.text == "ipv6only=off"
        } else if let value = word.value(of: "so_keepalive=") {
            let parts = value.bytes.split(separator: 0x3A, maxSplits: 2, omittingEmptySubsequences: false)
            let isValid =
                value.text == "on" || value.text == "off"
                || (parts.contains { !$0.isEmpty }
                    && parts.prefix(2).allSatisfy { $0.isEmpty || NginxValue.seconds(Array($0)) != nil }
                    && parts.dropFirst(2).allSatisfy { $0.isEmpty || NginxValue.number($0) != nil })
            guard isValid else {
                throw NginxProblem("invalid so_keepalive value: \"\(value.text)\"", at: word.place)
            }
        } else {
            throw directive.invalidParameter(
                word,
                hint: word.text == "quic"
                    ? "HTTP/3 is not supported"
                    : NginxUnsupported.nearest(to: word.text, among: Self.listenOptions).map {
                        "did you mean \"\($0)\"?"
                    }
            )
        }
        return false
    }

    private static let listenOptions = [
        "default_server", "ssl", "http2", "proxy_protocol", "reuseport", "backlog=", "ipv6only=off", "bind", "deferred",
        "so_keepalive=on",
    ]

    /// What only all servers together show: who answers by default, and that servers of one socket agree.
    mutating func finishListeners() {
        var first: [ListenModel.Socket: (server: Int, listen: Int)] = [:]
        var order: [ListenModel.Socket] = []
        var defaults: [ListenModel.Socket: Int] = [:]
        var options: Set<ListenModel.Socket> = []
        var merged: [ListenModel.Socket: ListenModel] = [:]
        for (index, server) in self.sockets.enumerated() {
            for (position, listen) in server.listens.enumerated() {
                let model = listen.model
                if first[model.socket] == nil {
                    first[model.socket] = (index, position)
                    order.append(model.socket)
                }
                if model.isDefault, defaults.updateValue(index, forKey: model.socket) != nil {
                    self.report(NginxProblem("a duplicate default server for \(model.text)", at: listen.place))
                }
                if listen.hasOptions, !options.insert(model.socket).inserted {
                    self.report(NginxProblem("duplicate listen options for \(model.text)", at: listen.place))
                }
                var all = merged[model.socket] ?? model
                all.isTLS = all.isTLS || model.isTLS
                all.hasHTTP2 = all.hasHTTP2 || model.hasHTTP2
                all.hasProxyProtocol = all.hasProxyProtocol || model.hasProxyProtocol
                if listen.hasOptions { all.backlog = model.backlog }
                merged[model.socket] = all
            }
        }
        for index in self.model.servers.indices {
            for position in self.model.servers[index].listens.indices {
                let socket = self.model.servers[index].listens[position].socket
                guard let all = merged[socket] else { continue }
                let isDefault = (defaults[socket] ?? first[socket]?.server) == index
                self.model.servers[index].listens[position] = all
                self.model.servers[index].listens[position].isDefault = isDefault
            }
        }
        for socket in order where merged[socket]?.isTLS == true {
            guard let index = defaults[socket] ?? first[socket]?.server, index < self.sockets.count,
                !self.sockets[index].hasCertificate
            else { continue }
            self.reportLate(
                "no \"ssl_certificate\" is defined for the \"listen ... ssl\" directive",
                at: self.sockets[index].server.place,
                hint: "write ssl_certificate and ssl_certificate_key in this server, the default of its socket"
            )
        }
        self.checkNames()
    }

    /// A name that two servers of one socket have is the first one's.
    private mutating func checkNames() {
        var taken: Set<TakenName> = []
        for (index, server) in self.sockets.enumerated() where index < self.model.servers.count {
            for name in Set(self.model.servers[index].names) {
                for listen in server.listens
                where !taken.insert(TakenName(socket: listen.model.socket, name: name)).inserted {
                    self.warn("conflicting server name on \(listen.model.text), ignored", at: server.server.place)
                }
            }
        }
    }

    private struct TakenName: Hashable {
        var socket: ListenModel.Socket
        var name: ServerName
    }
}

extension ListenModel {
    struct Socket: Hashable {
        var address: [UInt8]
        var port: Int
    }

    var socket: Socket { Socket(address: IPAddress(self.host)?.bytes ?? Array(self.host.utf8), port: self.port) }

    var text: String { self.host.contains(":") ? "[\(self.host)]:\(self.port)" : "\(self.host):\(self.port)" }
}
