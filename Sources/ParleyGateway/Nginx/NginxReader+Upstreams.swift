extension NginxReader {
    mutating func upstream(_ directive: NginxDirective, _ outer: NginxScope) {
        let name = directive.argument(0)
        if self.model.upstreams.contains(where: { $0.name.lowercased() == name.text.lowercased() }) {
            self.report(NginxProblem("duplicate upstream \"\(name.text)\"", at: name.place))
        }
        var scope = outer.inner(.upstream)
        scope.upstream = NginxScope.UpstreamParts(name: name.text)
        let problemsBefore = self.problems.count
        _ = self.level(directive.block ?? [], &scope)
        guard let parts = scope.upstream else { return }
        if parts.peers.isEmpty, let end = directive.end, self.problems.count == problemsBefore {
            self.report(
                NginxProblem("no servers are inside upstream", at: end, hint: "write \"server host:port;\"")
            )
        }
        var upstream = UpstreamModel(name: parts.name, instances: .fixed(parts.peers))
        upstream.method = parts.method ?? .roundRobin
        upstream.keepalive = parts.keepalive
        self.model.upstreams.append(upstream)
    }

    func peer(_ directive: NginxDirective, allowsBackup: Bool) throws(NginxProblem) -> PeerModel {
        let word = directive.argument(0)
        let address: NginxAddress
        do {
            address = try NginxAddress(word.bytes, for: .server)
        } catch {
            throw NginxProblem("\(error.reason) in upstream \"\(word.text)\"", at: word.place)
        }
        var peer = PeerModel(host: address.host, port: address.port ?? 80, name: word.text)
        for word in directive.arguments.dropFirst() {
            if let value = word.value(of: "weight="), let number = NginxValue.number(value.bytes), number > 0 {
                peer.weight = min(number, 1_000_000)
            } else if let value = word.value(of: "max_conns="), let number = NginxValue.number(value.bytes) {
                peer.maxConnections = number
            } else if let value = word.value(of: "max_fails="), let number = NginxValue.number(value.bytes) {
                peer.maxFails = number
            } else if let value = word.value(of: "fail_timeout="), let time = NginxValue.seconds(value.bytes) {
                peer.failTimeout = min(time, NginxValue.longestTime / 1_000)
            } else if let value = word.value(of: "slow_start="), let time = NginxValue.seconds(value.bytes) {
                peer.slowStart = min(time, NginxValue.longestTime / 1_000)
            } else if word.text == "down" {
                peer.isDown = true
            } else if word.text == "backup" {
                guard allowsBackup else {
                    throw NginxProblem(
                        "balancing method does not support parameter \"backup\"",
                        at: word.place
                    )
                }
                peer.isBackup = true
            } else {
                let known = ["weight=", "max_conns=", "max_fails=", "fail_timeout=", "slow_start=", "backup", "down"]
                throw directive.invalidParameter(
                    word,
                    hint: word.text == "resolve" || word.value(of: "service=") != nil
                        ? "names in DNS that are followed are in parley.yaml"
                        : NginxUnsupported.nearest(to: word.text, among: known).map { "did you mean \"\($0)\"?" }
                )
            }
        }
        return peer
    }
}

extension NginxTable {
    mutating func addUpstream() {
        self.add("server", .upstream, 1...Int.max, repeats: true) { (reader, scope, directive) throws(NginxProblem) in
            let allowsBackup = scope.upstream?.allowsBackup ?? true
            scope.upstream?.peers.append(try reader.peer(directive, allowsBackup: allowsBackup))
        }
        self.method("least_conn", 0...0, allowsBackup: true) { (_, _) in .leastConnections }
        self.method("ip_hash", 0...0, allowsBackup: false) { (_, _) in .ipHash }
        self.method("hash", 1...2, allowsBackup: false) { (reader, directive) throws(NginxProblem) in
            let key = try reader.template(directive.argument(0))
            guard directive.arguments.count == 2 else { return .hash(key, isConsistent: false) }
            guard directive.argument(1).text == "consistent" else {
                throw directive.invalidParameter(directive.argument(1))
            }
            return .hash(key, isConsistent: true)
        }
        self.method("random", 0...2, allowsBackup: false) { (_, directive) throws(NginxProblem) in
            guard let two = directive.arguments.first else { return .random(isTwo: false) }
            guard two.text == "two" else { throw directive.invalidParameter(two) }
            if directive.arguments.count == 2, directive.argument(1).text != "least_conn" {
                throw directive.invalidParameter(directive.argument(1))
            }
            return .random(isTwo: true)
        }
        self.add("keepalive", .upstream, 1...1) { (_, scope, directive) throws(NginxProblem) in
            guard let count = NginxValue.number(directive.argument(0).bytes), count > 0 else {
                throw NginxProblem(
                    "invalid value \"\(directive.argument(0).text)\" in \"keepalive\" directive",
                    at: directive.argument(0).place
                )
            }
            scope.upstream?.keepalive.connections = count
        }
        self.number("keepalive_requests", .upstream) { $0.upstream?.keepalive.requests = $1 }
        self.milliseconds("keepalive_time", .upstream) { $0.upstream?.keepalive.time = $1 }
        self.milliseconds("keepalive_timeout", .upstream) { $0.upstream?.keepalive.timeout = $1 }
        self.add("zone", .upstream, 1...2, repeats: true) { (_, _, directive) throws(NginxProblem) in
            // What servers of an upstream share is one memory here in any case.
            guard directive.arguments.count == 2 else { return }
            guard let size = NginxValue.size(directive.argument(1).bytes) else {
                throw NginxProblem(
                    "invalid zone size \"\(directive.argument(1).text)\"",
                    at: directive.argument(1).place
                )
            }
            guard size >= NginxTable.smallestZone else {
                throw NginxProblem(
                    "zone \"\(directive.argument(0).text)\" is too small",
                    at: directive.argument(1).place
                )
            }
        }
    }

    private mutating func method(
        _ name: String,
        _ arguments: ClosedRange<Int>,
        allowsBackup: Bool,
        _ make: @escaping @Sendable (inout NginxReader, NginxDirective) throws(NginxProblem) -> UpstreamModel.Method
    ) {
        self.add(name, .upstream, arguments, repeats: true) { (reader, scope, directive) throws(NginxProblem) in
            let method = try make(&reader, directive)
            // nginx has one place for the method and for keepalive: the later of the two wins when they are in the
            // wrong order.
            if scope.upstream?.method != nil || scope.seen.contains("keepalive") {
                reader.warn("load balancing method redefined", at: directive.name.place)
                scope.upstream?.keepalive.connections = 0
            }
            scope.upstream?.method = method
            scope.upstream?.allowsBackup = allowsBackup
        }
    }
}
