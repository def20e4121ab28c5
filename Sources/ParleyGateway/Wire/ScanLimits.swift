/// How large a head may be, and which of its fields are passed on: nginx's `client_header_buffer_size` and
/// `large_client_header_buffers`, and ``FieldNameRule``.
package struct ScanLimits: Sendable, Hashable {
    package var firstBufferSize = 1_024
    package var largeBuffers = 4
    package var largeBufferSize = 8_192
    package var names = FieldNameRule()

    package init() {}
}

/// Why a head is refused, and how nginx answers it.
package enum HeadRefusal: Error, Sendable, Hashable {
    /// 400
    case malformed(String)
    /// 414: the request line does not fit.
    case lineTooLong
    /// 494 in nginx's log, 400 to the client: a field, or all of them, do not fit.
    case headTooLarge
    /// 501: a transfer coding that is not known.
    case unknownCoding
    /// 505
    case unsupportedVersion

    package var status: Int {
        switch self {
        case .malformed: 400
        case .lineTooLong: 414
        case .headTooLarge: 494
        case .unknownCoding: 501
        case .unsupportedVersion: 505
        }
    }
}

/// Keeps account of nginx's buffers without having them: a line never crosses from one buffer into the next, so how
/// much fits depends on where the lines end.
struct HeadAllowance {
    private let limits: ScanLimits
    private var left: Int
    private var large = 0

    init(_ limits: ScanLimits) {
        self.limits = limits
        self.left = limits.firstBufferSize
    }

    /// The longest line that can still come.
    var longestLine: Int {
        self.large < self.limits.largeBuffers ? max(self.left, self.limits.largeBufferSize) : self.left
    }

    /// Takes room for a line with its end; `false` when there is none.
    mutating func take(_ count: Int) -> Bool {
        if count <= self.left {
            self.left -= count
            return true
        }
        guard self.large < self.limits.largeBuffers, count <= self.limits.largeBufferSize else { return false }
        self.large += 1
        self.left = self.limits.largeBufferSize - count
        return true
    }
}
