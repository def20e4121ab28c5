import Foundation
import NIOCore
import ParleyCore

@testable import ParleyGateway

/// What clients and balancers say about who they are.
enum AccessFuzz {
    // MARK: PROXY protocol

    @Sendable static func proxyHeader(_ bytes: [UInt8]) {
        let whole = self.decode(bytes, bytes.count)
        for size in Cuts.sizes(bytes) {
            let cut = self.decode(bytes, size)
            switch (whole, cut) {
            case (.more, .more): break
            case (.refused(let one), .refused(let other)):
                // The end of the line may show that it is no header before its length does.
                promise(one == other || one == .malformed || other == .malformed, "\(one) in one piece, cut \(other)")
            case (.header(let one, let left), .header(let other, let otherLeft)):
                promise(one == other && left == otherLeft, "\(one) in one piece, \(other) in pieces of \(size)")
            default: promise(false, "\(whole) in one piece, \(cut) in pieces of \(size)")
            }
        }
        guard case .header(.proxied(let source, let destination), let left) = whole else { return }
        promise(bytes.count - left <= ProxyProtocolDecoder.maxBinaryBytes, "a header above its limit")
        let family = source.protocol == .inet ? "TCP4" : "TCP6"
        let addresses = "\(source.ipAddress ?? "") \(destination.ipAddress ?? "")"
        let line = "PROXY \(family) \(addresses) \(source.port ?? 0) \(destination.port ?? 0)\r\n"
        guard case .header(.proxied(let from, let to), 0) = self.decode(Array(line.utf8), line.utf8.count) else {
            return promise(false, "\(line) is refused")
        }
        promise(from == source && to == destination, "\(line) is read as \(from), \(to)")
    }

    private enum Reading {
        case more
        case header(ProxyProtocolHeader, left: Int)
        case refused(ProxyProtocolError.Code)
    }

    private static func decode(_ bytes: [UInt8], _ size: Int) -> Reading {
        let decoder = ProxyProtocolDecoder()
        var buffer = ByteBuffer()
        var rest = bytes[...]
        do throws(ProxyProtocolError) {
            while !rest.isEmpty {
                buffer.writeBytes(rest.prefix(max(1, size)))
                rest = rest.dropFirst(max(1, size))
                if let header = try decoder.decode(&buffer) {
                    return .header(header, left: buffer.readableBytes + rest.count)
                }
                promise(buffer.readableBytes < ProxyProtocolDecoder.maxBinaryBytes, "too much waits for its end")
            }
        } catch {
            return .refused(error.code)
        }
        return .more
    }

    // MARK: Authorization

    @Sendable static func credentials(_ bytes: [UInt8]) {
        let buffer = ByteBuffer(bytes: bytes)
        if let credentials = BasicCredentials(buffer.readableBytesView) {
            promise(!credentials.user.contains(UInt8(ascii: ":")), "a colon in the user's name")
            let pair = credentials.user + [UInt8(ascii: ":")] + credentials.password
            let again = ByteBuffer(string: "Basic \(Data(pair).base64EncodedString())")
            promise(BasicCredentials(again.readableBytesView) == credentials, "other credentials")
        }
        if let decoded = AccessBase64.decode(bytes) {
            promise(AccessBase64.decode(Data(decoded).base64EncodedString().utf8) == decoded, "other bytes")
        }
        let token = AuthorizationField.token(of: buffer.readableBytesView, scheme: Array("bearer".utf8))
        self.token(token.map { Array($0) } ?? bytes)
        self.claims(bytes)
    }

    private static func token(_ text: [UInt8]) {
        do throws(JWTFailure) {
            let token = try JWTToken(text)
            promise(text.starts(with: token.signed), "something else is signed")
            promise(token.algorithm != "none", "no signature at all")
            self.claims(token.payload)
        } catch {
            self.check(error.refusal)
        }
    }

    private static let rules: JWTRules = {
        var rules = JWTRules(keys: .file("/keys"), issuer: "https://issuer", audiences: ["shop"])
        rules.leeway = 0
        return rules
    }()

    private static func claims(_ payload: [UInt8]) {
        do throws(JWTFailure) {
            let claims = try JWTClaims(payload)
            let identity = claims.identity([(claim: "sub", field: [0x61]), (claim: "roles", field: [0x62])])
            for value in identity.fields.map(\.value) + [identity.name] {
                promise(value.allSatisfy { $0 >= 0x20 && $0 != 0x7F }, "a claim that ends its field")
            }
            let now = Timestamp(microseconds: 1_700_000_000_000_000)
            if let end = try claims.validUntil(self.rules, now: now) { promise(end > now, "good until before now") }
        } catch {
            self.check(error.refusal)
        }
    }

    private static func check(_ refusal: AccessRefusal) {
        let challenge = refusal.challenge.value(realm: "shop".utf8) ?? []
        promise(refusal.status == 401 && challenge.allSatisfy { $0 >= 0x20 && $0 != 0x7F }, "a refusal that is none")
    }
}
