package enum HTTPVersion: UInt8, Sendable, Comparable {
    case http09, http10, http11, http2

    package static func < (lhs: HTTPVersion, rhs: HTTPVersion) -> Bool { lhs.rawValue < rhs.rawValue }
}

/// Where the body of a message ends.
package enum BodyFraming: Sendable, Hashable {
    /// There is none.
    case none
    /// After this many bytes.
    case length(Int64)
    /// With the last chunk (HTTP/1.1).
    case chunked
    /// With the stream (HTTP/2), or with the connection (an answer of HTTP/1.0).
    case untilEnd
}

package enum Method: UInt8, Sendable {
    case get, head, post, put, delete, options, patch, trace, connect
    case mkcol, copy, move, propfind, proppatch, lock, unlock
    case other

    package var isSafe: Bool { self == .get || self == .head || self == .options }

    var isReadOfFile: Bool { self == .get || self == .head || self == .post }

    /// nginx sends these a second time only when `proxy_next_upstream non_idempotent` says so.
    package var isNonIdempotent: Bool { self == .post || self == .lock || self == .patch }
}

/// The head of a request, from either protocol, with what the wire has already checked about it.
package struct RequestHead: Sendable {
    package var block: FieldBlock
    package var method: Method
    package var methodName: ByteRange
    /// Path and query as the client wrote them, always in origin form (`/path?query`); an absolute form has been split.
    package var target: ByteRange
    /// Host and port as the client wrote them: of the absolute form, of `:authority`, or of `Host`. May be empty.
    package var authority: ByteRange
    package var version: HTTPVersion
    package var framing: BodyFraming
    /// Whether the client allows more requests on this connection (HTTP/1).
    package var keepsAlive: Bool
    package var expectsContinue: Bool
    /// The protocol of `Upgrade`, when `Connection` names it; HTTP/1.1 only.
    package var upgrade: ByteRange

    package init(
        block: FieldBlock = FieldBlock(),
        method: Method = .get,
        methodName: ByteRange = .empty,
        target: ByteRange = .empty,
        authority: ByteRange = .empty,
        version: HTTPVersion = .http11,
        framing: BodyFraming = .none,
        keepsAlive: Bool = true,
        expectsContinue: Bool = false,
        upgrade: ByteRange = .empty
    ) {
        self.block = block
        self.method = method
        self.methodName = methodName
        self.target = target
        self.authority = authority
        self.version = version
        self.framing = framing
        self.keepsAlive = keepsAlive
        self.expectsContinue = expectsContinue
        self.upgrade = upgrade
    }
}

/// The head of an answer, from either protocol.
package struct ResponseHead: Sendable {
    package var block: FieldBlock
    package var status: UInt16
    /// HTTP/1 only. ``ByteRange/empty``: none is known, and the usual one is written.
    package var reason: ByteRange
    package var version: HTTPVersion
    package var framing: BodyFraming
    /// Whether the connection may be used again once the body has ended (HTTP/1).
    package var keepsAlive: Bool

    package init(
        block: FieldBlock = FieldBlock(),
        status: UInt16 = 200,
        reason: ByteRange = .empty,
        version: HTTPVersion = .http11,
        framing: BodyFraming = .none,
        keepsAlive: Bool = true
    ) {
        self.block = block
        self.status = status
        self.reason = reason
        self.version = version
        self.framing = framing
        self.keepsAlive = keepsAlive
    }

    package var isInformational: Bool { self.status < 200 }
}
