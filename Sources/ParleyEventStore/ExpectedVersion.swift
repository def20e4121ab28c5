/// What an append expects of its stream: how two writers who have read the same state do not overwrite each other.
///
/// The version of a stream is the number of its events: its first event has version 1, and a stream that does not
/// exist has version 0.
public struct ExpectedVersion: Sendable, Hashable, CustomStringConvertible {
    private enum Kind: Hashable {
        case any, exists
        case exactly(Int64)
    }

    private let kind: Kind

    /// Nothing is expected. Appending the same ids again still adds nothing.
    public static let any = ExpectedVersion(kind: .any)
    /// The stream has no event yet; the same as `exactly(0)`.
    public static let noStream = ExpectedVersion(kind: .exactly(0))
    /// The stream has one event at least.
    public static let exists = ExpectedVersion(kind: .exists)

    /// The newest event of the stream has this version. A negative one is never met.
    public static func exactly(_ version: Int64) -> ExpectedVersion { ExpectedVersion(kind: .exactly(version)) }

    /// Whether a stream of this version is what is expected.
    public func isMet(by version: Int64) -> Bool {
        switch self.kind {
        case .any: true
        case .exists: version > 0
        case .exactly(let wanted): version == wanted
        }
    }

    /// `any`, `exists`, `noStream`, or the version.
    public var description: String {
        switch self.kind {
        case .any: "any"
        case .exists: "exists"
        case .exactly(0): "noStream"
        case .exactly(let version): "\(version)"
        }
    }
}
