internal import NIOCore
internal import ParleyCore

/// A virtual server, ready for requests.
final class CompiledServer: Sendable {
    let model: ServerModel
    /// `$server_name`: the first of its names.
    let name: [UInt8]
    let rewrites: RewriteProgram
    let table: LocationTable
    let locations: [CompiledLocation]
    /// What holds where there is no location.
    let outside: CompiledLocation
    let scanLimits: ScanLimits

    init(_ model: ServerModel, nextIndex: inout Int, parts: PlanParts) throws {
        self.model = model
        self.name = Array((model.names.first.map(Self.name) ?? "").utf8)
        let place = "server \"\(String(decoding: self.name, as: UTF8.self))\""
        self.rewrites = try GatewayError.placed(place) { try RewriteProgram(model.rewrites) }
        self.table = try GatewayError.placed(place) { try LocationTable(model.locations) }
        var compiled: [CompiledLocation] = []
        for location in self.table.locations {
            let index = nextIndex
            compiled.append(
                try GatewayError.placed("\(place), location \"\(location.name)\"") {
                    try CompiledLocation(location, index: index, parts: parts)
                }
            )
            nextIndex += 1
        }
        self.locations = compiled
        var outside = LocationModel(match: .prefix("", isFinal: false), name: "-")
        outside.settings = model.settings
        let index = nextIndex
        self.outside = try GatewayError.placed(place) { [outside] in
            try CompiledLocation(outside, index: index, parts: parts)
        }
        nextIndex += 1
        self.scanLimits = ScanLimits(model.connection)
    }
}

extension CompiledServer {
    /// `.example.com` is called after the name itself.
    private static func name(_ name: ServerName) -> String {
        if case .nameAndSuffix(let suffix) = name { return String(suffix.dropFirst()) }
        return name.text
    }
}

extension ServerName {
    package var text: String {
        switch self {
        case .exact(let name): name
        case .suffix(let suffix): "*\(suffix)"
        case .nameAndSuffix(let suffix): suffix
        case .prefix(let prefix): "\(prefix)*"
        case .regex(let regex): "~\(regex.pattern)"
        }
    }
}
