import Foundation

/// What libFuzzer calls with each input, and expects to return.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzOneInput(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    GatewayFuzz.target(Array(UnsafeBufferPointer(start: start, count: count)))
    return 0
}

/// One program for all of them: most of the time goes into building it.
enum GatewayFuzz {
    static let targets: [String: @Sendable ([UInt8]) -> Void] = [
        "request": HTTP1Fuzz.request,
        "response": HTTP1Fuzz.response,
        "body": HTTP1Fuzz.body,
        "hpack": HTTP2Fuzz.fieldSections,
        "http2": HTTP2Fuzz.connection,
        "nginx": ConfigurationFuzz.nginx,
        "yaml": ConfigurationFuzz.yaml,
        "proxy": AccessFuzz.proxyHeader,
        "access": AccessFuzz.credentials,
        "uri": RoutingFuzz.target,
    ]

    /// `PARLEY_FUZZ` names it; `dev/fuzz` sets that.
    static let target: @Sendable ([UInt8]) -> Void = {
        let name = ProcessInfo.processInfo.environment["PARLEY_FUZZ"] ?? ""
        guard let target = targets[name] else {
            fatalError("PARLEY_FUZZ must be one of \(targets.keys.sorted().joined(separator: ", "))")
        }
        return target
    }()
}

/// What must hold for every input. A broken promise ends the process, which is how libFuzzer learns of it.
func promise(_ holds: Bool, _ what: @autoclosure () -> String) {
    if !holds { fatalError(what()) }
}

/// How an input is cut: in one piece, byte by byte, or in pieces of a size that the input itself says.
struct Cuts {
    static func sizes(_ bytes: [UInt8]) -> [Int] { [1, 2 + Int(bytes.last ?? 0) % 61] }
}
