package import NIOCore

/// How a `Location` of the gateway's own becomes absolute.
///
/// Stricter than nginx in one thing: control characters that a rule has decoded (`return 302 $uri`) are escaped again,
/// for they would begin another header field.
package struct RedirectLocation: Sendable {
    package var isAbsolute: Bool
    package var hasPort: Bool
    /// The server's first name instead of what the client asked for.
    package var serverName: ByteBuffer?

    package init(isAbsolute: Bool = true, hasPort: Bool = true, serverName: ByteBuffer? = nil) {
        self.isAbsolute = isAbsolute
        self.hasPort = hasPort
        self.serverName = serverName
    }

    /// - Parameters:
    ///   - location: A path is put behind scheme, host and port; anything else stays as it is.
    ///   - host: Of the request, in lower case; empty when it had none.
    ///   - localAddress: Of the socket, for such a request.
    ///   - port: Of the socket. Left out where it is the scheme's usual one.
    package func absolute(
        _ location: ByteBuffer,
        isTLS: Bool,
        host: ByteBuffer,
        localAddress: ByteBuffer,
        port: Int
    ) -> ByteBuffer {
        var absolute = ByteBuffer()
        guard self.isAbsolute, location.readableBytesView.first == 0x2F else {
            EscapeTable.controls.write(location.readableBytesView, into: &absolute)
            return absolute
        }
        absolute.writeStaticString(isTLS ? "https://" : "http://")
        let asked = host.readableBytes > 0 ? host : localAddress
        absolute.writeImmutableBuffer(self.serverName ?? asked)
        if self.hasPort, port != (isTLS ? 443 : 80) {
            absolute.writeStaticString(":")
            absolute.writeString("\(port)")
        }
        EscapeTable.controls.write(location.readableBytesView, into: &absolute)
        return absolute
    }

    /// The page of a redirect, as browsers show it that do not follow it.
    /// - Parameter server: The line at its end: name and, where it is shown, version.
    /// - Returns: `nil` for a status that is no redirect.
    package static func page(status: Int, server: String) -> ByteBuffer? {
        let title: String
        switch status {
        case 301: title = "301 Moved Permanently"
        case 302: title = "302 Found"
        case 303: title = "303 See Other"
        case 307: title = "307 Temporary Redirect"
        case 308: title = "308 Permanent Redirect"
        default: return nil
        }
        return ByteBuffer(
            string: """
                <html>\r
                <head><title>\(title)</title></head>\r
                <body>\r
                <center><h1>\(title)</h1></center>\r
                <hr><center>\(server)</center>\r
                </body>\r
                </html>\r\n
                """
        )
    }
}
