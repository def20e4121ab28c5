extension NginxReader {
    mutating func location(_ directive: NginxDirective, _ outer: NginxScope) throws(NginxProblem) -> LocationModel {
        let match = try self.match(directive)
        if outer.context == .location, let around = outer.match { try Self.check(match, inside: around, directive) }
        var scope = outer.inner(.location)
        scope.match = match
        var model = LocationModel(match: match)
        model.locations = self.level(directive.block ?? [], &scope)
        model.isInternal = scope.isInternal
        model.rewrites = scope.rewrites
        model.action = scope.action ?? .notFound
        model.settings = scope.finished()
        if case .proxy(let target)? = scope.action { self.check(target, scope, directive) }
        if scope.action == nil, scope.rewrites.isEmpty, model.locations.isEmpty {
            self.warn(
                "location \"\(match.text)\" has no proxy_pass and no return: it answers 404",
                at: directive.name.place
            )
        }
        return model
    }

    private func match(_ directive: NginxDirective) throws(NginxProblem) -> LocationModel.Match {
        let first = directive.argument(0)
        guard directive.arguments.count == 2 else {
            if first.bytes.first == 0x3D { return .exact(first.dropping(1).text) }
            if first.bytes.starts(with: "^~".utf8) { return .prefix(first.dropping(2).text, isFinal: true) }
            if let regex = self.tildeRegex(first) { return .regex(regex) }
            if first.bytes.first == 0x40 { return .named(first.dropping(1).text) }
            return .prefix(first.text, isFinal: false)
        }
        let path = directive.argument(1)
        switch first.text {
        case "=": return .exact(path.text)
        case "^~": return .prefix(path.text, isFinal: true)
        case "~": return .regex(self.regex(path))
        case "~*": return .regex(self.regex(path, ignoresCase: true))
        default:
            throw NginxProblem(
                "invalid location modifier \"\(first.text)\"",
                at: first.place,
                hint: "one of =, ^~, ~ and ~*"
            )
        }
    }

    private static func check(
        _ match: LocationModel.Match,
        inside outer: LocationModel.Match,
        _ directive: NginxDirective
    ) throws(NginxProblem) {
        let place = directive.name.place
        let (name, outerName) = (match.nginxName, outer.nginxName)
        if case .exact = outer {
            throw NginxProblem(
                "location \"\(name)\" cannot be inside the exact location \"\(outerName)\"",
                at: place
            )
        }
        if case .named = outer {
            throw NginxProblem(
                "location \"\(name)\" cannot be inside the named location \"\(outerName)\"",
                at: place
            )
        }
        if case .named = match {
            throw NginxProblem("named location \"\(name)\" can be on the server level only", at: place)
        }
        if case .regex = match { return }
        guard name.utf8.starts(with: outerName.utf8) else {
            throw NginxProblem("location \"\(name)\" is outside location \"\(outerName)\"", at: place)
        }
    }

    /// Two locations of one level that nothing tells apart.
    mutating func checkLocations(_ directives: [NginxDirective], _ locations: [LocationModel]) {
        guard locations.count > 1 else { return }
        var seen: Set<String> = []
        for directive in directives where directive.name.text == "location" {
            guard let match = try? self.match(directive) else { continue }
            let key: String
            switch match {
            // Of named ones the first is taken, as nginx does without a word.
            case .regex, .named: continue
            case .exact(let path): key = "= \(path)"
            case .prefix(let path, _), .segments(let path): key = "  \(path)"
            }
            if !seen.insert(key).inserted {
                self.reportLate("duplicate location \"\(match.nginxName)\"", at: directive.name.place)
            }
        }
    }

    private mutating func check(_ target: ProxyTarget, _ scope: NginxScope, _ directive: NginxDirective) {
        let isGRPC = target.scheme == .grpc || target.scheme == .grpcs
        let prefix = isGRPC ? "grpc" : "proxy"
        let tls = (isGRPC ? scope.grpc : scope.settings.proxy).tls
        if !isGRPC { self.checkBuffers(scope, directive) }
        guard target.scheme == .https || target.scheme == .grpcs else { return }
        if let certificate = tls.certificate, tls.key == nil {
            self.reportLate(
                "no \"\(prefix)_ssl_certificate_key\" is defined for certificate \"\(certificate)\"",
                at: directive.name.place
            )
        }
        if tls.verifies, tls.authorities == nil {
            self.reportLate(
                "no \(prefix)_ssl_trusted_certificate for \(prefix)_ssl_verify",
                at: directive.name.place,
                hint: "the system's are in /etc/ssl/certs/ca-certificates.crt"
            )
        }
    }

    // MARK: types

    /// Media types by the endings of paths: those that are written replace the ones of nginx.
    mutating func types(_ directive: NginxDirective, _ scope: inout NginxScope) {
        var types = scope.seen.insert("types{}").inserted ? [:] : scope.settings.types
        for entry in directive.block ?? [] {
            guard entry.block == nil else {
                self.report(NginxProblem("unexpected \"{\"", at: entry.name.place))
                continue
            }
            for word in entry.arguments { types[word.text.lowercased()] = entry.name.text }
        }
        scope.settings.types = types
    }

    // MARK: map

    private static let largestMap = 100_000

    mutating func map(_ directive: NginxDirective) throws(NginxProblem) {
        let source = try self.template(directive.argument(0))
        let name = try self.definedName(directive.argument(1))
        var map = MapModel(source: source, variable: name, entries: [], fallback: Template(""))
        var hasFallback = false
        var keys: Set<String> = []
        for entry in directive.block ?? [] {
            do throws(NginxProblem) {
                guard entry.block == nil else { throw NginxProblem("unexpected \"{\"", at: entry.name.place) }
                if entry.arguments.isEmpty, entry.name.text == "hostnames" {
                    map.matchesHosts = true
                    continue
                }
                if entry.arguments.isEmpty, entry.name.text == "volatile" { continue }
                guard entry.arguments.count == 1 else {
                    throw NginxProblem(
                        "invalid number of the map parameters",
                        at: entry.name.place,
                        hint: "a value and what it becomes"
                    )
                }
                let value = try self.template(entry.argument(0))
                if entry.name.text == "default" {
                    guard !hasFallback else {
                        throw NginxProblem("duplicate default map parameter", at: entry.name.place)
                    }
                    hasFallback = true
                    map.fallback = value
                    continue
                }
                guard map.entries.count < Self.largestMap else {
                    throw NginxProblem("more than \(Self.largestMap) entries", at: entry.name.place)
                }
                let key = try Self.key(entry.name, matchesHosts: map.matchesHosts, &keys, self)
                map.entries.append(MapModel.Entry(key: key, value: value))
            } catch {
                self.report(error)
            }
        }
        self.model.maps.append(map)
    }

    private static func key(
        _ word: NginxWord,
        matchesHosts: Bool,
        _ keys: inout Set<String>,
        _ reader: NginxReader
    ) throws(NginxProblem) -> MapModel.Key {
        if let regex = reader.tildeRegex(word) { return .regex(regex) }
        let text = word.bytes.first == 0x5C ? word.dropping(1).text : word.text
        let conflict = NginxProblem("conflicting parameter \"\(text)\"", at: word.place)
        guard keys.insert(text.lowercased()).inserted else { throw conflict }
        guard matchesHosts else { return .exact(text) }
        switch NginxWildcard(text) {
        case .none: return .exact(text)
        case .suffix, .prefix, .nameAndSuffix: return .wildcard(text)
        case .invalid:
            throw NginxProblem("invalid hostname or wildcard \"\(text)\"", at: word.place)
        }
    }
}

extension LocationModel.Match {
    /// As nginx names it in messages: without its modifier.
    var nginxName: String {
        switch self {
        case .exact(let path), .prefix(let path, _), .segments(let path): path
        case .regex(let regex): regex.pattern
        case .named(let name): "@\(name)"
        }
    }
}
