package import NIOCore
package import ParleyCore

/// What the gateway knows of a request beyond its variables when it is logged.
package struct AccessLogFacts: Sendable {
    /// When the head of the request was complete.
    package var time: Timestamp
    package var status: Int
    /// Head and body of the request, and of the answer, as they were on the wire.
    package var bytesIn: Int64
    package var bytesOut: Int64
    package var durationMicroseconds: Int64
    package var retries: Int
    package var flags: ResponseFlags

    package init(
        time: Timestamp,
        status: Int,
        bytesIn: Int64,
        bytesOut: Int64,
        durationMicroseconds: Int64,
        retries: Int = 0,
        flags: ResponseFlags = []
    ) {
        self.time = time
        self.status = status
        self.bytesIn = bytesIn
        self.bytesOut = bytesOut
        self.durationMicroseconds = durationMicroseconds
        self.retries = retries
        self.flags = flags
    }
}

/// How a request becomes a line of the access log. Made once for each log; writing a line makes no strings.
package struct AccessLogFormat: Sendable {
    private enum Kind: Sendable {
        case json
        case template(Template, LogFormatModel.Escape)
    }

    private let kind: Kind

    /// The gateway's own: one object a line.
    package static let json = AccessLogFormat(kind: .json)

    /// nginx's `combined`.
    package static let combined = AccessLogFormat(
        LogFormatModel(
            name: "combined",
            escape: .standard,
            line: Template(parts: [
                .variable(.remoteAddress), .text(Array(" - ".utf8)), .variable(.remoteUser),
                .text(Array(" [".utf8)), .variable(.timeLocal), .text(Array("] \"".utf8)), .variable(.request),
                .text(Array("\" ".utf8)), .variable(.status), .text(Array(" ".utf8)), .variable(.bodyBytesSent),
                .text(Array(" \"".utf8)), .variable(.requestField("referer")), .text(Array("\" \"".utf8)),
                .variable(.requestField("user_agent")), .text(Array("\"".utf8)),
            ])
        )
    )

    private init(kind: Kind) {
        self.kind = kind
    }

    package init(_ model: LogFormatModel) {
        self.kind = .template(model.line, model.escape)
    }

    /// Writes the line with its end.
    ///
    /// - Parameter route: the name of the location; empty when there is none.
    package func write(
        _ facts: AccessLogFacts,
        route: [UInt8],
        scope: some VariableScope,
        into buffer: inout ByteBuffer
    ) {
        switch self.kind {
        case .json: AccessLogLine.writeJSON(facts, route: route, scope: scope, into: &buffer)
        case .template(let template, let escape):
            AccessLogLine.write(template, escape: escape, scope: scope, into: &buffer)
        }
    }
}
