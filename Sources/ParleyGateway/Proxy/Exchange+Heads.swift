internal import NIOCore
internal import ParleyCore

extension Exchange {
    /// The head that goes to the instance: what the configuration sets, in its order, then what the client sent.
    func upstreamRequest(version: HTTPVersion, _ location: CompiledLocation) -> RequestHead {
        var head = RequestHead(
            method: self.head.method,
            version: version,
            framing: self.upstreamFraming(version)
        )
        // What has become too large to be held: HTTP/1.0 has no way to say so.
        if head.framing == .chunked, version == .http10 { head.version = .http11 }
        var block = FieldBlock(bytes: self.head.block.bytes)
        block.bytes.reserveCapacity(minimumWritableBytes: 512)
        block.fields.reserveCapacity(self.head.block.fields.count + location.setFields.count + 2)

        let targetStart = block.bytes.readableBytes
        if let uri = location.upstreamURI, uri.passesTarget, self.rewriteState.isRawUsable {
            // It is there already.
            head.target = self.head.target
        } else {
            if let uri = location.upstreamURI {
                uri.write(into: &block.bytes, state: self.rewriteState, rawTarget: self.rawTarget, scope: self)
            }
            head.target = ByteRange(start: targetStart, count: block.bytes.readableBytes - targetStart)
        }
        head.methodName = self.head.methodName
        if let method = location.proxy.method {
            let start = block.bytes.readableBytes
            method.write(into: &block.bytes, scope: self)
            head.methodName = ByteRange(start: start, count: block.bytes.readableBytes - start)
        }
        for field in location.setFields { self.append(field, to: &block) }
        if location.writesLength { self.appendFraming(head.framing, to: &block) }
        if location.proxy.carriesContext { self.appendContext(to: &block) }
        if let identity {
            for field in identity.fields {
                block.append(name: field.name, value: field.value, known: KnownField(field.name.span))
            }
        }
        if location.proxy.passesRequestFields { self.appendClientFields(to: &block, location) }
        if !self.head.upgrade.isEmpty, version == .http11,
            block.fields.contains(where: { $0.known == .upgrade && !$0.value.isEmpty })
        {
            head.upgrade = self.head.upgrade
        }
        if let host = block.first(.host) { head.authority = host.value }
        head.block = block
        return head
    }

    private func upstreamFraming(_ version: HTTPVersion) -> BodyFraming {
        guard !self.isBodyComplete else {
            // An empty body that was announced is announced.
            return self.heldBytes > 0 || self.bodyTrailers != nil ? self.heldFraming(version) : self.emptyFraming
        }
        switch self.head.framing {
        case .none: return .none
        case .length(let length): return .length(length)
        case .chunked, .untilEnd: return version == .http2 ? .untilEnd : .chunked
        }
    }

    private func heldFraming(_ version: HTTPVersion) -> BodyFraming {
        self.bodyTrailers == nil || version == .http10 ? .length(Int64(self.heldBytes)) : .chunked
    }

    private var emptyFraming: BodyFraming {
        let announced = self.head.framing != .none || self.head.block.first(.contentLength) != nil
        return announced ? .length(0) : .none
    }

    private func append(_ field: CompiledLocation.Field, to block: inout FieldBlock) {
        let start = block.bytes.readableBytes
        let count = block.bytes.writeBytes(field.name)
        field.value.write(into: &block.bytes, scope: self)
        let value = block.bytes.readableBytes - start - count
        // An empty value means: not at all.
        guard value > 0 else { return }
        block.fields.append(
            FieldBlock.Field(
                name: ByteRange(start: start, count: count),
                value: ByteRange(start: start + count, count: value),
                known: field.known
            )
        )
    }

    private func appendFraming(_ framing: BodyFraming, to block: inout FieldBlock) {
        switch framing {
        case .length(let length): block.append("Content-Length", length, .contentLength)
        case .chunked: block.append("Transfer-Encoding", "chunked" as StaticString, .transferEncoding)
        case .none, .untilEnd: break
        }
    }

    private func appendClientFields(to block: inout FieldBlock, _ location: CompiledLocation) {
        let sent = self.head.block
        let bytes = sent.bytes.readableBytesUInt8Span
        let named = sent.first(.connection)
        for field in sent.fields {
            if location.replacedFields.contains(field, in: bytes) { continue }
            if let identity, Self.isSet(by: identity, field, bytes) { continue }
            if let named, Self.isNamed(field, by: named, bytes) { continue }
            block.fields.append(field)
        }
    }

    /// What a client's `Connection` names is for that connection only (RFC 9110, section 7.6.1).
    static func isNamed(
        _ field: FieldBlock.Field,
        by connection: FieldBlock.Field,
        _ bytes: Span<UInt8>
    ) -> Bool {
        // Nearly always it says `close` or `keep-alive`, which no field is called that is still here.
        var start = connection.value.lowerBound
        let end = connection.value.upperBound
        while start < end {
            var stop = start
            while stop < end, bytes[stop] != UInt8(ascii: ",") { stop += 1 }
            var first = start
            var last = stop
            while first < last, bytes[first] == 0x20 || bytes[first] == 0x09 { first += 1 }
            while last > first, bytes[last - 1] == 0x20 || bytes[last - 1] == 0x09 { last -= 1 }
            if last - first == Int(field.name.count) {
                var isSame = true
                for offset in 0..<(last - first)
                where bytes[first + offset] | 0x20 != bytes[field.name.lowerBound + offset] | 0x20 {
                    isSame = false
                    break
                }
                if isSame { return true }
            }
            start = stop + 1
        }
        return false
    }

    private static func isSet(by identity: AccessIdentity, _ field: FieldBlock.Field, _ bytes: Span<UInt8>) -> Bool {
        for own in identity.fields where own.name.count == Int(field.name.count) {
            var isSame = true
            for offset in 0..<own.name.count
            where own.name[offset] | 0x20 != bytes[field.name.lowerBound + offset] | 0x20 {
                isSame = false
                break
            }
            if isSame { return true }
        }
        return false
    }

    /// The head that goes to the client.
    func clientHead(_ upstream: ResponseHead, _ location: CompiledLocation) -> ResponseHead {
        var head = ResponseHead(
            block: FieldBlock(bytes: upstream.block.bytes),
            status: upstream.status,
            reason: upstream.reason,
            version: upstream.version,
            framing: upstream.framing
        )
        let hidden = location.hiddenFields
        head.block.fields.reserveCapacity(upstream.block.fields.count + location.addedFields.count + 4)
        let bytes = upstream.block.bytes.readableBytesUInt8Span
        let named = upstream.block.first(.connection)
        for field in upstream.block.fields where !hidden.contains(field, in: bytes) {
            if let named, Self.isNamed(field, by: named, bytes) { continue }
            head.block.fields.append(field)
        }
        head.block.bytes.reserveCapacity(minimumWritableBytes: 160)
        if case .length(let length) = upstream.framing {
            head.block.append("Content-Length", length, .contentLength)
        } else if upstream.framing == .none, let length = upstream.block.first(.contentLength), upstream.status != 204 {
            head.block.fields.append(length)
        }
        if let redirects = location.redirects { self.rewrite(&head.block, redirects) }
        if let cookies = location.cookies { self.rewrite(&head.block, cookies) }
        self.appendStandardFields(to: &head.block, hidden: hidden)
        if !location.addedFields.isEmpty { self.sentFields = head.block }
        self.appendAddedFields(to: &head.block, status: self.errorStatus > 0 ? self.errorStatus : head.status)
        return head
    }

    private func rewrite(_ block: inout FieldBlock, _ redirects: RedirectRewriter) {
        for index in block.fields.indices {
            let field = block.fields[index]
            guard field.known == .location || field.known == .refresh,
                let value = block.bytes.getSlice(
                    at: block.bytes.readerIndex + field.value.lowerBound,
                    length: Int(field.value.count)
                )
            else { continue }
            let new =
                field.known == .location
                ? redirects.location(value, in: self, scratch: self.worker.regexes).map { self.absolute($0) }
                : redirects.refresh(value, in: self, scratch: self.worker.regexes)
            guard let new else { continue }
            let start = block.bytes.readableBytes
            block.bytes.writeImmutableBuffer(new)
            block.fields[index].value = ByteRange(start: start, count: new.readableBytes)
        }
    }

    private func rewrite(_ block: inout FieldBlock, _ cookies: CookieRewriter) {
        for index in block.fields.indices where block.fields[index].known == .setCookie {
            let range = block.fields[index].value
            guard
                let value = block.bytes.getSlice(
                    at: block.bytes.readerIndex + range.lowerBound,
                    length: Int(range.count)
                ), let new = cookies.rewritten(value, in: self, scratch: self.worker.regexes)
            else { continue }
            let start = block.bytes.readableBytes
            block.bytes.writeImmutableBuffer(new)
            block.fields[index].value = ByteRange(start: start, count: new.readableBytes)
        }
    }

    private func absolute(_ path: ByteBuffer) -> ByteBuffer {
        guard let connection = self.connection, let settings = self.location?.settings else { return path }
        return RedirectLocation(
            isAbsolute: settings.isAbsoluteRedirect,
            hasPort: settings.isPortInRedirect,
            serverName: nil
        ).absolute(
            path,
            isTLS: connection.isTLS,
            host: self.host,
            localAddress: connection.localAddressText,
            port: connection.localPort
        )
    }

    /// Of 101: what is hidden else says here what comes next.
    func tunnelHead(_ upstream: ResponseHead, _ location: CompiledLocation) -> ResponseHead {
        var head = upstream
        head.block.fields = upstream.block.fields.filter { field in
            switch field.known {
            case .date, .server, .keepAlive, .transferEncoding, .contentLength, .xParleyInstance, .connection: false
            default: true
            }
        }
        head.block.append("Connection", "upgrade" as StaticString, .connection)
        self.appendStandardFields(to: &head.block)
        return head
    }
}
