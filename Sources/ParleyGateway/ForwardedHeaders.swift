internal import HTTPTypes
internal import NIOHTTP1
internal import ParleyCore

/// Which header fields cross the gateway, and what is said in them. Pure.
enum ForwardedHeaders {
    /// Fields that belong to one connection (RFC 9110, section 7.6.1), in lower case.
    private static let hopByHop: Set<String> = [
        "connection", "keep-alive", "proxy-connection", "proxy-authenticate", "proxy-authorization", "te", "trailer",
        "transfer-encoding", "upgrade", "expect",
    ]

    /// Fields that the gateway says itself; a client's claim is not passed on.
    private static let replaced: Set<String> = [
        "content-length", "host", "x-real-ip", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-for",
        Self.instance,
    ]

    /// Which instance is meant, and which one answers, is between the gateway and the services: a client could only
    /// have its requests refused by it, and learn what is inside.
    private static let instance = RequestContextFields.instance.lowercased()

    /// Names in a `Connection` field: these, too, are for one connection only.
    private static func connectionOptions(_ value: String?) -> Set<String> {
        guard let value else { return [] }
        let names = value.split(separator: ",").map { name in
            String(name.filter { $0 != " " && $0 != "\t" }).lowercased()
        }
        return Set(names)
    }

    /// What is sent to the service.
    ///
    /// - Parameters:
    ///   - client: the address of the connection.
    ///   - context: request id, trace and deadline for the service, with the gateway as the caller.
    static func request(
        _ head: HTTPRequest,
        client: String?,
        context: RequestContext,
        now: ContinuousClock.Instant
    ) -> HTTPHeaders {
        let options = Self.connectionOptions(head.headerFields[.connection])
        var headers = HTTPHeaders()
        for field in head.headerFields {
            let name = field.name.canonicalName
            guard !Self.hopByHop.contains(name), !Self.replaced.contains(name), !options.contains(name) else {
                continue
            }
            headers.add(name: field.name.rawName, value: field.value)
        }
        if let host = head.authority {
            headers.add(name: "Host", value: host)
            headers.add(name: "X-Forwarded-Host", value: host)
        }
        headers.add(name: "X-Forwarded-Proto", value: "http")
        let chain = head.headerFields[named: "X-Forwarded-For"]
        if let client {
            headers.add(name: "X-Real-IP", value: client)
            headers.add(name: "X-Forwarded-For", value: chain.map { "\($0), \(client)" } ?? client)
        } else if let chain {
            headers.add(name: "X-Forwarded-For", value: chain)
        }
        RequestContextFields.http.write(context, now: now) { headers.replaceOrAdd(name: $0, value: $1) }
        return headers
    }

    /// What is sent back to the client. The length stays, for it frames the body.
    static func response(_ headers: HTTPHeaders) -> HTTPFields {
        let options = Self.connectionOptions(headers[canonicalForm: "connection"].joined(separator: ","))
        var fields = HTTPFields()
        for (name, value) in headers {
            guard let name = HTTPField.Name(name), !Self.hopByHop.contains(name.canonicalName),
                !options.contains(name.canonicalName), name.canonicalName != Self.instance
            else { continue }
            fields.append(HTTPField(name: name, value: value))
        }
        return fields
    }
}
