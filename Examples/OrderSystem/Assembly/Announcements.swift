internal import Foundation
internal import ParleyCore
internal import Synchronization

/// Tells the person, or the script, at the terminal once everything listens.
final class Announcements: Sendable {
    private let expected: Set<ServiceKind>
    private let expectedGRPC: Set<ServiceKind>
    private let expectsRegistry: Bool
    private let asJSON: Bool
    private let dataFolder: String
    private let addresses = Mutex(Addresses())

    private struct Addresses {
        var http: [ServiceKind: Endpoint] = [:]
        var grpc: [ServiceKind: Endpoint] = [:]
        var tls: Endpoint?
        var registry: Endpoint?
        var dns: Endpoint?
    }

    init(expected: Set<ServiceKind>, registry: Bool, asJSON: Bool, dataFolder: String) {
        self.expected = expected
        self.expectedGRPC = expected.filter { $0.defaultGRPCPort != nil }
        self.expectsRegistry = registry
        self.asJSON = asJSON
        self.dataFolder = dataFolder
    }

    func listening(_ kind: ServiceKind, at endpoint: Endpoint) {
        self.add { $0.http[kind] = endpoint }
    }

    func listeningForGRPC(_ kind: ServiceKind, at endpoint: Endpoint) {
        self.add { $0.grpc[kind] = endpoint }
    }

    func gatewayListening(at endpoint: Endpoint, tls: Endpoint, rpc: Endpoint) {
        self.add { addresses in
            addresses.http[.gateway] = endpoint
            addresses.grpc[.gateway] = rpc
            addresses.tls = tls
        }
    }

    func registryListening(at endpoint: Endpoint) { self.add { $0.registry = endpoint } }
    func dnsListening(at endpoint: Endpoint) { self.add { $0.dns = endpoint } }

    private func add(_ change: (inout Addresses) -> Void) {
        let all: Addresses? = self.addresses.withLock { addresses in
            change(&addresses)
            let isAll =
                addresses.http.count == self.expected.count && addresses.grpc.count == self.expectedGRPC.count
                && (!self.expectsRegistry || addresses.registry != nil && addresses.dns != nil)
            return isAll ? addresses : nil
        }
        guard let all else { return }
        print(self.asJSON ? Self.json(all) : self.text(all))
        fflush(nil)
    }

    private static func json(_ addresses: Addresses) -> String {
        var named = Dictionary(uniqueKeysWithValues: addresses.http.map { ($0.rawValue, "http://\($1)") })
        for (kind, endpoint) in addresses.grpc { named["\(kind.rawValue)-grpc"] = "\(endpoint)" }
        if let endpoint = addresses.tls { named["gateway-tls"] = "https://\(endpoint)" }
        if let endpoint = addresses.registry { named["registry"] = "http://\(endpoint)" }
        if let endpoint = addresses.dns { named["dns"] = "\(endpoint)" }
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        guard let data = try? encoder.encode(named) else { return "{}" }
        return String(decoding: data, as: UTF8.self)
    }

    private func text(_ addresses: Addresses) -> String {
        let paint = Paint.forStandardOutput
        var lines = [paint.bold("The order system is up."), ""]
        for kind in [ServiceKind.gateway] + ServiceKind.allCases.dropLast() {
            guard let endpoint = addresses.http[kind] else { continue }
            var grpc = addresses.grpc[kind].map { "   gRPC \($0)" } ?? ""
            if kind == .gateway, let tls = addresses.tls { grpc = "   https://\(tls)\(grpc)" }
            lines.append(
                "  " + kind.rawValue.padding(toLength: 22, withPad: " ", startingAt: 0) + "http://\(endpoint)\(grpc)"
            )
        }
        if let registry = addresses.registry, let dns = addresses.dns {
            lines.append("  registry              http://\(registry)   DNS \(dns)")
        }
        lines.append("  data".padding(toLength: 24, withPad: " ", startingAt: 0) + self.dataFolder)
        guard let gateway = addresses.http[.gateway] else { return lines.joined(separator: "\n") }
        lines += [
            "", paint.bold("Try:"),
            "  curl -si -X POST \(gateway)/api/v1/orders -H 'Content-Type: application/json' "
                + #"-d '{"userId":"1","items":[{"productId":"1","quantity":2}]}'"#,
            "  curl -s \(gateway)/api/v1/orders/<id>          # PENDING, then CONFIRMED, with its history",
            "  curl -s \(gateway)/health",
        ]
        if let registry = addresses.registry, let dns = addresses.dns {
            lines += [
                "  curl -s 'http://\(registry)/v1/health/service/user-service?passing=true'",
                "  dig @\(dns.host) -p \(dns.port) user-service.service.consul",
            ]
        }
        lines += [
            "",
            "  product 3 is out of stock; the card 4000000000000002 is declined (\"card\" in the order).",
            "  Ctrl-C stops; everything is kept in \(self.dataFolder).",
        ]
        return lines.joined(separator: "\n")
    }
}

/// Colours, only where a person sees them: on a terminal, and not when NO_COLOR is set (https://no-color.org).
struct Paint {
    let isOn: Bool

    static var forStandardOutput: Paint {
        let variables = ProcessInfo.processInfo.environment
        return Paint(isOn: isatty(1) == 1 && variables["NO_COLOR"] == nil && variables["TERM"] != "dumb")
    }

    func bold(_ text: String) -> String { self.isOn ? "\u{1B}[1m\(text)\u{1B}[0m" : text }
}
