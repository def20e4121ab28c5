internal import NIOCore
internal import ParleyCore

extension Exchange {
    func write(_ variable: Variable, into buffer: inout ByteBuffer) {
        switch variable {
        case .host:
            if self.host.readableBytes > 0 {
                buffer.writeImmutableBuffer(self.host)
            } else if let server {
                buffer.writeBytes(server.name)
            }
        case .remoteAddress:
            buffer.writeImmutableBuffer(self.client.text)
        case .proxyAddForwardedFor: self.writeForwardedFor(into: &buffer)
        case .requestID: self.ensureRequestID().write(into: &buffer)
        case .proxyHost: buffer.writeImmutableBuffer(self.proxyHost)
        case .scheme: buffer.writeStaticString(self.connection?.isTLS ?? false ? "https" : "http")
        case .requestURI: buffer.writeImmutableBuffer(self.rawTarget)
        case .binaryRemoteAddress: buffer.writeBytes(self.client.bytes)
        case .uri, .documentURI, .args, .isArgs, .capture, .argument:
            _ = self.rewriteState.write(variable, into: &buffer)
        case .named(let name):
            if !self.rewriteState.write(variable, into: &buffer) { self.writeMapped(name, into: &buffer) }
        case .requestField("host") where self.head.block.first(.host) == nil:
            // HTTP/2 has it in a place of its own.
            buffer.writeBytes(self.head.block.view(self.head.authority))
        case .requestField(let name): self.writeField(name, of: self.head.block, into: &buffer)
        case .cookie(let name): self.writeCookie(name, into: &buffer)
        case .responseField(let name):
            if let sentFields { self.writeField(name, of: sentFields, into: &buffer) }
        case .upstreamField(let name):
            if let upstreamHead { self.writeField(name, of: upstreamHead.block, into: &buffer) }
        default:
            if !self.writeRequestFact(variable, into: &buffer), !self.writeConnectionFact(variable, into: &buffer) {
                self.writeOutcome(variable, into: &buffer)
            }
        }
    }

    private func writeRequestFact(_ variable: Variable, into buffer: inout ByteBuffer) -> Bool {
        switch variable {
        case .requestMethod: buffer.writeBytes(self.head.block.view(self.head.methodName))
        case .request:
            buffer.writeBytes(self.head.block.view(self.head.methodName))
            buffer.writeStaticString(" ")
            buffer.writeImmutableBuffer(self.rawTarget)
            buffer.writeStaticString(" ")
            self.writeProtocol(into: &buffer)
        case .serverProtocol: self.writeProtocol(into: &buffer)
        case .contentLength:
            if let field = self.head.block.first(.contentLength) {
                buffer.writeBytes(self.head.block.view(field.value))
            } else if self.head.framing == .chunked {
                buffer.writeString("\(self.heldBytes)")
            }
        case .contentType:
            if let field = self.head.block.first(.contentType) { buffer.writeBytes(self.head.block.view(field.value)) }
        case .serverName: if let server { buffer.writeBytes(server.name) }
        case .remoteUser: self.writeRemoteUser(into: &buffer)
        case .traceparent:
            if let field = self.head.block.first(.traceparent) { buffer.writeBytes(self.head.block.view(field.value)) }
        case .proxyPort:
            let bytes = self.proxyHost.readableBytesView
            if let colon = bytes.lastIndex(of: UInt8(ascii: ":")) {
                buffer.writeBytes(bytes[(colon + 1)...])
            } else {
                buffer.writeStaticString("80")
            }
        default: return false
        }
        return true
    }

    private func writeConnectionFact(_ variable: Variable, into buffer: inout ByteBuffer) -> Bool {
        guard let connection = self.connection else { return false }
        switch variable {
        case .remotePort: buffer.writeString("\(self.client.port)")
        case .serverAddress: buffer.writeImmutableBuffer(connection.localAddressText)
        case .serverPort: buffer.writeString("\(connection.localPort)")
        case .https: if connection.isTLS { buffer.writeStaticString("on") }
        case .connection: buffer.writeString("\(connection.number)")
        case .connectionRequests: buffer.writeString("\(connection.requests)")
        case .realIPRemoteAddress: buffer.writeImmutableBuffer(connection.socketAddressText)
        case .realIPRemotePort: buffer.writeString("\(connection.client.port)")
        case .proxyProtocolAddress: buffer.writeString(connection.proxied?.address ?? "")
        case .proxyProtocolPort: if let port = connection.proxied?.port { buffer.writeString("\(port)") }
        case .tlsProtocol, .tlsCipher, .tlsServerName, .tlsClientVerify, .tlsClientSubject, .tlsClientFingerprint:
            buffer.writeString(connection.tlsFact(variable))
        default: return false
        }
        return true
    }

    private func writeOutcome(_ variable: Variable, into buffer: inout ByteBuffer) {
        switch variable {
        case .status: buffer.writeString("\(self.status)")
        case .bodyBytesSent, .bytesSent: buffer.writeString("\(self.bodyBytesSent)")
        case .requestLength: buffer.writeString("\(self.head.block.bytes.readableBytes + self.bodyBytesReceived)")
        case .requestTime: Self.writeSeconds(NIODeadline.now() - self.started, into: &buffer)
        case .requestCompletion:
            if self.status > 0, !self.flags.contains(.clientGone) { buffer.writeStaticString("OK") }
        case .milliseconds: self.worker.writeMilliseconds(into: &buffer)
        case .timeISO8601: buffer.writeString(self.worker.timeISO8601)
        case .timeLocal: buffer.writeString(self.worker.timeLocal)
        case .hostname: buffer.writeString(self.worker.shared.hostname)
        case .pid: buffer.writeString("\(self.worker.shared.pid)")
        case .pipe: buffer.writeStaticString(".")
        case .responseFlags: self.flags.write(into: &buffer)
        case .limitRequestStatus: buffer.writeStaticString(self.flags.contains(.rateLimited) ? "REJECTED" : "PASSED")
        case .limitConnectionStatus:
            buffer.writeStaticString(self.flags.contains(.connectionLimited) ? "REJECTED" : "PASSED")
        default: self.writeUpstreamFact(variable, into: &buffer)
        }
    }

    private func writeUpstreamFact(_ variable: Variable, into buffer: inout ByteBuffer) {
        for (index, note) in self.attempts.enumerated() {
            if index > 0 { buffer.writeStaticString(", ") }
            switch variable {
            case .upstreamAddress: buffer.writeString(note.upstream.group.model(of: note.peer)?.name ?? "-")
            case .upstreamStatus: buffer.writeString(note.status > 0 ? "\(note.status)" : self.failureStatus(note))
            case .upstreamConnectTime: Self.writeSeconds(note.connected.map { $0 - note.began }, into: &buffer)
            case .upstreamHeaderTime: Self.writeSeconds(note.firstByte.map { $0 - note.began }, into: &buffer)
            case .upstreamResponseTime:
                Self.writeSeconds((note.ended ?? .now()) - note.began, into: &buffer)
            case .upstreamBytesSent: buffer.writeString("\(note.bytesSent)")
            case .upstreamBytesReceived, .upstreamResponseLength: buffer.writeString("\(note.bytesReceived)")
            default: return
            }
        }
    }

    private func failureStatus(_ note: AttemptNote) -> String {
        switch note.failure?.kind {
        case .connectTimeout, .readTimeout, .sendTimeout: "504"
        case nil: "-"
        default: "502"
        }
    }

    private static func writeSeconds(_ amount: TimeAmount?, into buffer: inout ByteBuffer) {
        guard let amount else {
            buffer.writeStaticString("-")
            return
        }
        let milliseconds = max(0, amount.nanoseconds / 1_000_000)
        let rest = "\(milliseconds % 1_000)"
        buffer.writeString("\(milliseconds / 1_000).\(String(repeating: "0", count: 3 - rest.utf8.count))\(rest)")
    }

    private func writeProtocol(into buffer: inout ByteBuffer) {
        switch self.head.version {
        case .http09: buffer.writeStaticString("HTTP/0.9")
        case .http10: buffer.writeStaticString("HTTP/1.0")
        case .http11: buffer.writeStaticString("HTTP/1.1")
        case .http2: buffer.writeStaticString("HTTP/2.0")
        }
    }

    private func writeForwardedFor(into buffer: inout ByteBuffer) {
        for field in self.head.block.fields where field.known == .xForwardedFor {
            buffer.writeBytes(self.head.block.view(field.value))
            buffer.writeStaticString(", ")
        }
        buffer.writeImmutableBuffer(self.client.text)
    }

    private func writeRemoteUser(into buffer: inout ByteBuffer) {
        if let identity {
            buffer.writeBytes(identity.name)
        } else if let field = self.head.block.first(.authorization),
            let credentials = BasicCredentials(self.head.block.view(field.value))
        {
            buffer.writeBytes(credentials.user)
        }
    }

    /// The value of a field whose name is written with underscores; several are joined.
    private func writeField(_ name: String, of block: FieldBlock, into buffer: inout ByteBuffer) {
        // nginx 1.22 takes the first one, but for these, which are lists.
        let joins = name == "x_forwarded_for" || name == "cookie"
        var isFirst = true
        for field in block.fields where Int(field.name.count) == name.utf8.count {
            let isSame = zip(block.view(field.name), name.utf8).allSatisfy { byte, wanted in
                let byte = byte >= 65 && byte <= 90 ? byte | 0x20 : byte
                return byte == wanted || (byte == UInt8(ascii: "-") && wanted == UInt8(ascii: "_"))
            }
            guard isSame else { continue }
            if !isFirst { buffer.writeStaticString(name == "cookie" ? "; " : ", ") }
            buffer.writeBytes(block.view(field.value))
            if !joins { return }
            isFirst = false
        }
    }

    private func writeCookie(_ name: String, into buffer: inout ByteBuffer) {
        for field in self.head.block.fields where field.known == .cookie {
            for pair in self.head.block.view(field.value).split(separator: UInt8(ascii: ";")) {
                let pair = pair.drop { $0 == 0x20 }
                guard let equals = pair.firstIndex(of: UInt8(ascii: "=")),
                    AccessText.isEqualIgnoringCase(pair[..<equals], name.utf8)
                else { continue }
                buffer.writeBytes(pair[(equals + 1)...])
                return
            }
        }
    }

    private func writeMapped(_ name: String, into buffer: inout ByteBuffer) {
        guard let map = self.plan.maps[name], self.mapDepth < 8 else { return }
        self.mapDepth += 1
        defer { self.mapDepth -= 1 }
        let source = map.source.evaluated(in: self)
        let value = map.find(source, scratch: self.worker.regexes, variables: &self.rewriteState.variables)
        value.write(into: &buffer, scope: self)
    }
}
