/// Limits that cannot be built from what was asked for.
package struct LimitError: Error, Sendable, Hashable, CustomStringConvertible {
    package enum Code: Sendable, Hashable {
        case tooManyLimits
        case zoneTooSmall
    }

    package let code: Code
    /// What is wrong, where, why, and what to do.
    package let description: String

    static func tooMany(_ directive: String, count: Int, most: Int) -> LimitError {
        LimitError(
            code: .tooManyLimits,
            description: "\(count) \(directive) in one place: every request keeps room for \(most) at most; "
                + "put limits with the same rate into one zone with a joint key"
        )
    }

    static func zoneTooSmall(_ name: String, bytes: Int) -> LimitError {
        LimitError(
            code: .zoneTooSmall,
            description: "zone \"\(name)\" has \(bytes) bytes: nginx takes 8 pages (\(ZoneSize.least) bytes) at least; "
                + "make it larger, 1m holds some 8,000 keys"
        )
    }
}

/// How many keys nginx would keep in a zone of a size: its slab allocator cuts pages of 4 KiB, each with 24 bytes of
/// its own elsewhere in the zone, into pieces of the size of a state.
enum ZoneSize {
    static let least = 8 * 4_096

    static func keys(bytes: Int, stateSize: Int) -> Int { bytes / (4_096 + 24) * (4_096 / stateSize) }
}
