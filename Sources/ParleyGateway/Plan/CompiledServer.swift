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
        self.name = Array((model.names.first?.text ?? "").utf8)
        self.rewrites = try RewriteProgram(model.rewrites)
        self.table = try LocationTable(model.locations)
        var compiled: [CompiledLocation] = []
        for location in self.table.locations {
            compiled.append(try CompiledLocation(location, index: nextIndex, parts: parts))
            nextIndex += 1
        }
        self.locations = compiled
        var outside = LocationModel(match: .prefix("", isFinal: false), name: "-")
        outside.settings = model.settings
        self.outside = try CompiledLocation(outside, index: nextIndex, parts: parts)
        nextIndex += 1
        self.scanLimits = ScanLimits(model.connection)
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
