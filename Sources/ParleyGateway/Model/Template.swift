/// A text with variables in it: `http://$host$request_uri`.
package struct Template: Sendable, Hashable {
    package enum Part: Sendable, Hashable {
        case text([UInt8])
        case variable(Variable)
    }

    package var parts: [Part]

    package init(parts: [Part]) {
        self.parts = parts
    }

    /// A text without variables.
    package init(_ text: String) {
        self.parts = text.isEmpty ? [] : [.text(Array(text.utf8))]
    }

    /// The text, when there is no variable in it.
    package var constant: [UInt8]? {
        var bytes: [UInt8] = []
        for part in self.parts {
            guard case .text(let text) = part else { return nil }
            bytes += text
        }
        return bytes
    }

    package var isEmpty: Bool { self.parts.isEmpty }

    /// `$binary_remote_addr`, and nothing else.
    var isClientAddress: Bool {
        guard self.parts.count == 1, case .variable(.binaryRemoteAddress) = self.parts[0] else { return false }
        return true
    }
}

/// A variable of nginx that the gateway has.
package enum Variable: Sendable, Hashable {
    case args, bodyBytesSent, binaryRemoteAddress, bytesSent, connection, connectionRequests, contentLength, contentType
    case documentURI, host, hostname, https, isArgs, limitRequestStatus, limitConnectionStatus, milliseconds, pipe, pid
    case proxyAddForwardedFor, proxyHost, proxyPort, proxyProtocolAddress, proxyProtocolPort
    case realIPRemoteAddress, realIPRemotePort, remoteAddress, remotePort, remoteUser
    case request, requestCompletion, requestID, requestLength, requestMethod, requestTime, requestURI
    case scheme, serverAddress, serverName, serverPort, serverProtocol, status, timeISO8601, timeLocal, uri
    case tlsCipher, tlsClientFingerprint, tlsClientSubject, tlsClientVerify, tlsProtocol, tlsServerName
    case upstreamAddress, upstreamBytesReceived, upstreamBytesSent, upstreamConnectTime, upstreamHeaderTime
    case upstreamResponseLength, upstreamResponseTime, upstreamStatus
    /// `$arg_name`
    case argument(String)
    /// `$cookie_name`
    case cookie(String)
    /// `$http_name`, the name in lower case with underscores for hyphens.
    case requestField(String)
    /// `$sent_http_name`
    case responseField(String)
    /// `$upstream_http_name`
    case upstreamField(String)
    /// `$1` … `$9`: of the last regular expression that matched.
    case capture(Int)
    /// Of `set`, `map`, or a named capture.
    case named(String)
    /// The trace of the request for the service behind (W3C), a child of the one that came. Ours.
    case traceparent
    /// The response flags of the access log. Ours.
    case responseFlags
}
