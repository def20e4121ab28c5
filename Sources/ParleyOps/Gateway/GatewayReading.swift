internal import ParleyGateway
internal import Yams

/// What one reading of the section `gateway` shares: problems, and the names that must be somewhere else in it.
final class GatewayReading {
    enum Kind: String {
        case upstream = "upstreams"
        case requestZone = "zones"
        case connectionZone = "connection_zones"
        case logFormat = "log_formats"
    }

    let reading: ConfigurationReading
    /// Names of the registry that routes go to without an upstream of their own.
    var services: [String] = []
    /// Addresses that routes go to without an upstream of their own.
    var addresses: [PeerModel] = []
    private(set) var references: [(kind: Kind, name: String, mark: Mark?)] = []
    private(set) var variables: [(name: String, mark: Mark?)] = []

    init(_ reading: ConfigurationReading) {
        self.reading = reading
    }

    func problem(_ node: Node, _ message: String) { self.reading.problem(node.mark, message) }

    func refers(to name: String, _ kind: Kind, at node: Node) { self.references.append((kind, name, node.mark)) }

    /// The text of a scalar, with `${NAME}` replaced from the environment.
    func text(_ node: Node, _ name: String) -> String? {
        guard case .scalar(let scalar) = node else {
            self.problem(node, "'\(name)' must be a text")
            return nil
        }
        return self.reading.text(scalar)
    }

    func template(_ node: Node, _ name: String) -> Template? {
        guard let text = self.text(node, name) else { return nil }
        do {
            let template = try TemplateText.read(text)
            for case .variable(.named(let variable)) in template.parts { self.variables.append((variable, node.mark)) }
            return template
        } catch {
            self.problem(node, "'\(name)': \(error.message)")
            return nil
        }
    }

    /// Reports each name that the finished model does not have.
    func checkReferences(_ model: GatewayModel) {
        let names: [Kind: [String]] = [
            .upstream: model.upstreams.map(\.name),
            .requestZone: model.requestZones.map(\.name),
            .connectionZone: model.connectionZones.map(\.name),
            .logFormat: model.logFormats.map(\.name) + ["combined"],
        ]
        for (kind, name, mark) in self.references {
            let known = names[kind] ?? []
            guard !known.contains(name) else { continue }
            self.reading.problem(
                mark,
                "'\(kind.rawValue)' has no '\(name)'" + NearestWord.hint(name, among: known) + "; add it there"
            )
        }
        let defined = DefinedVariables.of(model)
        for (name, mark) in self.variables where !defined.contains(name) {
            self.reading.problem(
                mark,
                "there is no variable '$\(name)'"
                    + NearestWord.hint(name, among: VariableNames.all + defined.sorted())
            )
        }
    }
}

/// The variables that a configuration gives names to: by `maps`, by `set`, and by groups of regular expressions.
private enum DefinedVariables {
    static func of(_ model: GatewayModel) -> Set<String> {
        var names = Set(model.maps.map(\.variable))
        for map in model.maps {
            for case .regex(let regex) in map.entries.map(\.key) { names.formUnion(Self.groups(regex)) }
        }
        for server in model.servers {
            for case .regex(let regex) in server.names { names.formUnion(Self.groups(regex)) }
            Self.steps(server.rewrites, &names)
            Self.locations(server.locations, &names)
        }
        return names
    }

    private static func locations(_ locations: [LocationModel], _ names: inout Set<String>) {
        for location in locations {
            if case .regex(let regex) = location.match { names.formUnion(Self.groups(regex)) }
            for case .headerRegex(_, let regex) in location.conditions { names.formUnion(Self.groups(regex)) }
            Self.steps(location.rewrites, &names)
            Self.locations(location.locations, &names)
        }
    }

    private static func steps(_ steps: [RewriteStep], _ names: inout Set<String>) {
        for step in steps {
            switch step {
            case .set(let variable, _): names.insert(variable)
            case .rewrite(let regex, _, _): names.formUnion(Self.groups(regex))
            case .respond, .stop: break
            case .when(let condition, let steps):
                switch condition {
                case .matches(_, let regex), .matchesNot(_, let regex): names.formUnion(Self.groups(regex))
                case .isTrue, .equals, .differs: break
                }
                Self.steps(steps, &names)
            }
        }
    }

    /// `(?<name>…)`, `(?P<name>…)` and `(?'name'…)`.
    private static func groups(_ regex: RegexModel) -> [String] {
        var names: [String] = []
        for opening in ["(?<", "(?P<", "(?'"] {
            var rest = regex.pattern[...]
            while let range = rest.firstRange(of: opening) {
                rest = rest[range.upperBound...]
                let name = rest.utf8.prefix(while: TemplateText.isNamePart)
                if !name.isEmpty { names.append(String(Substring(name))) }
            }
        }
        return names
    }
}
