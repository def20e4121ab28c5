extension NginxTable {
    /// Eight pages: nginx refuses less.
    static let smallestZone = 32_768
    /// More than a machine has for it.
    static let largestZone = 1 << 36

    mutating func addLimits() {
        let levels = NginxContexts.everyLevel
        self.add("limit_req_zone", .http, 3...3, repeats: true) { (reader, _, directive) throws(NginxProblem) in
            try reader.requestZone(directive)
        }
        self.add("limit_conn_zone", .http, 2...2, repeats: true) { (reader, _, directive) throws(NginxProblem) in
            try reader.connectionZone(directive)
        }
        self.list("limit_req", levels, 1...3, reset: { $0.settings.requestLimits = [] }) {
            (reader, scope, directive) throws(NginxProblem) in
            let use = try reader.requestLimit(directive)
            guard !scope.settings.requestLimits.contains(where: { $0.zone == use.zone }) else {
                throw directive.problem("is duplicate")
            }
            scope.settings.requestLimits.append(use)
        }
        self.list("limit_conn", levels, 2...2, reset: { $0.settings.connectionLimits = [] }) {
            (reader, scope, directive) throws(NginxProblem) in
            let zone = directive.argument(0)
            reader.zoneUses.append(NginxReader.ZoneUse(kind: .connections, name: zone))
            guard !scope.settings.connectionLimits.contains(where: { $0.zone == zone.text }) else {
                throw directive.problem("is duplicate")
            }
            let word = directive.argument(1)
            guard let limit = NginxValue.number(word.bytes), limit > 0 else {
                throw NginxProblem("invalid number of connections \"\(word.text)\"", at: word.place)
            }
            guard limit <= 65_535 else {
                throw NginxProblem("connection limit must be less 65536", at: word.place)
            }
            scope.settings.connectionLimits.append(ConnectionLimitUse(zone: zone.text, limit: limit))
        }
        self.number("limit_req_status", levels, in: 400...599) { $0.settings.requestLimitStatus = $1 }
        self.number("limit_conn_status", levels, in: 400...599) { $0.settings.connectionLimitStatus = $1 }
        self.flag("limit_req_dry_run", levels) { $0.settings.isRequestLimitDry = $1 }
        self.flag("limit_conn_dry_run", levels) { $0.settings.isConnectionLimitDry = $1 }
    }
}

extension NginxReader {
    mutating func requestZone(_ directive: NginxDirective) throws(NginxProblem) {
        let key = try self.template(directive.argument(0))
        var zone: (name: NginxWord, bytes: Int)?
        var rate = 1_000
        for word in directive.arguments.dropFirst() {
            if let value = word.value(of: "zone=") {
                zone = try Self.zone(value, written: word)
            } else if let value = word.value(of: "rate=") {
                rate = try Self.rate(value, written: word)
            } else {
                throw directive.invalidParameter(word)
            }
        }
        let (name, bytes) = try self.declare(zone, .requests, directive)
        self.model.requestZones.append(RequestZoneModel(name: name, key: key, bytes: bytes, rate: rate))
    }

    mutating func connectionZone(_ directive: NginxDirective) throws(NginxProblem) {
        let key = try self.template(directive.argument(0))
        let word = directive.argument(1)
        guard let value = word.value(of: "zone=") else { throw directive.invalidParameter(word) }
        let (name, bytes) = try self.declare(try Self.zone(value, written: word), .connections, directive)
        self.model.connectionZones.append(ConnectionZoneModel(name: name, key: key, bytes: bytes))
    }

    private static func zone(
        _ value: NginxWord,
        written word: NginxWord
    ) throws(NginxProblem) -> (name: NginxWord, bytes: Int) {
        guard let colon = value.bytes.firstIndex(of: 0x3A),
            let size = NginxValue.size(Array(value.bytes[(colon + 1)...]))
        else {
            throw NginxProblem("invalid zone size \"\(word.text)\"", at: word.place, hint: "zone=name:10m")
        }
        guard size >= NginxTable.smallestZone else {
            throw NginxProblem("zone \"\(word.text)\" is too small", at: word.place, hint: "at least 32k")
        }
        guard size <= NginxTable.largestZone else {
            throw NginxProblem("zone \"\(word.text)\" is too large", at: word.place, hint: "at most 65536m")
        }
        return (NginxWord(bytes: Array(value.bytes[..<colon]), place: value.place), size)
    }

    /// Thousandths of a request in a second, rounded down as nginx does.
    private static func rate(_ value: NginxWord, written word: NginxWord) throws(NginxProblem) -> Int {
        var digits = value.bytes[...]
        var seconds = 1
        if digits.suffix(3).elementsEqual("r/s".utf8) {
            digits = digits.dropLast(3)
        } else if digits.suffix(3).elementsEqual("r/m".utf8) {
            digits = digits.dropLast(3)
            seconds = 60
        }
        // Larger ones cannot be told from no limit, and would not fit the arithmetic of the limiter.
        guard let rate = NginxValue.number(digits), rate > 0, rate <= 1_000_000_000 else {
            throw NginxProblem("invalid rate \"\(word.text)\"", at: word.place, hint: "rate=10r/s or rate=200r/m")
        }
        return rate * 1_000 / seconds
    }

    /// Zones of all kinds share their names.
    private mutating func declare(
        _ zone: (name: NginxWord, bytes: Int)?,
        _ kind: ZoneKind,
        _ directive: NginxDirective
    ) throws(NginxProblem) -> (String, Int) {
        guard let zone, !zone.name.bytes.isEmpty else {
            throw NginxProblem("\"\(directive.name.text)\" must have \"zone\" parameter", at: directive.name.place)
        }
        let name = zone.name.text
        if let other = self.zones[name] {
            if other != kind {
                throw NginxProblem(
                    "the shared memory zone \"\(name)\" is already declared for a different use",
                    at: zone.name.place
                )
            }
            throw NginxProblem("\(directive.name.text) \"\(name)\" is already bound to a key", at: zone.name.place)
        }
        self.zones[name] = kind
        return (name, zone.bytes)
    }

    mutating func requestLimit(_ directive: NginxDirective) throws(NginxProblem) -> RequestLimitUse {
        var use = RequestLimitUse(zone: "")
        var hasZone = false
        for word in directive.arguments {
            if let zone = word.value(of: "zone=") {
                use.zone = zone.text
                hasZone = true
                self.zoneUses.append(ZoneUse(kind: .requests, name: zone))
            } else if let value = word.value(of: "burst=") {
                guard let burst = NginxValue.number(value.bytes), burst > 0, burst <= 1_000_000_000 else {
                    throw NginxProblem("invalid burst value \"\(word.text)\"", at: word.place)
                }
                use.burst = burst
            } else if let value = word.value(of: "delay=") {
                guard let delay = NginxValue.number(value.bytes), delay > 0, delay <= 1_000_000_000 else {
                    throw NginxProblem("invalid delay value \"\(word.text)\"", at: word.place)
                }
                use.delay = .above(delay)
            } else if word.text == "nodelay" {
                use.delay = .none
            } else {
                throw directive.invalidParameter(word, hint: "zone=name, burst=n, delay=n and nodelay can be written")
            }
        }
        guard hasZone else {
            throw NginxProblem("\"limit_req\" must have \"zone\" parameter", at: directive.name.place)
        }
        return use
    }
}
